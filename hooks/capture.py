"""Capture: run prompts, sharing their prefix, and return what a plan records in the order asked."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import UserError
from ..models.loading import LanguageModel, load_model
from ..tasks.prompts import PromptSet
from .assembly import array_shapes, fill, fill_file
from .batching import choose_batch_size, free_memory, make_batches
from .captured import Capture, capture_from
from .forward import run_forward
from .label_scores import LabelScores, Scoring, score_labels
from .plan import CapturePlan, ResolvedPlan, resolve_plan
from .prefix import encode_prefix, fork
from .rows import Wanted
from .storage import allocate, total_bytes
from .tap import Recorder, rows_at
from .text_prompts import as_prompt_set

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Prompts = PromptSet | str | Sequence[str] | Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Run:
    """Everything about one capture that all its batches share."""

    model: LanguageModel
    prompts: PromptSet
    resolved: ResolvedPlan
    prefix_cache: Any
    scoring: Scoring
    top_k: int

    @property
    def first_label(self) -> bool:
        return self.resolved.plan.positions == "first_label_token"

    @property
    def lead(self) -> tuple[int, ...]:
        """Prefix tokens that run in front of every query because no cache holds them."""
        return () if self.prefix_cache is not None else self.prompts.prefix_ids

    @property
    def past(self) -> int:
        return len(self.prompts.prefix_ids) - len(self.lead)

    @property
    def continues(self) -> bool:
        """Whether label words of several tokens need the prompts' keys and values."""
        return any(len(ids) > 1 for options in self.prompts.label_ids for ids in options)

    def tokens_of(self, index: int, with_label: bool) -> tuple[int, ...]:
        label = self.prompts.label_ids[index][0][:1] if with_label else ()
        return self.lead + self.prompts.query_ids[index] + label


def capture(
    model: LanguageModel | PreTrainedModel,
    prompts: Prompts,
    plan: CapturePlan | None = None,
    *,
    batch_size: int | str = "auto",
    share_prefix: bool = True,
    scoring: Scoring = "mean",
    top_k: int = 10,
    file: str | Path | None = None,
    progress: str | None = None,
) -> Capture:
    """Run prompts and record what a plan asks for.

    The prefix runs once and its keys and values serve every query. Batches are sorted by length; the result is
    in the order of the prompts.

    Args:
        model: The model.
        prompts: A `PromptSet`, one text or several, or token ids of several prompts.
        plan: What to record; by default attention outputs and scores of the query at its last token.
        batch_size: Prompts at once, or ``auto`` to size batches to memory.
        share_prefix: Whether to run the demonstrations once; False runs every full prompt.
        scoring: How label words of several tokens are scored: ``mean`` per token, ``sum`` or ``first``.
        top_k: How many of the most probable next tokens to keep.
        file: Keep the arrays in this safetensors file, mapped into memory, instead of in memory.
        progress: Show a progress bar of this name.

    Raises:
        UserError: If the plan does not fit the model, a prompt does not fit the context window, or the arrays
            do not fit into memory.
    """
    model = load_model(model)
    prompt_set = as_prompt_set(model, prompts)
    resolved = resolve_plan(plan, model)
    shapes = array_shapes(resolved, prompt_set, top_k)
    batches = stream(
        model,
        prompt_set,
        resolved.plan,
        batch_size=batch_size,
        share_prefix=share_prefix,
        scoring=scoring,
        top_k=top_k,
        progress=progress,
    )
    # Closed even when storing fails, or the tap would stay until the traceback is forgotten.
    with closing(batches):
        if file is not None:
            return fill_file(Path(file), shapes, batches, resolved.layers)
        available = free_memory(torch.device("cpu"))
        if total_bytes(shapes) > available * 0.9:
            raise UserError(
                f"this capture takes {total_bytes(shapes) / 1e9:.1f} GB and {available / 1e9:.1f} GB of memory "
                "are free: keep it in a file (capture(…, file=…), --save-captures), or ask for fewer layers or "
                "queries"
            )
        return fill(allocate(shapes), batches, resolved.layers)


def stream(
    model: LanguageModel | PreTrainedModel,
    prompts: Prompts,
    plan: CapturePlan | None = None,
    *,
    batch_size: int | str = "auto",
    share_prefix: bool = True,
    scoring: Scoring = "mean",
    top_k: int = 10,
    progress: str | None = None,
) -> Generator[tuple[Tensor, Capture], None, None]:
    """Yield one capture a batch, with the indices of its prompts, so that memory holds one batch only.

    Arguments and errors are those of `capture`.
    """
    model = load_model(model)
    prompt_set = as_prompt_set(model, prompts)
    resolved = resolve_plan(plan, model)
    _check_context(model, prompt_set, resolved)
    modes = {module: module.training for module in model.module.modules()}
    model.module.eval()
    try:
        run = _prepare(model, prompt_set, resolved, share_prefix, scoring, top_k)
        batches = _batches(run, batch_size)
        bar = tqdm(total=prompt_set.n, desc=progress, unit="prompt", disable=None if progress else True)
        recorder = Recorder(resolved)
        with bar, recorder.attached():
            for indices in batches:
                yield indices, _run_batch(run, recorder, indices)
                bar.update(len(indices))
    finally:
        for module, training in modes.items():
            module.training = training


def _prepare(
    model: LanguageModel,
    prompts: PromptSet,
    resolved: ResolvedPlan,
    share_prefix: bool,
    scoring: Scoring,
    top_k: int,
) -> _Run:
    # A lone begin-of-sequence token is not worth a cache, and zero-shot prompts stay plain forwards.
    shared = share_prefix and len(prompts.prefix_ids) > prompts.bos_length
    cache = encode_prefix(model, prompts.prefix_ids) if shared else None
    return _Run(model, prompts, resolved, cache, scoring, top_k)


