"""Bar Natan et al.: Tables 1 to 3 and Figs. 1 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .declaration import Experiment, Part, Published, Row
from .scales import FAIRSEQ

DATASETS: Mapping[str, tuple[str, int]] = {
    "SST2": ("sst2", 2),
    "SST5": ("sst5", 5),
    "MR": ("mr", 5),
    "Subj": ("subj", 4),
    "AGNews": ("agnews", 3),
    "CB": ("cb", 3),
}
"""What the paper calls its datasets, what the catalogue does, and the seed of the paper's one draw."""

FT, LCFT, CLIPPED = "dai", "barnatan_lcft", "barnatan_lcft_clipped"
AVERAGE = "Average"

_BASE: dict[str, Any] = {
    "model": FAIRSEQ,
    "template": "dai",
    "shots": 32,
    "limit": 2000,
    "learning_rate": "published",
}
_SETTINGS = {**_BASE, "recipes": (FT, LCFT)}
_POCKET: dict[str, Any] = {"limit": 128, "learning_rate": "auto"}


def _parts(*datasets: str) -> tuple[Part, ...]:
    return tuple(
        Part(dataset, {"task": DATASETS[dataset][0], "seeds": (DATASETS[dataset][1],)})
        for dataset in datasets
    )


def _published(columns: tuple[str, ...], rows: Mapping[str, tuple[float, ...]]) -> tuple[Published, ...]:
    return tuple(
        Published(row, column, value)
        for row, values in rows.items()
        for column, value in zip(columns, values, strict=True)
    )


_TABLE_1_COLUMNS = ("CB", "SST2", "SST5", "Subj", "MR", "AGNews")
_TABLE_1 = {
    "ZSL accuracy": (37.5, 70.5, 39.3, 72.6, 65.9, 46.2),
    "FT accuracy": (57.1, 74.0, 39.4, 77.8, 72.6, 66.7),
    "ICL accuracy": (50.0, 92.7, 45.0, 90.0, 89.1, 79.2),
    "Jaccard": (80.0, 16.4, 3.4, 36.2, 34.0, 48.0),
    "Jaccard, correct": (91.7, 19.8, 3.2, 48.0, 40.2, 63.5),
    "Jaccard, incorrect": (66.7, 1.8, 3.5, 10.2, 17.7, 19.2),
}
_TABLE_2_COLUMNS = ("SST2", "SST5", "MR", "Subj", "AGNews", "CB", AVERAGE)
_TABLE_2 = {
    "SimAOU (random)": (0.0016, 0.0025, 0.0008, 0.0022, 0.0021, 0.0037, 0.0021),
    "SimAOU (FT)": (0.1091, 0.113, 0.2190, 0.1932, 0.3053, 0.2013, 0.1901),
    "SimAOU (layer-causal FT)": (0.2297, 0.1065, 0.3299, 0.3439, 0.3213, 0.3435, 0.2791),
    "SimAM (ZSL)": (0.5546, 0.3913, 0.3979, 0.3786, 0.1518, 0.1524, 0.3377),
    "SimAM (FT)": (0.5850, 0.4047, 0.4980, 0.4870, 0.4944, 0.1875, 0.4427),
    "SimAM (layer-causal FT)": (0.5774, 0.4039, 0.2919, 0.2844, 0.1201, 0.0293, 0.2845),
}
_TABLE_3 = {
    "SimAOU (FT)": (0.1932,),
    "SimAOU (layer-causal FT, clipped)": (0.3480,),
    "SimAM (ZSL)": (0.3786,),
    "SimAM (FT)": (0.4870,),
    "SimAM (layer-causal FT, clipped)": (0.4227,),
}


def clipped(limit: float) -> dict[str, Any]:
    """Return layer-causal finetuning with gradients clipped at a global L2 norm, as in the paper's code."""
    return {"preset": LCFT, "name": CLIPPED, "clip": "global_l2", "clip_value": limit}


EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        paper="barnatan",
        name="fig1",
        title="Partition of the prediction changes of ICL and finetuning: shared or not, correct or not",
        kind="compare",
        settings=_SETTINGS,
        parts=_parts(*_TABLE_1_COLUMNS),
        pocket=_POCKET,
        view="partition",
        figure="partition",
        footnotes=("D1", "D3", "D4", "D8"),
    ),
    Experiment(
        paper="barnatan",
        name="fig3",
        title="Gradient norms by demonstration and layer, standard and layer-causal finetuning (Subj)",
        kind="gradients",
        settings={**_BASE, "recipes": (FT, LCFT)},
        parts=_parts("Subj"),
        pocket=_POCKET,
        view="gradients",
        figure="study",
        footnotes=("D4", "D8", "D10"),
    ),
    Experiment(
        paper="barnatan",
        name="table1",
        title="Accuracy of zero-shot, finetuning and ICL, and Jaccard index of their prediction changes",
        kind="compare",
        settings=_SETTINGS,
        parts=_parts(*_TABLE_1_COLUMNS),
        pocket=_POCKET,
        view="comparison",
        figure="bars",
        rows=(
            Row("ZSL accuracy", "accuracy, zero-shot"),
            Row("FT accuracy", "accuracy, finetuned"),
            Row("ICL accuracy", "accuracy, ICL"),
            Row("Jaccard", "Jaccard, all changes", panel="share of changes (%)"),
            Row("Jaccard, correct", "Jaccard, correct changes", panel="share of changes (%)"),
            Row("Jaccard, incorrect", "Jaccard, incorrect changes", panel="share of changes (%)"),
            Row("Rec2FTP", "Rec2FTP", panel="share of changes (%)"),
        ),
        published=_published(_TABLE_1_COLUMNS, _TABLE_1),
        footnotes=("D3", "D4", "D5", "D8", "19.38"),
    ),
    Experiment(
        paper="barnatan",
        name="table2",
        title="SimAOU and SimAM of standard and layer-causal finetuning on six datasets",
        kind="compare",
        settings=_SETTINGS,
        parts=_parts(*_TABLE_2_COLUMNS[:-1]),
        pocket=_POCKET,
        view="comparison_with_average",
        figure="bars",
        rows=(
            Row("SimAOU (random)", "SimAOU, null gaussian", panel="SimAOU (cosine)"),
            Row("SimAOU (FT)", "SimAOU", panel="SimAOU (cosine)"),
            Row("SimAOU (layer-causal FT)", "SimAOU", LCFT, panel="SimAOU (cosine)"),
            *(
                Row(f"SimAOU ({shown}, {what})", measure, recipe, panel=f"nulls of {shown} (cosine)")
                for shown, recipe in (("FT", FT), ("layer-causal FT", LCFT))
                for what, measure in (
                    ("permuted pairs", "SimAOU, null permuted_pairs"),
                    ("shared baseline", "SimAOU, null shared_baseline"),
                    ("partial", "SimAOU partial"),
                )
            ),
            Row("SimAM (ZSL)", "SimAM before finetuning", panel="SimAM (cosine)"),
            Row("SimAM (FT)", "SimAM after finetuning", panel="SimAM (cosine)"),
            Row("SimAM (layer-causal FT)", "SimAM after finetuning", LCFT, panel="SimAM (cosine)"),
            Row("accuracy (FT)", "accuracy, finetuned"),
            Row("accuracy (layer-causal FT)", "accuracy, finetuned", LCFT),
        ),
        published=_published(_TABLE_2_COLUMNS, _TABLE_2),
        footnotes=("D1", "D2", "nulls", "D4", "D6", "D7", "D8", "D11"),
    ),
    Experiment(
        paper="barnatan",
        name="table3",
        title="Layer-causal finetuning with clipped gradients (Subj)",
        kind="compare",
        # The rate of the paper's code for Subj; it is published under the names of the two presets only.
        settings={**_BASE, "learning_rate": 3e-3, "recipes": (FT, LCFT, clipped(12.0))},
        parts=_parts("Subj"),
        pocket={**_POCKET, "recipes": (FT, LCFT, clipped(0.93))},
        view="comparison",
        figure="bars",
        rows=(
            Row("SimAOU (FT)", "SimAOU", panel="SimAOU (cosine)"),
            Row("SimAOU (layer-causal FT)", "SimAOU", LCFT, panel="SimAOU (cosine)"),
            Row("SimAOU (layer-causal FT, clipped)", "SimAOU", CLIPPED, panel="SimAOU (cosine)"),
            Row("SimAM (ZSL)", "SimAM before finetuning", panel="SimAM (cosine)"),
            Row("SimAM (FT)", "SimAM after finetuning", panel="SimAM (cosine)"),
            Row("SimAM (layer-causal FT)", "SimAM after finetuning", LCFT, panel="SimAM (cosine)"),
            Row(
                "SimAM (layer-causal FT, clipped)", "SimAM after finetuning", CLIPPED, panel="SimAM (cosine)"
            ),
        ),
        published=_published(("Subj",), _TABLE_3),
        footnotes=("D1", "D6", "D7", "D9", "clip"),
    ),
)
"""Every table and figure that is an experiment, in the order of the paper."""
