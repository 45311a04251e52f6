"""Shen et al. 2024: Figs. 2 to 23, Table 1, and the comparison of gradient descent with itself of §5.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...study.names import ARM_NAMES
from ..weights.checkpoints import checkpoints_by_step
from .declaration import Experiment, Part, Published
from .scales import GPT2_XL, GPT_J, GPT_NEO, LLAMA, PYTHIA, QWEN

DATASETS: Mapping[str, str] = {"AGNews": "agnews", "CB": "cb", "SST-2": "sst2", "RTE": "rte"}
"""What the paper calls its datasets, and what the catalogue does, in the order of its Section 5.1."""

SEEDS = (0, 1, 2)

GD, SGD, ADAM, DEEP, MIDDLE = (
    ARM_NAMES[preset] for preset in ("shen", "shen_sgd", "shen_adam", "shen_deep", "shen_middle")
)
"""What the paper's ways of finetuning are called in tables and figures."""

# Steps 310k to 380k of the 383.5k of GPT-J, as fractions of the 143k of Pythia.
_PYTHIA_STEPS = (116000, 119000, 123000, 127000, 130000, 134000, 138000, 142000)

_COMMON: dict[str, Any] = {"template": "shen", "seeds": SEEDS, "limit": 500}
_EPOCHS = {"epochs": 200, "evaluation_epochs": 20}

# Appendix A.
_ORDER = {
    **_COMMON,
    **_EPOCHS,
    "model": LLAMA,
    "task": "agnews",
    "shots": 8,
    "orders": 10,
    "batch_sizes": (),
    "learning_rates": (1e-5, 5e-5, 1e-4, 5e-4),
}
_ORDER_ARMS = ("shen", "shen_sgd", "shen_adam", "shen_deep", "shen_middle")
_OPTIMIZERS = _ORDER_ARMS[:3]
_ORDER_NOTES = ("templates", "R13", "R17", "GD is order-stable")
# Every algorithm runs once for each order, so its epochs are few; rates are those at which it learns there.
_POCKET_ORDER = {
    "learning_rates": {
        GD: (0.01, 0.03),
        SGD: (0.003, 0.01),
        ADAM: (1e-4, 3e-4),
        DEEP: (1.0, 10.0),
        MIDDLE: (1.0, 10.0),
    },
    "epochs": 20,
    "evaluation_epochs": 4,
    "limit": 64,
}
_ONE_RATE = {GD: (0.01,), SGD: (0.01,), ADAM: (3e-4,)}

# Section 5; the rates are those of Fig. 5's legend.
_OUTPUTS = {
    **_COMMON,
    **_EPOCHS,
    "model": LLAMA,
    "shots": (1, 2, 4, 8),
    "arms": ("shen", "shen_deep", "shen_middle"),
    "learning_rates": (1e-4, 5e-4, 1e-3, 5e-3),
}
_OUTPUT_NOTES = ("templates", "R12", "R16")
_POCKET_OUTPUTS = {
    "learning_rates": {GD: (0.03, 0.1), DEEP: (1.0, 10.0), MIDDLE: (1.0, 10.0)},
    "epochs": 100,
    "limit": 64,
}
_POCKET_GD = {**_POCKET_OUTPUTS, "learning_rates": (0.03, 0.1)}


def _figure_5_to_22(name: str, dataset: str, arm: str | None, title: str, *notes: str) -> Experiment:
    return Experiment(
        paper="shen2024",
        name=name,
        title=title,
        kind="outputs",
        settings=_OUTPUTS,
        parts=(Part(dataset, {"task": DATASETS[dataset]}),),
        pocket=_POCKET_OUTPUTS,
        view="outputs",
        figure="outputs",
        arms=() if arm is None else (arm,),
        shots=() if arm else (4,),
        footnotes=(*_OUTPUT_NOTES, *notes),
    )


