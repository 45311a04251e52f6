"""For each analysis the command line of a run that takes about a second."""

from __future__ import annotations

import shlex
from typing import Any

from iclprobe.cli.analysis_command import AnalysisCommand
from iclprobe.study.analysis import registered_analyses

ON_POCKET = "--shots 2 --limit 4 --device cpu --batch-size 4"
ARMS = f"{ON_POCKET} --seeds 0,1 --epochs 1 --evaluation-epochs 1 --arms shen,shen_sgd --batch-sizes 1 --lr 0.001"
SMALL = {
    "attention": f"{ON_POCKET} --seeds 0,1 --resamples 50 --settings zsl,icl,ft --lr 0.001 --layers 0,-1",
    "claims": "{experiments}",
    "compare": f"{ON_POCKET} --lr 0.001 --seeds 0,1 --recipe dai,barnatan_lcft --resamples 50 --null-draws 2",
    "construction": "--n-x 3 --steps 20 --batch-size 8 --evaluation-tasks 16",
    "controls": f"{ON_POCKET} --lr 0.001 --seeds 0,1 --resamples 50 --null-draws 2",
    "drift": "pocket@0 pocket@256 pocket@1152 --icl pocket-topic-code --shots 2 --seeds 0,1 --limit 4",
    "gather": "{sweep}",
    "gradients": "--shots 2 --device cpu --lr 0.05 --seeds 0,1",
    "implicit_update": f"{ON_POCKET.replace('4 --device', '8 --device')} --lr 0.001 --seeds 0,1 --resamples 50 "
    "--null-draws 2",
    "labels": f"{ON_POCKET} --lr 0.001 --seeds 0,1 --resamples 50 --null-draws 2",
    "order": f"{ARMS} --orders 2",
    "outputs": ARMS,
    "parts": f"{ON_POCKET} --lr 0.001 --seeds 0,1 --resamples 50 --null-draws 2",
    "reproduce": "shen2024 fig2 --set stable_rank=false",
    "sparsity": "pocket",
    "trajectory": f"{ON_POCKET} --lr 0.001,0.002 --seeds 0,1 --resamples 50 --null-draws 2",
    "transfer": f"{ON_POCKET} --seeds 0,1 --lr 0.001 --resamples 50 --alphas 0,1 --layers 0,-1",
}
"""For each analysis the command line of a run that takes about a second."""


def config_of(name: str, line: str) -> Any:
    """Return the configuration that a command line stands for."""
    command = AnalysisCommand(registered_analyses()[name])
    with command.make_context(name, shlex.split(line)) as context:
        return command.resolved(context.params)
