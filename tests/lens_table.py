"""Writes the table of docs/engines.md that says which model types TransformerLens gets right.

Every tiny model of `tiny_families` and `tiny_decoders` is captured by the native engine and by TransformerLens, every
token of three padded prompts, whole and behind a shared prefix: `python tests/lens_table.py`.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tiny_decoders
import tiny_families
import torch

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.engines.packages import require_package
from iclprobe.hooks.plan import SITES, CapturePlan, Site
from iclprobe.hooks.resolved_plan import resolve_plan
from iclprobe.hooks.tolerances import relative_deviation
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.tasks.prompts import PromptSet

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "engines.md"
MARKS = ("<!-- begin of the table -->", "<!-- end of the table -->")
BOTH: tuple[Site, Site] = ("attention_output", "scores")


@dataclass
class Found:
    """What came of one tiny model."""

    name: str
    worst: dict[Site, float] = field(default_factory=dict)
    not_given: list[Site] = field(default_factory=list)
    wrong: list[Site] = field(default_factory=list)
    refused: str = ""


def measure(name: str, module: Any) -> Found:
    """Hold every site that the native engine gives of a model against TransformerLens."""
    found = Found(name)
    model = load_model(module)
    prompts = PromptSet(tiny_decoders.prefix(name), tiny_decoders.prompts(name))
    given: list[Site] = [site for site in SITES if _is_given(model, site)]
    try:
        together = _worst(model, prompts, tuple(given))
    except UserError as error:
        if re.search("does not run|other logits|stack of blocks", str(error)):
            found.refused = str(error)
            return found
        together = None
    for site in given:
        try:
            alone = together or _worst(model, prompts, (site,))
            found.worst[site] = alone[site]
        except UserError:
            found.not_given.append(site)
    found.wrong = [site for site, deviation in found.worst.items() if not deviation < 1e-4]
    return found


def _is_given(model: LanguageModel, site: Site) -> bool:
    try:
        resolve_plan(CapturePlan(sites=(site,)), model)
    except UserError:
        return False
    return True


def _worst(model: LanguageModel, prompts: PromptSet, sites: tuple[Site, ...]) -> dict[Site, float]:
    plan = CapturePlan(sites=sites, positions="all", columns="all")
    worst = dict.fromkeys(sites, 0.0)
    for shared in (False, True):
        options: dict[str, Any] = {"share_prefix": shared, "batch_size": prompts.n}
        got = capture(model, prompts, plan, engine="transformer-lens", **options)
        want = capture(model, prompts, plan, **options)
        assert want.rows is not None
        for site in sites:
            one, other = getattr(want, site), getattr(got, site)
            exists = want.rows.reshape(len(want.rows), 1, -1, *[1] * (one.dim() - 3))
            deviation = relative_deviation(one.masked_fill(~exists, 0.0), other.masked_fill(~exists, 0.0))
            if site == "scores" and not torch.equal(want.visible & exists, got.visible & exists):  # type: ignore[operator]
                deviation = float("inf")
            worst[site] = max(worst[site], deviation)
    return worst


def every_model() -> Iterator[Found]:
    for source, names in ((tiny_families, tiny_families.FAMILIES), (tiny_decoders, tiny_decoders.DECODERS)):
        for name in names:
            yield measure(name, source.build(name))


def table(found: list[Found]) -> Iterator[str]:
    """Return the lines of the table, those that TransformerLens gets right first."""
    rows = [each for each in found if not each.refused]
    yield "| tiny model | attention output | scores | given wrongly | refused, though the native engine gives it |"
    yield "|---|---|---|---|---|"
    for each in sorted(rows, key=lambda one: ("scores" in one.not_given, one.name)):
        numbers = (f"{each.worst[site]:.0e}" if site in each.worst else "refused" for site in BOTH)
        others = [site for site in each.not_given if site not in BOTH]
        yield f"| {each.name} | {' | '.join(numbers)} | {', '.join(each.wrong) or '-'} | {', '.join(others) or '-'} |"
    yield ""
    whys: dict[str, list[str]] = {}
    for each in found:
        if each.refused:
            whys.setdefault(_why(each.refused), []).append(each.name)
    yield "Refused altogether:"
    yield ""
    for why, names in whys.items():
        yield f"- {why}: {', '.join(names)}"


def _why(refusal: str) -> str:
    if "Unsupported architecture" in refusal:
        return "no adapter"
    if "torchvision" in refusal:
        return "the adapter needs torchvision"
    if "other logits" in refusal:
        return "its logits are not the model's"
    inner = re.search(r"; (.*?)\): take", refusal)
    return f"building the bridge fails ({inner[1] if inner else refusal})"


def main() -> None:
    warnings.simplefilter("ignore")
    found = list(every_model())
    version = require_package("transformer-lens")
    import transformers

    right = [each for each in found if not each.refused and not each.wrong and "scores" not in each.not_given]
    lines = [
        MARKS[0],
        f"TransformerLens {version}, transformers {transformers.__version__}, torch {torch.__version__}; fp32 on a "
        f"CPU. Of {len(found)} tiny models {len(right)} agree in attention outputs and scores, "
        f"{sum(bool(each.refused) for each in found)} are refused altogether.",
        "",
        *table(found),
        MARKS[1],
    ]
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    DOCUMENT.write_text(before + "\n".join(lines) + rest.partition(MARKS[1])[2], encoding="utf-8")


if __name__ == "__main__":
    main()
