"""What a self-check runs and reads of its runs: each is made once, whatever number of properties it shows."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from einops import einsum, repeat
from torch import Tensor

from ..models.loading import LanguageModel
from ..tasks.prompts import PromptSet
from .attention_calls import AttentionCall, watch_attention
from .capture import capture
from .captured import Capture
from .forward import run_forward
from .forward_rows import Recording
from .plan import CapturePlan, Site
from .resolved_plan import resolve_plan
from .tap import Recorder
from .tolerances import relative_deviation

_EVERYTHING = CapturePlan(sites=("attention_output", "scores", "pattern"), positions="all", columns="all")


class CheckRuns:
    """The runs of some prompts, of which several properties are read; each is made when the first asks for it."""

    def __init__(self, model: LanguageModel, prompts: PromptSet) -> None:
        """Take a model and some prompts; nothing runs yet."""
        self.model, self.prompts = model, prompts
        self.full = _full_prompts(prompts)

    @cached_property
    def together(self) -> Capture:
        """Every site of all whole prompts in one batch; a site that fires never or twice raises."""
        sites: tuple[Site, ...] = (*_EVERYTHING.sites, "residual")
        if all(part.mlp_output is not None for part in self.model.parts):
            sites = (*sites, "mlp_output")
        return capture(
            self.model, self.full, _EVERYTHING.model_copy(update={"sites": sites}), batch_size=self.full.n
        )

    @cached_property
    def tapped(self) -> tuple[Tensor, float]:
        """Logits of the first prompt with a tap, and how unlike the attention calls what it took is."""
        _, unlike, logits = _record_alone(self.model, self.prompts, 0, _EVERYTHING)
        return logits, unlike

    def missing_layers(self) -> float:
        """Layers without a recording."""
        assert self.together.attention_output is not None
        return float(len(self.model.parts) - self.together.attention_output.shape[1])

    def changed_logits(self) -> float:
        """The largest difference of a logit with the tap and without."""
        without = run_forward(self.model, *_alone(self.prompts)).logits
        return _largest((without.float() - self.tapped[0].float()).abs())

    def unlike_attention(self) -> float:
        """Hold captured patterns against what the model's own attention calls returned."""
        return self.tapped[1]

    def batch_dependence(self) -> float:
        """The worst difference between prompts that run one by one and all together."""
        return _difference(capture(self.model, self.full, _EVERYTHING, batch_size=1), self.together)

    def prefix_dependence(self) -> float:
        """The worst difference between whole prompts and those behind a shared prefix."""
        whole = self.together
        shared = capture(self.model, self.prompts, _EVERYTHING, share_prefix=True)
        return _difference(_behind_prefix(whole, shared), shared)


def _behind_prefix(full: Capture, shared: Capture) -> Capture:
    """Return of whole prompts the rows and columns that were recorded of the same prompts behind their prefix."""
    assert full.row_tokens is not None and shared.row_tokens is not None
    row = int(shared.row_tokens[0, 0] - full.row_tokens[0, 0])
    column = shared.first_column - full.first_column
    assert full.attention_output is not None and full.rows is not None
    assert full.scores is not None and full.visible is not None
    return Capture(
        layers=full.layers,
        columns=full.columns[:, column:],
        visible=full.visible[:, :, row:, :, column:],
        attention_output=full.attention_output[:, :, row:],
        scores=full.scores[:, :, row:, :, column:],
        rows=full.rows[:, row:],
    )


def _difference(one: Capture, other: Capture) -> float:
    """The worst entry, relative to the largest of its row; infinite where other keys are visible."""
    assert one.visible is not None and other.visible is not None and one.rows is not None
    # What stands behind the last token of a shorter prompt is no row of it.
    exists = one.rows[:, None, :, None, None]
    if not torch.equal(one.visible & exists, other.visible & exists):
        return math.inf
    worst = []
    for name in ("attention_output", "scores"):
        want, got = getattr(one, name), getattr(other, name)
        real = exists if name == "scores" else exists[..., 0]
        worst.append(relative_deviation(want, got, real))
    return _worst(worst)


def unlike_alone(model: LanguageModel, prompts: PromptSet) -> float:
    """Hold the last rows of prompts that run together against those of each alone, and these against attention."""
    plan = _EVERYTHING.model_copy(update={"positions": "last_prompt_token"})
    together = capture(model, prompts, plan)
    worst = []
    for index in range(prompts.n):
        alone, unlike, _ = _record_alone(model, prompts, index, plan, torch.tensor([[0]]))
        width = len(prompts.full_ids(index))
        got = [getattr(together, name)[index] for name in ("attention_output", "scores")]
        want = [alone["attention_output"][0, :, 0], alone["scores"][0, :, 0]]
        worst += [
            unlike,
            relative_deviation(want[0], got[0]),
            relative_deviation(want[1], got[1][..., :width]),
        ]
    return _worst(worst)


def _record_alone(
    model: LanguageModel, prompts: PromptSet, index: int, plan: CapturePlan, keep_logits: Tensor | None = None
) -> tuple[Recording, float, Tensor]:
    """Run one whole prompt; return what was recorded, how unlike the model's own calls it is, and the logits."""
    recorder = Recorder(resolve_plan(plan, model))
    with recorder.attached(), watch_attention(model) as watch:
        logits = run_forward(model, *_alone(prompts, index), keep_logits=keep_logits).logits
    recording = recorder.take()
    patterns = recording["pattern"]
    worst = [
        _unlike_call(patterns[0, place], watch.calls.get(part.index))
        for place, part in enumerate(model.parts)
    ]
    return recording, _worst(worst), logits


def _unlike_call(pattern: Tensor, call: AttentionCall | None) -> float:
    """The worst deviation of one layer's captured pattern ``[P, H, K]``, the last P rows of the call."""
    if call is None:
        return math.nan
    if call.pattern is not None:
        own = call.pattern.transpose(0, 1)[-len(pattern) :, ..., : pattern.shape[-1]]
        return _largest((pattern - own).abs() / own.amax(dim=-1, keepdim=True))
    assert call.values is not None and call.output is not None
    values = repeat(call.values, "kv k d -> (kv group) k d", group=pattern.shape[1] // len(call.values))
    with torch.autocast("cpu", enabled=False):
        found = einsum(pattern, values, "s h k, h k d -> s h d")
    # A head's output may nearly cancel: it is judged by the values that it mixes.
    size = values.abs().amax(dim=(1, 2))[None, :, None]
    return _largest((found - call.output[-len(pattern) :]).abs() / size)


def _worst(values: list[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


def _largest(values: Tensor) -> float:
    return values.max().item()


def _full_prompts(prompts: PromptSet) -> PromptSet:
    return PromptSet((), tuple(prompts.full_ids(index) for index in range(prompts.n)))


def _alone(prompts: PromptSet, index: int = 0) -> tuple[Tensor, Tensor]:
    """Return one whole prompt, without padding: token ids and which are real, ``[1, S]``."""
    tokens = torch.tensor([prompts.full_ids(index)])
    return tokens, torch.ones_like(tokens, dtype=torch.bool)
