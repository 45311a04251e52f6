"""How a model is finetuned: one configuration for Python, YAML and command line, and the papers' presets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import UserError, shown
from ..settings import LARGEST, BatchSize, Epochs, Positive, Settings, make_config
from ..text_files import is_file
from ..yaml_text import read_yaml
from .clip_kinds import CLIP_NAMES, ClipKind
from .name_pattern import NoPattern, name_pattern

LossTokens = Literal["label", "all"]
LossVocabulary = Literal["full", "labels"]
OptimizerName = Literal["gd", "sgd", "adam", "adamw"]
Schedule = Literal["joint", "layer_causal"]
Objective = Literal["text", "match_icl", "distill_icl"]

_SHEN: dict[str, Any] = {"loss_tokens": "label", "epochs": 200, "parameters": "all", "evaluation_epochs": 20}
_IMITATING: dict[str, Any] = {
    "loss_tokens": "label",
    "optimizer": "adam",
    "epochs": 4,
    "batch_size": 8,
    "shuffle": True,
    "parameters": "attn_kv",
}


class Recipe(Settings):
    """How to finetune on the demonstrations.

    The loss of a step is the mean negative log-likelihood over the loss tokens of its batch, so with one
    demonstration a step it is that demonstration's mean per token.

    Attributes:
        name: What it is called, and what its published learning rates are looked up under.
        objective: ``text`` learns the demonstrations' tokens. The others are controls that imitate the pretrained
            model in context, on training records that are not shown: ``match_icl`` every layer's attention output at
            the last prompt token (squared distance, each layer as a share of ICL's own change there), ``distill_icl``
            the next-token distribution (KL divergence). They need a learning rate that is a number.
        target_records: On how many such records ICL is imitated.
        loss_tokens: ``label`` takes the loss on the label's tokens only (Shen et al.), ``all`` on every token
            after the first, input and label (Dai et al., Bar Natan et al.).
        loss_vocabulary: What a loss token is predicted out of: the ``full`` vocabulary (the codes of both papers),
            or the ``labels`` alone (Bar Natan et al.'s text: "project into the label space"), which needs the
            loss on the label and label words of one token.
        optimizer: ``gd`` is gradient descent on all demonstrations at once; ``sgd``, ``adam`` and ``adamw``
            step once a batch. All without momentum beyond the optimizer's own, warmup or decay.
        learning_rate: A number; ``auto`` chooses on held-out training records; ``published`` is the paper's.
        epochs: Passes over the demonstrations.
        batch_size: Demonstrations a step; None is all of them for ``gd`` and one for the others.
        parameters: What is trained. ``attn_kv``: W_K and W_V of all layers; ``attn_v@-1``: W_V of the last
            layer (any of q, k and v, any layer); ``attn_v@deep`` and ``attn_v@middle``: of one layer drawn
            there (Shen et al. appendix E); ``lora_qv``, also with a layer: low-rank adapters on those
            projections; ``all``; else a regular expression searched in parameter names, with or without
            ``regex:`` in front.
        include_bias: Whether ``attn_…`` takes the biases of those projections too.
        shuffle: Whether every epoch has its own seeded order, instead of the demonstrations' order.
        evaluation_epochs: Evaluate after every so many epochs; None is after the last one only, which is
            always evaluated.
        weight_decay: Weight decay of the trained weights, decoupled for ``adamw`` and L2 for the others.
        schedule: ``joint`` trains every layer on the model's own loss; ``layer_causal`` reads every layer's output
            out through the final norm and the unembedding and trains each layer on its own loss, the layer's
            input held fixed (Bar Natan et al. section 3.4).
        layer_updates: In layer-causal finetuning: ``simultaneous`` steps all layers from one forward (the
            reference's code), ``sequential`` steps a layer, runs it again and hands its new output to the next
            (the paper's text).
        layer_reduction: The loss of layer-causal finetuning: the ``sum`` over layers (the code) or their
            ``mean``, which divides every layer's gradient by their number.
        clip: How gradients are clipped: ``global_l2`` scales all together to a joint L2 norm (the reference's
            code), ``per_layer_l2`` each layer by itself, ``linf`` scales all together until no entry is larger
            (the paper's text), ``value`` cuts each entry. In sequential layer-causal finetuning a step is one
            layer's, so ``global_l2`` is that layer's norm.
        clip_value: The limit.
        lora_rank: Rank of the adapters of ``lora_…``.
        lora_alpha: Their update is scaled by alpha / rank.
    """

    name: str = "custom"
    objective: Objective = "text"
    target_records: int = Field(default=80, ge=1, le=1_000_000)
    loss_tokens: LossTokens = "all"
    loss_vocabulary: LossVocabulary = "full"
    optimizer: OptimizerName = "sgd"
    learning_rate: Positive | Literal["auto", "published"] = "auto"
    epochs: Epochs = 1
    batch_size: BatchSize | None = None
    parameters: str = Field(default="attn_kv", min_length=1, max_length=1000)
    include_bias: bool = True
    shuffle: bool = False
    evaluation_epochs: Epochs | None = None
    weight_decay: float = Field(default=0.0, ge=0, le=LARGEST)
    schedule: Schedule = "joint"
    layer_updates: Literal["simultaneous", "sequential"] = "simultaneous"
    layer_reduction: Literal["sum", "mean"] = "sum"
    clip: ClipKind | None = None
    clip_value: Positive | None = None
    lora_rank: int = Field(default=8, ge=1, le=65_536)
    lora_alpha: Positive = 16.0

    @field_validator("parameters")
    @classmethod
    def _compiles(cls, selection: str) -> str:
        try:
            name_pattern(selection)
        except NoPattern as error:
            raise ValueError(str(error)) from error
        return selection

    @model_validator(mode="after")
    def _gd_takes_all(self) -> Recipe:
        if self.optimizer == "gd" and self.batch_size is not None:
            raise ValueError("gd takes all demonstrations at once: leave batch_size out, or take sgd")
        return self

    @model_validator(mode="after")
    def _labels_are_told(self) -> Recipe:
        if self.loss_vocabulary == "labels" and self.loss_tokens != "label":
            raise ValueError("loss_vocabulary labels needs loss_tokens label: inputs are no label words")
        return self

    @model_validator(mode="after")
    def _imitates_as_a_whole(self) -> Recipe:
        if self.objective == "text":
            return self
        if self.schedule == "layer_causal":
            raise ValueError(
                f"{self.objective} is a loss of the whole model: leave schedule layer_causal out"
            )
        if self.learning_rate in ("auto", "published"):
            raise ValueError(
                f"{self.objective} needs a learning_rate that is a number, as auto chooses by held-out labels, which "
                "it does not learn"
            )
        return self

    @model_validator(mode="after")
    def _clip_has_both(self) -> Recipe:
        if (self.clip is None) != (self.clip_value is None):
            raise ValueError("clip and clip_value belong together: give both, such as global_l2 and 12.0")
        return self

    def batch_size_of(self, n_sequences: int) -> int:
        """Return how many of so many demonstrations one step takes."""
        if self.optimizer == "gd":
            return n_sequences
        return min(self.batch_size or 1, n_sequences)

    def steps(self, n_sequences: int) -> int:
        """Return how many steps so many demonstrations take."""
        return self.epochs * math.ceil(n_sequences / self.batch_size_of(n_sequences))

    def describe(self) -> str:
        """Say in a line how it finetunes: what of, by what, how often, and on which loss."""
        parts = [self.optimizer, "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"]
        if self.schedule == "layer_causal":
            parts.append(f"layer-causal ({self.layer_updates}, {self.layer_reduction} over layers)")
        if self.clip is not None:
            parts.append(f"gradients clipped: {CLIP_NAMES[self.clip]} at most {self.clip_value:g}")
        if self.objective != "text":
            what = "attention outputs" if self.objective == "match_icl" else "next-token distribution"
            return ", ".join([*parts, f"imitating ICL's {what} on {self.target_records} records not shown"])
        loss = f"loss on {self.loss_tokens} tokens"
        return ", ".join([*parts, f"{loss} among the labels" if self.loss_vocabulary == "labels" else loss])

    def is_evaluated(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 1, is followed by an evaluation."""
        return epoch == self.epochs or (
            self.evaluation_epochs is not None and epoch % self.evaluation_epochs == 0
        )


_PRESETS: dict[str, Recipe] = {
    # The public code of Dai et al. 2023, which Bar Natan et al. use; it trains biases, though neither says so.
    "dai": Recipe(name="dai", loss_tokens="all", optimizer="sgd", epochs=1, parameters="attn_kv"),
    # Bar Natan et al., section 3.4 and table 2, as in their code: all layers at once, losses added up.
    "barnatan_lcft": Recipe(
        name="barnatan_lcft",
        loss_tokens="all",
        optimizer="sgd",
        epochs=1,
        parameters="attn_kv",
        schedule="layer_causal",
    ),
    # Shen et al. 2024, section 5 and appendices A and E.
    "shen": Recipe(name="shen", optimizer="gd", **_SHEN),
    "shen_sgd": Recipe(name="shen_sgd", optimizer="sgd", **_SHEN),
    "shen_adam": Recipe(name="shen_adam", optimizer="adam", **_SHEN),
    "shen_deep": Recipe(
        name="shen_deep", optimizer="gd", **{**_SHEN, "parameters": "attn_v@deep", "include_bias": False}
    ),
    "shen_middle": Recipe(
        name="shen_middle", optimizer="gd", **{**_SHEN, "parameters": "attn_v@middle", "include_bias": False}
    ),
    # Controls of ours: alike inside, and alike in what is said. Forty steps over 80 records.
    "match_icl": Recipe(name="match_icl", objective="match_icl", learning_rate=3e-4, **_IMITATING),
    "distill_icl": Recipe(name="distill_icl", objective="distill_icl", learning_rate=1e-4, **_IMITATING),
}

# The settings of Bar Natan et al.'s code, for a 1.3B model and 32 demonstrations; the same for both schedules.
_BARNATAN_RATES = {"sst2": 5e-4, "sst5": 1.6e-4, "mr": 3e-3, "subj": 3e-3, "agnews": 0.2, "cb": 0.08}
_PUBLISHED_RATES = {"dai": _BARNATAN_RATES, "barnatan_lcft": _BARNATAN_RATES}
# Shen et al. 2024, appendix A and the legend of figure 5.
_SHEN_GRID = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3)
_PUBLISHED_GRIDS = {name: _SHEN_GRID for name in _PRESETS if name.startswith("shen")}


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(_PRESETS)


def preset(name: str) -> Recipe:
    """Return a published recipe: ``dai`` (also Bar Natan et al.), ``barnatan_lcft``, ``shen`` and its variants.

    Raises:
        UserError: If there is no preset of that name.
    """
    if name not in _PRESETS:
        raise UserError(f"no recipe {shown(name)}: take {', '.join(_PRESETS)}, or give a YAML file")
    return _PRESETS[name]


def load_recipe(source: Recipe | str | Path | Mapping[str, Any]) -> Recipe:
    """Return a recipe from a preset's name, a YAML file or a mapping.

    A file or mapping may start from a preset with the key ``preset`` and change some of its fields.

    Raises:
        UserError: If there is no such preset or file, or it has an unknown key or an impossible value.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return _from_mapping(source, "the recipe")
    if isinstance(source, str) and source in _PRESETS:
        return _PRESETS[source]
    if not is_file(source):
        raise UserError(
            f"no recipe {shown(source)}: take {', '.join(_PRESETS)}, or the path of a YAML file that exists"
        )
    return _from_mapping(read_yaml(source, "recipe", "optimizer: sgd"), f"recipe {shown(source)}")


def require_text(recipe: Recipe, analysis: str) -> None:
    """Refuse a recipe that imitates ICL where finetuning has to learn the demonstrations themselves.

    Args:
        recipe: The recipe.
        analysis: What it was asked for in.

    Raises:
        UserError: If it imitates ICL.
    """
    if recipe.objective != "text":
        raise UserError(
            f"{analysis} finetunes on the demonstrations, and recipe {shown(recipe.name)} imitates ICL on records "
            "that are not shown: take another recipe, or compare"
        )


def published_learning_rate(preset_name: str, task_name: str) -> float:
    """Return the learning rate that a paper took for a task, for its own model.

    Args:
        preset_name: The preset, a recipe's ``name``.
        task_name: The task as the catalogue names it.

    Raises:
        UserError: If none was published; it tells which were.
    """
    if preset_name in _PUBLISHED_GRIDS:
        grid = ", ".join(f"{rate:g}" for rate in _PUBLISHED_GRIDS[preset_name])
        raise UserError(
            f"recipe {shown(preset_name)} has no published learning rate for task {shown(task_name)}, its paper "
            f"tells only which were tried ({grid}): give one of them, or take auto"
        )
    rates = _PUBLISHED_RATES.get(preset_name)
    if rates is None:
        raise UserError(
            f"recipe {shown(preset_name)} has no published learning rates, only {' and '.join(_PUBLISHED_RATES)} "
            "have: give a number, or take auto"
        )
    if task_name.lower() not in rates:
        raise UserError(
            f"recipe {shown(preset_name)} has no published learning rate for task {shown(task_name)}, only for "
            f"{', '.join(rates)}: give a number, or take auto"
        )
    return rates[task_name.lower()]


def _preset_named(name: object) -> Recipe:
    return preset(name if isinstance(name, str) else shown(name))


def _from_mapping(content: Mapping[str, Any], source: str) -> Recipe:
    changes = dict(content)
    base = {}
    if "preset" in changes:
        base = _preset_named(changes.pop("preset")).model_dump(exclude_unset=True)
    return make_config(Recipe, base | changes, source)
