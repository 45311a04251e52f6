"""The settings of the pretrained model on one draw, recorded once for everything that is compared with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...hooks.captured import Capture
from ...models.loading import LanguageModel
from ...probes import NullMeans
from ..cell import Cell
from ..configuration import MeasuringConfig
from .finetuned import batch_size_for
from .rounding import ChangeFloors, RepeatedRun, change_floors, repeat_zero_shot
from .settings import capture_setting, gaussian_null


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """The zero-shot setting, which draws share that ask the same queries.

    Attributes:
        capture: What was recorded.
        batch_size: How many prompts ran at once; the finetuned run takes the same, for only equal batches give
            equal roundings.
        repeated: What repeating the run changes, in half precision.
    """

    capture: Capture
    batch_size: int
    repeated: RepeatedRun | None


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The zero-shot and the in-context setting of one draw.

    Attributes:
        zero_shot: The zero-shot setting.
        icl: The in-context setting.
        floors: Up to which length what changes from zero-shot is only rounding.
        gaussian: The null of SimAOU that needs no finetuned output.
    """

    zero_shot: ZeroShot
    icl: Capture
    floors: ChangeFloors
    gaussian: NullMeans

    def save(self, folder: Path) -> None:
        """Write both captures into a folder that does not hold them yet."""
        for name, capture in (("zsl", self.zero_shot.capture), ("icl", self.icl)):
            path = folder / f"{name}.safetensors"
            if not path.exists():
                capture.save(path)


def record_zero_shot(
    config: MeasuringConfig,
    model: LanguageModel,
    cell: Cell,
    *,
    earlier: ZeroShot | None = None,
    folder: Path | None = None,
) -> ZeroShot:
    """Record the zero-shot setting.

    Args:
        config: How it is compared.
        model: The model.
        cell: The draw.
        earlier: A zero-shot setting of the same model, which is taken where the queries are the same.
        folder: Where to keep the arrays for good, see `capture_setting`.
    """
    prompts = cell.prompts.zero_shot
    if earlier is not None and earlier.capture.manifest["prompts_sha256"] == prompts.digest():
        return earlier
    size = batch_size_for(config, model, prompts)
    batched = config.model_copy(update={"batch_size": size})
    capture = capture_setting(batched, model, prompts, "zsl", folder)
    return ZeroShot(capture, size, repeat_zero_shot(config, model, prompts, capture))


def record_pretrained(
    config: MeasuringConfig,
    model: LanguageModel,
    cell: Cell,
    *,
    earlier: ZeroShot | None = None,
    folder: Path | None = None,
) -> Pretrained:
    """Record the zero-shot and the in-context setting; arguments are those of `record_zero_shot`."""
    zero_shot = record_zero_shot(config, model, cell, earlier=earlier, folder=folder)
    icl = capture_setting(config, model, cell.prompts.icl, "icl", folder)
    floors = change_floors(zero_shot.capture, icl, zero_shot.repeated)
    gaussian = gaussian_null(config, zero_shot.capture, icl, floors.outputs, cell.seed)
    pretrained = Pretrained(zero_shot, icl, floors, gaussian)
    if folder is not None:
        pretrained.save(folder)
    return pretrained