def _batches(run: _Run, batch_size: int | str) -> list[Tensor]:
    lengths = [len(run.lead) + len(ids) for ids in run.prompts.query_ids]
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise UserError(f"batch size {batch_size!r} is neither auto nor a number")
        batch_size = choose_batch_size(run.model, max(lengths), run.past)
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} is below 1")
    # Behind a padded prompt a window that counts cached tokens would lose real ones.
    equal = not run.model.family.pads or (run.continues and has_window(run.model))
    return make_batches(lengths, batch_size, equal_lengths=equal)


def has_window(model: LanguageModel) -> bool:
    """Tell whether some layer of a model sees only a window of the latest tokens."""
    config = model.module.config.get_text_config()
    local = [
        *(getattr(config, "layer_types", None) or ()),
        *(getattr(config, "attention_layers", None) or ()),
    ]
    named = any(kind in ("sliding_attention", "local", "chunked_attention") for kind in local)
    return named or bool(getattr(config, "sliding_window", None))


def _run_batch(run: _Run, recorder: Recorder, indices: Tensor) -> Capture:
    tokens, exists = _pad([run.tokens_of(int(index), run.first_label) for index in indices])
    everything = torch.cat([torch.ones(len(indices), run.past, dtype=torch.bool), exists], dim=1)
    prompt_lengths = exists.sum(dim=1) - int(run.first_label)
    last = prompt_lengths - 1
    wanted, rows = _wanted(run, exists)
    recorder.expect(wanted)
    cache = None if run.prefix_cache is None else fork(run.prefix_cache, len(indices))
    kept, place = last.unique(return_inverse=True)
    output = run_forward(
        run.model,
        tokens,
        everything,
        cache=cache,
        use_cache=run.continues and not run.first_label,
        keep_logits=kept,
    )
    recording = recorder.take()
    logits = output.logits[torch.arange(len(indices)), place.to(output.logits.device)].float()
    logprobs = torch.log_softmax(logits, dim=-1)
    top = logprobs.topk(min(run.top_k, logprobs.shape[-1]), dim=-1)
    scores = _label_scores(run, recorder, indices, logprobs, output, everything)
    recording["columns"] = _columns(run, everything)
    recording["rows"] = rows
    return capture_from(
        run.resolved,
        recording,
        top_ids=top.indices.cpu(),
        top_logprobs=top.values.cpu(),
        label_logprobs=scores.logprobs if scores else None,
        label_is_argmax=scores.is_argmax if scores else None,
        manifest=_manifest(run),
    )


def _label_scores(
    run: _Run, recorder: Recorder, indices: Tensor, logprobs: Tensor, output: Any, exists: Tensor
) -> LabelScores | None:
    if not run.prompts.label_ids:
        return None
    labels = [run.prompts.label_ids[int(index)] for index in indices]
    cache = getattr(output, "past_key_values", None)
    with recorder.paused():
        if run.continues and run.first_label:
            # The recorded forward holds a label token; options continue from the prompt without it.
            tokens, own = _pad([run.tokens_of(int(index), with_label=False) for index in indices])
            exists = torch.cat([torch.ones(len(indices), run.past, dtype=torch.bool), own], dim=1)
            start = None if run.prefix_cache is None else fork(run.prefix_cache, len(indices))
            cache = run_forward(run.model, tokens, exists, cache=start, use_cache=True).past_key_values
        return score_labels(run.model, logprobs, labels, cache, exists, run.scoring)


def _wanted(run: _Run, exists: Tensor) -> tuple[Wanted, Tensor]:
    """Return the rows of a batch to record, and which of them exist."""
    plan = run.resolved.plan
    positions = "last_prompt_token" if run.first_label else plan.positions
    rows, existing = rows_at(positions, exists, first=len(run.lead))
    first_column = len(run.prompts.prefix_ids) if plan.columns == "query" else 0
    return Wanted(rows, run.past, exists.shape[1], first_column), existing


def _columns(run: _Run, everything: Tensor) -> Tensor:
    columns = everything.clone()
    columns[:, : run.prompts.bos_length] = False
    if run.resolved.plan.columns == "query":
        return columns[:, len(run.prompts.prefix_ids) :]
    return columns


def _pad(sequences: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Pad on the right; return tokens and which of them are real, ``[B, S]``."""
    longest = max(len(ids) for ids in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    exists = torch.zeros_like(tokens, dtype=torch.bool)
    for row, ids in enumerate(sequences):
        tokens[row, : len(ids)] = torch.tensor(ids)
        exists[row, : len(ids)] = True
    return tokens, exists


def _check_context(model: LanguageModel, prompts: PromptSet, resolved: ResolvedPlan) -> None:
    if resolved.plan.positions == "first_label_token" and not prompts.label_ids:
        raise UserError("position first_label_token needs prompts with label words: build them from a task")
    limit = model.context_length
    if limit is not None and prompts.longest > limit:
        raise UserError(
            f"a prompt of {prompts.longest} tokens does not fit the context window of {model.name!r} ({limit} "
            "tokens): use fewer shots, or leave out long records with --max-record-tokens"
        )


def _manifest(run: _Run) -> dict[str, Any]:
    model, plan = run.model, run.resolved.plan
    return {
        "model": model.name,
        "revision": model.revision,
        "family": model.family.name,
        "attention_implementation": model.attention_implementation,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "score_space": plan.score_space,
        "positions": plan.positions,
        "columns": plan.columns,
        "hidden_entries": 0,
        "prefix_shared": run.prefix_cache is not None,
        "prefix_tokens": len(run.prompts.prefix_ids),
        "label_scoring": run.scoring,
        "prompts_sha256": run.prompts.digest(),
    }
