"""Do the engines agree on a model? Each is held against the native capture of the same prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import UserError
from ...models.exclusive_use import exclusive
from ...models.loading import LanguageModel
from ...models.token_loss import evaluation_mode
from ..capture import Prompts, capture
from ..captured import Capture
from ..check_prompts import check_prompts
from ..computing_dtype import computing_dtype
from ..plan import CapturePlan, Site
from ..text_prompts import as_prompt_set
from ..tolerances import relative_deviation, tolerance_of
from .choice import choose_engine
from .names import EngineName

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PLAN = CapturePlan(sites=("attention_output", "scores"), positions="all", columns="all")


@dataclass(frozen=True)
class EngineAgreement:
    """What one engine recorded, beside what the native one did.

    Attributes:
        engine: Its name.
        version: The version of its library; nothing where the library is missing.
        deviations: The worst entry of each site, relative to the largest of its row; infinite where other keys are
            visible, no number where a value is none. Empty where the engine refused.
        tolerance: What rounding explains in the model's dtype.
        refusal: Why nothing was recorded.
        note: What limits the comparison.
    """

    engine: EngineName
    version: str
    deviations: dict[Site, float]
    tolerance: float
    refusal: str = ""
    note: str = ""

    @property
    def held(self) -> bool:
        """Whether it recorded the same; what refused recorded nothing else either."""
        return all(deviation <= self.tolerance for deviation in self.deviations.values())

    def line(self) -> str:
        """Return one line to be printed."""
        name = f"{self.engine} {self.version}".strip()
        if self.refusal:
            return f"refused  {name}  {self.refusal}"
        found = ", ".join(f"{site} {deviation:.1e}" for site, deviation in self.deviations.items())
        end = f"  {self.note}" if self.note else ""
        return (
            f"{'agrees ' if self.held else 'DIFFERS'}  {name}  {found} (tolerance {self.tolerance:.0e}){end}"
        )


@dataclass(frozen=True)
class EnginesAgreement:
    """Whether engines agree on one model.

    Attributes:
        model: Its name.
        dtype: Its dtype, which decides the tolerance.
        engines: The engines, in the order asked for.
    """

    model: str
    dtype: str
    engines: tuple[EngineAgreement, ...]

    @property
    def held(self) -> bool:
        """Whether every engine that runs this model agrees."""
        return all(each.held for each in self.engines)

    @property
    def compared(self) -> tuple[EngineAgreement, ...]:
        """The engines that recorded something."""
        return tuple(each for each in self.engines if not each.refusal)

    def lines(self) -> list[str]:
        """Return one line an engine, to be printed."""
        return [each.line() for each in self.engines]


def engines_agree(
    model: LanguageModel | PreTrainedModel,
    engines: Sequence[EngineName],
    prompts: Prompts | None = None,
) -> EnginesAgreement:
    """Hold what engines record of a model's attention against what the native one records.

    Attention outputs and scores of every token are compared, behind a shared prefix and of whole prompts in a padded
    batch. Engines read them from their own hooks, so what the native one computes wrongly is found here.

    Args:
        model: The model.
        engines: Which engines.
        prompts: What to run; by default the short random prompts of the self-check.

    Raises:
        UserError: If the native engine cannot record the model.
    """
    loaded, _ = choose_engine("native", model)
    with exclusive(loaded.module, "a check"), evaluation_mode(loaded.module):
        drawn = check_prompts(loaded) if prompts is None else None
        given = drawn.short if drawn else as_prompt_set(loaded, prompts)
        dtype = computing_dtype(loaded)
        native = {
            shared: capture(loaded, given, _PLAN, share_prefix=shared, batch_size=given.n)
            for shared in (False, True)
        }
        found = []
        for engine in engines:
            version = ""
            try:
                version = choose_engine(engine, model)[1].version
                other = {
                    shared: capture(
                        model, given, _PLAN, share_prefix=shared, batch_size=given.n, engine=engine
                    )  # type: ignore[arg-type]
                    for shared in (False, True)
                }
            except UserError as error:
                found.append(EngineAgreement(engine, version, {}, tolerance_of(dtype), refusal=str(error)))
                continue
            deviations = [_deviations(native[shared], other[shared]) for shared in (False, True)]
            worst: dict[Site, float] = {
                site: _worst([each[site] for each in deviations]) for site in _PLAN.sites
            }
            whole = bool(native[True].manifest["prefix_shared"]) and not other[True].manifest["prefix_shared"]
            notes = [
                drawn.note if drawn else "",
                "it shares no prefix, so whole prompts ran" if whole else "",
            ]
            found.append(
                EngineAgreement(
                    engine, version, worst, tolerance_of(dtype), note="; ".join(filter(None, notes))
                )
            )
    return EnginesAgreement(loaded.name, str(dtype).removeprefix("torch."), tuple(found))


def _deviations(want: Capture, got: Capture) -> dict[Site, float]:
    assert want.rows is not None and want.visible is not None and got.visible is not None
    # What stands behind the last token of a shorter prompt is no row of it.
    exists = want.rows[:, None, :, None]
    found: dict[Site, float] = {}
    for site in _PLAN.sites:
        one, other = getattr(want, site), getattr(got, site)
        real = exists if one.dim() == exists.dim() else exists[..., None]
        found[site] = relative_deviation(one, other, real)
    if not torch.equal(want.visible & exists[..., None], got.visible & exists[..., None]):
        found["scores"] = math.inf
    return found


def _worst(values: list[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)
