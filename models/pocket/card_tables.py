"""The measured tables of CARD.md: ``python -m iclprobe.models.pocket.card_tables [--weights DIR]``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ...tasks.pocket import DEFAULT_POCKET_TASK, POCKET_TASKS
from .load import POCKET_MODELS, WEIGHTS
from .measure import PocketAccuracy, pocket_accuracy

CHECKPOINT_TASKS = (DEFAULT_POCKET_TASK, "pocket-topic", "pocket-tone")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print accuracies of the final models on every task and of every checkpoint, as Markdown."""
    parser = argparse.ArgumentParser(description="Measure the pocket models.")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="directory that training wrote")
    parser.add_argument("--draws", type=int, default=8, help="draws of demonstrations to average over")
    options = parser.parse_args(arguments)
    for name in POCKET_MODELS:
        print(f"\n`{name}`:\n")
        rows = measure(options.weights / name, options.draws)
        print("| task | chance | zero-shot | 8 demonstrations | labels permuted |\n|---|---|---|---|---|")
        for row in rows:
            print(
                f"| {row.task} | {row.chance:.0%} | {row.zero_shot:.0%} | {row.icl:.0%} | {row.permuted:.0%} |"
            )
    print("\n| step | " + " | ".join(CHECKPOINT_TASKS) + " |\n" + "|---" * (len(CHECKPOINT_TASKS) + 1) + "|")
    for directory in sorted((options.weights / f"{POCKET_MODELS[0]}-steps").glob("step-*")):
        rows = measure(directory, options.draws, CHECKPOINT_TASKS)
        cells = [f"{row.zero_shot:.0%} → {row.icl:.0%}" for row in rows]
        print(f"| {int(directory.name.removeprefix('step-'))} | " + " | ".join(cells) + " |")


def measure(directory: Path, draws: int, tasks: Sequence[str] = tuple(POCKET_TASKS)) -> list[PocketAccuracy]:
    """Measure the model in a directory on pocket tasks."""
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    ).eval()
    return [pocket_accuracy(module, name, draws=draws, queries=128) for name in tasks]


if __name__ == "__main__":
    main()
