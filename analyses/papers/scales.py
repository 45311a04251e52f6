"""The two scales: the papers' models and datasets, or the embedded model and the pocket tasks in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..weights.checkpoints import Checkpoint, checkpoints_by_step
from .declaration import Experiment, Part, Scale

POCKET_TASK_OF: Mapping[str, str] = {
    "agnews": "pocket-topic-code",
    "sst2": "pocket-tone",
    "cb": "pocket-tone3",
    "rte": "pocket-claim",
    "sst5": "pocket-topic",
    "mr": "pocket-tone-code",
    "subj": "pocket-claim",
}
"""Which pocket task stands for a dataset: as many labels, or the same kind of question."""

LLAMA, GPT_J, GPT_NEO, GPT2_XL = (
    "huggyllama/llama-7b",
    "EleutherAI/gpt-j-6b",
    "EleutherAI/gpt-neo-2.7B",
    "openai-community/gpt2-xl",
)
QWEN, FAIRSEQ, PYTHIA = "Qwen/Qwen1.5-7B", "KoboldAI/fairseq-dense-1.3B", "EleutherAI/pythia-6.9b"

POCKET_MODEL_OF: Mapping[str, tuple[str, str | None]] = {
    LLAMA: ("pocket", None),
    FAIRSEQ: ("pocket", None),
    GPT_J: ("pocket", "1152"),
    QWEN: ("pocket", "1024"),
    GPT_NEO: ("pocket-small", None),
    GPT2_XL: ("pocket-mini", None),
}
"""Which embedded model, and at which training step, stands for a paper's; the smaller ones for the smaller."""

POCKET_CHECKPOINTS: tuple[Checkpoint, ...] = checkpoints_by_step("pocket", (608, 724, 861, 1024, 1152, 1280))
"""The last half of the embedded model's training, where learning in context comes."""

# What a scale maps rather than cuts.
_MAPPED = ("model", "revision", "task", "icl", "checkpoints", "template")


@dataclass(frozen=True)
class Resolved:
    """The settings of one study at one scale.

    Attributes:
        settings: What the analysis is told.
        mapped: What stands for what, such as ``agnews → pocket-topic-code``.
        cuts: What is less than in the paper, such as ``epochs 200 → 60``.
    """

    settings: dict[str, Any]
    mapped: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()


def resolve(experiment: Experiment, part: Part, scale: Scale) -> Resolved:
    """Return the settings of one part of an experiment at a scale.

    Args:
        experiment: The experiment.
        part: One of its parts.
        scale: ``paper`` takes what is declared; ``pocket`` maps datasets and models and applies the cuts.
    """
    paper = {**experiment.settings, **part.settings}
    if scale == "paper":
        return Resolved(paper)
    mapped: list[str] = []
    settings = _map_places(paper, mapped)
    changes = {**experiment.pocket, **part.pocket}
    cuts = tuple(
        f"{key} {_text(paper[key]) if key in paper else 'all'} → {_text(value)}"
        for key, value in changes.items()
        if paper.get(key) != value and key not in _MAPPED
    )
    return Resolved({**settings, **changes}, tuple(dict.fromkeys(mapped)), cuts)


def _map_places(settings: Mapping[str, Any], mapped: list[str]) -> dict[str, Any]:
    """Put pocket models and tasks in the place of the paper's."""
    result = dict(settings)
    result.pop("template", None)
    if "task" in result:
        result["task"] = _task(result["task"], mapped)
    if "icl" in result:
        result["icl"] = tuple(_task(name, mapped) for name in result["icl"])
    if "model" in result:
        model, revision = POCKET_MODEL_OF[result["model"]]
        mapped.append(f"{result['model']} → {model}" + (f" at step {revision}" if revision else ""))
        result["model"] = model
        if revision is not None:
            result["revision"] = revision
    if "checkpoints" in result:
        first, last = result["checkpoints"][0], result["checkpoints"][-1]
        steps = f"steps {POCKET_CHECKPOINTS[0].label} to {POCKET_CHECKPOINTS[-1].label}"
        mapped.append(f"{first.model}, steps {first.label} to {last.label} → pocket, {steps}")
        result["checkpoints"] = POCKET_CHECKPOINTS
    return result


def _task(name: str, mapped: list[str]) -> str:
    mapped.append(f"{name} → {POCKET_TASK_OF[name]}")
    return POCKET_TASK_OF[name]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(entry) for entry in value)
    if isinstance(value, Mapping):
        inner = (f"{key} {_text(entry)}" for key, entry in value.items() if key not in ("preset", "name"))
        return f"{value.get('name', '')} ({', '.join(inner)})".strip()
    return f"{value:g}" if isinstance(value, float) else str(value)
