"""The last token of a prompt as rows of one batch, each with something of its own written: the prompt runs once.

All rows are one prompt, so nothing is padded, and positions, windows and rotations are those of the prompt alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, shown
from ..models.chosen_logits import packs
from ..models.exclusive_use import exclusive
from ..models.loading import LanguageModel
from ..models.rotation import rotation_of
from ..models.token_loss import evaluation_mode
from ..tasks.prompt_set import TokenIds
from .batching import choose_batch_size
from .captured import Capture
from .forward import run_forward
from .label_scores import score_labels
from .patch import patch
from .plan import CapturePlan, Site
from .prefix import cache_of, encode_prefix, fork
from .prompt_run import NextToken
from .scoring import Scoring
from .tap import tap


@dataclass(frozen=True)
class RowWrite:
    """What is set at one site in one layer in some rows; the others keep what they compute.

    Attributes:
        site: An activation of width d.
        layer: The layer, counted from 0.
        rows: Which rows, ``[r]``.
        values: Of each of them, ``[r, d]``.
    """

    site: Site
    layer: int
    rows: Tensor
    values: Tensor


@dataclass(frozen=True)
class LastToken:
    """A prompt of which everything but the last token has run, where the model keeps keys and values alone.

    Attributes:
        model: The model.
        ids: The whole prompt.
        labels: The token ids of each label option behind it.
        scoring: How label words of several tokens are scored.
        cache: Keys and values of all tokens but the last; None where the whole prompt is each row.
    """

    model: LanguageModel
    ids: TokenIds
    labels: tuple[TokenIds, ...]
    scoring: Scoring
    cache: Any

    @property
    def tokens(self) -> TokenIds:
        """What runs in every row."""
        return self.ids if self.cache is None else self.ids[-1:]

    @property
    def most_rows(self) -> int:
        """How many rows fit into one batch."""
        return choose_batch_size(self.model, len(self.tokens), len(self.ids) - len(self.tokens))

    def record(self, rows: int, plan: CapturePlan) -> tuple[NextToken, Capture]:
        """Run the last token as it is, and record what a plan asks for in every row.

        A library may round rows of one batch in different ways, and those of other batches too, so what is written
        into a row is best made of what that very row computes in a batch of as many.

        Args:
            rows: How many.
            plan: What to record at the last prompt token.
        """
        with ExitStack() as stack:
            recorder = stack.enter_context(tap(self.model, plan))
            said = self._next_token(rows, stack)
        return said, recorder.capture()

    def run(self, rows: int, writes: Sequence[RowWrite] = ()) -> NextToken:
        """Run the last token in so many rows and return what comes next behind each.

        Args:
            rows: How many.
            writes: What is written; each site and layer once.

        Raises:
            UserError: If a site cannot be written, or the logits are no numbers.
        """
        with ExitStack() as stack:
            if writes:
                stack.enter_context(self._written(writes))
            return self._next_token(rows, stack)

    def _next_token(self, rows: int, around: ExitStack) -> NextToken:
        """Run the last token, and further tokens of label words behind it once what is around has ended."""
        tokens = torch.tensor([self.tokens]).expand(rows, -1)
        exists = torch.ones(rows, len(self.ids), dtype=torch.bool)
        continues = any(len(ids) > 1 for ids in self.labels)
        output = run_forward(
            self.model,
            tokens,
            exists,
            cache=None if self.cache is None else fork(self.cache, rows),
            use_cache=continues and self.cache is not None,
            keep_logits=torch.full((rows, 1), tokens.shape[1] - 1),
        )
        # What follows the prompt is not written: it sees what was through keys and values.
        around.close()
        logprobs = torch.log_softmax(output.logits[:, 0].float(), dim=-1)
        if logprobs.isnan().any():
            raise UserError(
                f"the logits of {shown(self.model.name)} are no numbers once something is written: take smaller "
                "alphas, or load it with dtype=float32"
            )
        if not self.labels:
            return NextToken(logprobs)

        def forward(*given: Any, **options: Any) -> Any:
            return run_forward(self.model, *given, **options)

        scores = score_labels(
            self.model,
            logprobs,
            [self.labels] * rows,
            [self.ids] * rows,
            cache_of(output) if continues else None,
            exists,
            self.scoring,
            forward=forward,
        )
        return NextToken(logprobs, scores.logprobs, scores.is_argmax)

    def _written(self, writes: Sequence[RowWrite]) -> AbstractContextManager[None]:
        at = {(write.site, write.layer): write for write in writes}
        if len(at) < len(writes):
            raise ValueError("a site of a layer is written twice in one run")

        def values(site: Site, layer: int, computed: Tensor) -> Tensor:
            write = at.get((site, layer))
            if write is None:
                return computed
            computed[write.rows.to(computed.device), 0] = write.values.to(computed)
            return computed

        sites: tuple[Site, ...] = tuple(dict.fromkeys(write.site for write in writes))
        layers = tuple(sorted({write.layer for write in writes}))
        return patch(self.model, CapturePlan(sites=sites, layers=layers), values)


@contextmanager
def last_token(
    model: LanguageModel, ids: TokenIds, labels: Sequence[TokenIds] = (), scoring: Scoring = "mean"
) -> Iterator[LastToken]:
    """Run a prompt up to its last token, once, and let the last token be run as rows of batches.

    A model that keeps more of a prompt than keys and values (a recurrent state), or rotates the whole prompt
    otherwise than its beginning, runs the whole prompt in every row.

    Args:
        model: The model.
        ids: The whole prompt.
        labels: Token ids of each label option.
        scoring: How label words of several tokens are scored.

    Raises:
        UserError: If label words of several tokens would need a cache that there is not, or another thread uses the
            model.
    """
    rotation, length = rotation_of(model), len(ids)
    # Seen before anybody listens, so that every run goes the same way, bit for bit.
    packs(model)
    with exclusive(model.module, "running last tokens"), evaluation_mode(model.module):
        cache = None
        if length > 1 and rotation.alike([length - 1, length]):
            prefix = encode_prefix(model, ids[:-1])
            cache = None if prefix is None else prefix.cache
        options = tuple(labels)
        if scoring == "first":
            options = tuple(each[:1] for each in options)
        longest = max((len(each) for each in options), default=1)
        if longest > 1 and (cache is None or not rotation.alike([length, length + longest])):
            raise UserError(
                f"label words of several tokens cannot be scored behind what is written in {shown(model.name)}, "
                "which keeps or rotates more than keys and values: take scoring=first (--scoring first)"
            )
        yield LastToken(model, ids, options, scoring, cache)