def _per_dataset(first: int, arm: str, what: str, *notes: str) -> tuple[Experiment, ...]:
    return tuple(
        _figure_5_to_22(
            f"fig{first + place}",
            dataset,
            arm,
            f"ICL against {what} on {dataset}: accuracy, token overlap and OCS by epoch, 1 to 8 demonstrations",
            "numbering",
            *notes,
        )
        for place, dataset in enumerate(DATASETS)
    )


_SPARSITY_NOTES = ("R14",)
_DRIFT = {
    "checkpoints": checkpoints_by_step(PYTHIA, _PYTHIA_STEPS),
    "icl": tuple(DATASETS.values()),
    "shots": 8,
    "seeds": SEEDS,
    "limit": 500,
}
_DRIFT_NOTES = ("pythia", "R15", "templates")

EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        paper="shen2024",
        name="fig2",
        title="Sparsity of W_Q, W_K and W_V against the threshold, mean over layers (LLaMA)",
        kind="sparsity",
        settings={"stable_rank": False},
        parts=(Part("LLaMA-7B", {"model": LLAMA}),),
        view="sparsity",
        figure="thresholds",
        published=(
            Published("W_Q, LLaMA-7B", "constructed", 99.99, "figure read off"),
            Published("W_K, LLaMA-7B", "constructed", 99.99, "figure read off"),
            Published("W_V, LLaMA-7B", "constructed", 75.0, "figure read off"),
        ),
        footnotes=_SPARSITY_NOTES,
    ),
    Experiment(
        paper="shen2024",
        name="fig3",
        title="ICL accuracy beside the parameter gap over checkpoints (GPT-J)",
        kind="drift",
        settings=_DRIFT,
        parts=(Part("checkpoints"),),
        pocket={"limit": 128},
        view="drift",
        figure="accuracy_against_gap",
        footnotes=_DRIFT_NOTES,
    ),
    Experiment(
        paper="shen2024",
        name="fig4",
        title="Order sensitivity of ICL, GD, SGD and Adam (AGNews, 8 demonstrations)",
        kind="order",
        settings={**_ORDER, "arms": _ORDER_ARMS},
        parts=(Part("LLaMA-7B"),),
        pocket=_POCKET_ORDER,
        view="order_by_arm",
        figure="study",
        published=(
            Published("ICL", "Sen", 0.10, "figure read off", high=0.15),
            *(
                Published(arm, "Sen", 0.01, "figure read off", high=0.05)
                for arm in (GD, SGD, ADAM, DEEP, MIDDLE)
            ),
        ),
        footnotes=_ORDER_NOTES,
    ),
    *(
        _figure_5_to_22(
            "fig5",
            "AGNews",
            None,
            "ICL against GD, GD of a middle and of a deep layer: accuracy, token overlap and OCS (AGNews, N = 4)",
            "R17",
        ),
    ),
    Experiment(
        paper="shen2024",
        name="fig6",
        title="Order sensitivity in detail: by epoch and learning rate, each algorithm (AGNews)",
        kind="order",
        settings={**_ORDER, "arms": _ORDER_ARMS},
        parts=(Part("LLaMA-7B"),),
        pocket=_POCKET_ORDER,
        view="order_by_rate",
        figure="order_by_epoch",
        footnotes=_ORDER_NOTES,
    ),
    Experiment(
        paper="shen2024",
        name="fig7",
        title="Order sensitivity by batch size (AGNews)",
        kind="order",
        settings={**_ORDER, "arms": ("shen_sgd",), "batch_sizes": (1, 2, 4)},
        parts=(Part("LLaMA-7B"),),
        pocket={**_POCKET_ORDER, "learning_rates": (0.01,)},
        view="order_by_rate",
        figure="order_by_epoch",
        footnotes=("templates", "R13"),
    ),
    Experiment(
        paper="shen2024",
        name="fig8",
        title="Order sensitivity of other models (Qwen-7B, GPT-J; AGNews)",
        kind="order",
        settings={**_ORDER, "arms": _OPTIMIZERS},
        parts=(Part("Qwen-7B", {"model": QWEN}), Part("GPT-J", {"model": GPT_J})),
        pocket={**_POCKET_ORDER, "learning_rates": _ONE_RATE},
        view="order_by_rate",
        figure="order_by_epoch",
        footnotes=("templates", "R13", "GD is order-stable", "qwen"),
    ),
    Experiment(
        paper="shen2024",
        name="fig9",
        title="ICL accuracy on four datasets over checkpoints, beside step gap and parameter gap",
        kind="drift",
        settings=_DRIFT,
        parts=(Part("checkpoints"),),
        pocket={"limit": 128},
        view="drift",
        figure="gap",
        footnotes=_DRIFT_NOTES,
    ),
    Experiment(
        paper="shen2024",
        name="fig10",
        title="Sparsity of W_Q, W_K and W_V by layer (LLaMA and GPT-J)",
        kind="sparsity",
        settings={"stable_rank": False},
        parts=(Part("LLaMA-7B", {"model": LLAMA}), Part("GPT-J", {"model": GPT_J})),
        view="sparsity",
        figure="layers",
        footnotes=_SPARSITY_NOTES,
    ),
    *_per_dataset(11, GD, "GD"),
    *_per_dataset(15, DEEP, "GD of W_V of one deep layer", "R17"),
    *_per_dataset(19, MIDDLE, "GD of W_V of one middle layer", "R17"),
    Experiment(
        paper="shen2024",
        name="fig23",
        title="ICL against GD by model size: GPT2-XL, GPT-Neo, GPT-J, LLaMA (AGNews)",
        kind="outputs",
        settings={**_OUTPUTS, "task": "agnews", "arms": ("shen",), "shots": (4,)},
        parts=(
            Part("GPT2-XL", {"model": GPT2_XL}),
            Part("GPT-Neo", {"model": GPT_NEO}),
            Part("GPT-J", {"model": GPT_J}),
            Part("LLaMA-7B", {"model": LLAMA}),
        ),
        pocket=_POCKET_GD,
        view="outputs",
        figure="outputs",
        footnotes=(*_OUTPUT_NOTES, "shots"),
    ),
    Experiment(
        paper="shen2024",
        name="table1",
        title="Accuracy of GD with 8 and with 512 demonstrations",
        kind="outputs",
        settings={**_OUTPUTS, "arms": ("shen",), "shots": (8, 512)},
        parts=tuple(Part(dataset, {"task": task}) for dataset, task in DATASETS.items()),
        pocket={**_POCKET_GD, "learning_rates": (0.03,), "epochs": 16, "evaluation_epochs": 8},
        view="accuracy_by_shots",
        figure="accuracy_by_shots",
        published=tuple(
            Published(dataset, f"{shots} demonstrations", value)
            for dataset, values in {
                "AGNews": (0.42, 0.69),
                "CB": (0.39, 0.72),
                "SST-2": (0.49, 0.75),
                "RTE": (0.36, 0.65),
            }.items()
            for shots, value in zip((8, 512), values, strict=True)
        ),
        footnotes=("templates", "R16", "512 fit"),
    ),
    Experiment(
        paper="shen2024",
        name="gd-vs-gd",
        title="Token overlap and OCS between checkpoints of GD: learning rate × epoch (AGNews, §5.2)",
        kind="outputs",
        settings={
            **_OUTPUTS,
            "task": "agnews",
            "arms": ("shen",),
            "shots": (4,),
            "learning_rates": (1e-5, 1e-4, 5e-4, 1e-3),
        },
        parts=(Part("AGNews"),),
        pocket={**_POCKET_GD, "learning_rates": (0.01, 0.03, 0.1)},
        view="pairwise",
        figure="pairwise",
        footnotes=("templates", "R12", "shots"),
    ),
)
"""Every table and figure that is an experiment, in the order of the paper."""
