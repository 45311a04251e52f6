"""What one draw leaves: settings, the answers under every update, and how long updates are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...hooks.plan import Site
from ...models.recipe import Recipe
from ...study.names import FINETUNED_MODEL, MODEL_ITSELF
from ..cell import Cell
from ..comparison.alarms import Outcome
from ..comparison.draw import FinetunedSetting
from ..comparison.settings import answers_of
from ..subject import Subject
from .config import TransferConfig
from .patched import PatchedAnswers, run_patched
from .places import Patch, Place
from .settings import record_settings
from .updates import Updates


@dataclass(frozen=True, eq=False)
class TransferDraw:
    """One draw of demonstrations; recordings are gone.

    Attributes:
        cell: The draw.
        layers: The layers of updates, L.
        gold: Right options, ``[N]``.
        icl: Label log-probabilities in context, ``[N, C]``.
        finetuned: Those of each finetuned model, ``[N, C]``.
        answers: Those under every update.
        half: Which half each query belongs to, ``[N]``.
        lengths: Of each recipe and site, by name, ``[N, L]``.
        sources: Where finetuned weights came from.
        outcomes: What finetuning did.
        unmoved: Of how many queries finetuning by each recipe left everything but rounding as it was.
        icl_unmoved: Of how many queries demonstrations did.
        floor: Up to which length, relative to label log-probabilities, their change is rounding.
    """

    cell: Cell
    layers: tuple[int, ...]
    gold: Tensor
    icl: Tensor
    finetuned: Mapping[str, Tensor]
    answers: PatchedAnswers
    half: Tensor
    lengths: Mapping[tuple[str, str], Mapping[str, Tensor]]
    sources: Mapping[str, FinetunedSetting]
    outcomes: Mapping[str, Outcome]
    unmoved: Mapping[str, int]
    icl_unmoved: int
    floor: float

    @property
    def queries(self) -> int:
        """How many were asked, N."""
        return len(self.gold)

    def given(self) -> Iterator[tuple[Patch, Tensor, Tensor]]:
        """Yield every patch with label log-probabilities ``[N, C]`` and KL over the vocabulary ``[N]``.

        The finetuned models themselves come first, whose divergence over the vocabulary is not known.
        """
        itself = Place(MODEL_ITSELF, "attention_output", (), (1.0,))
        for recipe, logprobs in self.finetuned.items():
            yield (
                Patch(itself, FINETUNED_MODEL, recipe, 1.0),
                logprobs,
                torch.full((self.queries,), torch.nan),
            )
        for index, patch in enumerate(self.answers.patches):
            yield patch, self.answers.logprobs[:, index], self.answers.vocabulary_kl[:, index]


def run_draw(
    config: TransferConfig,
    subject: Subject,
    cell: Cell,
    recipes: Mapping[str, Recipe],
    patches: Sequence[Patch],
) -> TransferDraw:
    """Run one draw: all settings, then every update of every query.

    Args:
        config: What is asked.
        subject: The model, which is left as it was, and the task.
        cell: The draw.
        recipes: How to finetune, by name.
        patches: The rows of every query.

    Raises:
        UserError: If something cannot be done.
    """
    settings = record_settings(config, subject, cell, recipes)
    updates: dict[Site, Updates] = {
        site: Updates(settings, site, cell.seed) for site in config.captured_sites
    }
    layers = settings.zero_shot.layers
    answers = run_patched(config, subject.model, cell, patches, updates)
    gold = torch.tensor(cell.prompts.zero_shot.gold)
    before, demonstrated = answers_of(settings.zero_shot, gold), answers_of(settings.icl, gold)
    after = {name: answers_of(each, gold) for name, each in settings.finetuned.items()}
    lengths = {
        (recipe, site): found
        for site, each in updates.items()
        for recipe, found in each.all_lengths().items()
    }
    outputs = updates["attention_output"]
    outcomes = {}
    for name, source in settings.sources.items():
        run = source.finetuning
        assert run is not None
        outcomes[name] = Outcome(
            source=name,
            learning_rate=run.learning_rate,
            first_loss=run.first_loss,
            final_loss=run.final_loss,
            queries=len(gold),
            changed=int((after[name].prediction != before.prediction).sum()),
            zero_shot_right=int(before.correct.sum()),
            icl_right=int(demonstrated.correct.sum()),
        )
    floor = settings.floors.icl
    assert isinstance(floor, float)
    return TransferDraw(
        cell=cell,
        layers=layers,
        gold=gold,
        icl=demonstrated.label_logprobs,
        finetuned={name: each.label_logprobs for name, each in after.items()},
        answers=answers,
        half=outputs.half,
        lengths=lengths,
        sources=settings.sources,
        outcomes=outcomes,
        unmoved={name: outputs.unmoved(name) for name in settings.finetuned},
        icl_unmoved=outputs.unmoved(None),
        floor=floor,
    )
