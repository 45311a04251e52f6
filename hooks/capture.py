"""Capture: run prompts, sharing their prefix, and return what a plan records in the order asked."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError
from ..models.chosen_logits import packs
from ..models.exclusive_use import exclusive
from ..models.loading import LanguageModel
from ..models.token_loss import evaluation_mode
from ..progress import Progress
from ..tasks.prompts import PromptSet
from ..tasks.token_texts import token_texts
from .assembly import array_shapes, fill, fill_file
from .batching import free_memory
from .captured import Capture, capture_from
from .captured_prompts import CapturedPrompts
from .computing_dtype import computing_dtype
from .engines.choice import choose_engine
from .engines.engine import Engine, OpenedModel
from .engines.names import EngineName
from .forward_rows import Recording
from .named_positions import named_rows, named_tokens
from .plan import CapturePlan
from .prompt_run import PromptRun, answer_batch, batches_of, prepare_run, prompt_batch
from .resolved_plan import ResolvedPlan, resolve_plan
from .rows import Wanted
from .scoring import Scoring
from .storage import allocate, allocate_scratch, total_bytes
from .text_prompts import Spans, as_prompt_set, begin_token
from .wanted_rows import rows_at

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Prompts = PromptSet | str | Sequence[str] | Sequence[Sequence[int]]


def capture(
    model: LanguageModel | PreTrainedModel | str,
    prompts: Prompts,
    plan: CapturePlan | None = None,
    *,
    batch_size: int | str = "auto",
    share_prefix: bool = True,
    scoring: Scoring = "mean",
    top_k: int = 10,
    setting: str | None = None,
    spans: Spans | None = None,
    engine: EngineName | Engine = "native",
    file: str | Path | None = None,
    scratch: bool = False,
    progress: str | None = None,
) -> Capture:
    """Run prompts and record what a plan asks for.

    The prefix runs once and its keys and values serve every query. Batches are sorted by length; the result is
    in the order of the prompts.

    Args:
        model: The model, whatever `load_model` takes; or what the engine's library wraps models in.
        prompts: A `PromptSet`, one text or several, or token ids of several prompts.
        plan: What to record; by default attention outputs and scores of the query at its last token.
        batch_size: Prompts at once, or ``auto`` to size batches to memory.
        share_prefix: Whether to run the demonstrations once; False runs every full prompt.
        scoring: How label words of several tokens are scored: ``mean`` per token, ``sum`` or ``first``.
        top_k: How many of the most probable next tokens to keep.
        setting: What the capture is said to be of, such as ``icl``.
        spans: For each text its named pieces, such as ``{"subject": "the cat"}``, or `Span` objects that count
            tokens; positions may name them (``span:subject``).
        engine: What runs the model and reads its attention: ``native`` is our tap in the model's own module;
            ``transformer-lens`` and ``nnsight`` are these libraries and their own hooks, which need their extra.
        file: Keep the arrays in this safetensors file, mapped into memory, instead of in memory.
        scratch: Keep large arrays on disk as long as they are used, in a file without a name.
        progress: Show a progress bar of this name.

    Raises:
        UserError: If the plan does not fit the model, a prompt does not fit the context window or has a token that
            the model does not know, the arrays fit neither into memory nor on the disk, the engine cannot run the
            model or give what is asked for, or another thread uses the model.
    """
    model, chosen = choose_engine(engine, model)
    with exclusive(model.module, "a capture"):
        prompt_set = as_prompt_set(model, prompts, spans)
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
            setting=setting,
            engine=chosen,
            progress=progress,
        )
        captured = captured_prompts(model, prompt_set, setting)
        # Closed even when storing fails, or the tap would stay until the traceback is forgotten.
        with closing(batches):
            if file is not None:
                return fill_file(Path(file), shapes, batches, resolved.layers, captured)
            if scratch:
                return fill(allocate_scratch(shapes), batches, resolved.layers, captured)
            available = free_memory(torch.device("cpu"))
            if total_bytes(shapes) > available * 0.9:
                raise UserError(
                    f"this capture takes {total_bytes(shapes) / 1e9:.1f} GB and {available / 1e9:.1f} GB of memory "
                    "are free: keep it in a file (capture(…, file=…), --save-captures), or ask for fewer layers or "
                    "queries"
                )
            return fill(allocate(shapes), batches, resolved.layers, captured)


def stream(
    model: LanguageModel | PreTrainedModel | str,
    prompts: Prompts,
    plan: CapturePlan | None = None,
    *,
    batch_size: int | str = "auto",
    share_prefix: bool = True,
    scoring: Scoring = "mean",
    top_k: int = 10,
    setting: str | None = None,
    spans: Spans | None = None,
    engine: EngineName | Engine = "native",
    progress: str | None = None,
) -> Generator[tuple[Tensor, Capture], None, None]:
    """Yield one capture a batch, with the indices of its prompts, so that memory holds one batch only.

    Arguments and errors are those of `capture`.
    """
    model, chosen = choose_engine(engine, model)
    with exclusive(model.module, "a capture"), evaluation_mode(model.module):
        prompt_set = as_prompt_set(model, prompts, spans)
        resolved = resolve_plan(plan, model)
        named = named_tokens(resolved.plan.positions, prompt_set)
        # Rows among the demonstrations are each prompt's own, so every prompt runs whole.
        behind = named is None or min(map(min, named)) >= len(prompt_set.prefix_ids)
        first_label = resolved.plan.positions == "first_label_token"
        if first_label and not prompt_set.label_ids:
            raise UserError(
                "position first_label_token needs prompts with label words: build them from a task"
            )
        captured = captured_prompts(model, prompt_set, setting)
        begin = None if prompt_set.prefix_ids else begin_token(model)
        # Seen once of each model, before the tap listens.
        if chosen.attends_apart:
            packs(model)
        with chosen.open(resolved) as opened:
            run = prepare_run(
                model,
                prompt_set,
                share_prefix=share_prefix and behind and chosen.takes_cache,
                scoring=scoring,
                first_label=first_label,
                forward=opened.forward,
                apart=chosen.attends_apart,
            )
            manifest = {
                **_manifest(run, resolved.plan),
                "engine": chosen.name,
                "engine_version": chosen.version,
            }
            with Progress(progress, prompt_set.n, "prompts") as bar:
                for indices in batches_of(run, batch_size, chosen.forms_scores):
                    some = None if named is None else [named[int(index)] for index in indices]
                    batch = _run_batch(run, resolved, opened, indices, top_k, begin, some)
                    yield indices, replace(batch, prompts=captured.select(indices), manifest=manifest)
                    bar.update(len(indices))


def captured_prompts(model: LanguageModel, prompts: PromptSet, setting: str | None = None) -> CapturedPrompts:
    """Return prompts with what their tokens say."""
    ids = {*prompts.prefix_ids, *chain(*prompts.query_ids), *chain(*chain(*prompts.label_ids))}
    return CapturedPrompts(prompts, token_texts(model.tokenizer, ids), setting)


def _run_batch(
    run: PromptRun,
    resolved: ResolvedPlan,
    opened: OpenedModel,
    indices: Tensor,
    top_k: int,
    begin: int | None,
    named: Sequence[tuple[int, ...]] | None,
) -> Capture:
    batch, plan = prompt_batch(run, indices), resolved.plan
    wanted, rows = _wanted(run, plan, batch.exists, named)
    recording: Recording = {}

    def recorded(*given: Any, **options: Any) -> Any:
        output, found = opened.record(wanted, *given, **options)
        recording.update(found)
        return output

    said = answer_batch(run, batch, recorded)
    top = said.logprobs.topk(min(top_k, said.logprobs.shape[-1]), dim=-1)
    recording["columns"] = _columns(run, plan, batch.everything)
    if begin is not None:
        # Prompts of which only some begin with it share no prefix.
        recording["columns"][:, 0] &= batch.tokens[:, 0].cpu() != begin
    recording["rows"] = rows
    recording["row_tokens"] = torch.where(rows, wanted.rows.cpu() + run.past, -1)
    return capture_from(
        resolved,
        recording,
        top_ids=top.indices.cpu(),
        top_logprobs=top.values.cpu(),
        label_logprobs=said.label_logprobs,
        label_is_argmax=said.label_is_argmax,
    )


def _wanted(
    run: PromptRun, plan: CapturePlan, exists: Tensor, named: Sequence[tuple[int, ...]] | None
) -> tuple[Wanted, Tensor]:
    """Return the rows of a batch to record, and which of them exist."""
    if named is not None:
        rows, existing = named_rows(named, run.past)
    else:
        positions = "last_prompt_token" if run.first_label else plan.positions
        rows, existing = rows_at(positions, exists, first=len(run.lead))
    first_column = len(run.prompts.prefix_ids) if plan.columns == "query" else 0
    return Wanted(rows, run.past, exists.shape[1], first_column), existing


def _columns(run: PromptRun, plan: CapturePlan, everything: Tensor) -> Tensor:
    columns = everything.clone()
    columns[:, : run.prompts.bos_length] = False
    return columns[:, len(run.prompts.prefix_ids) :] if plan.columns == "query" else columns


def _manifest(run: PromptRun, plan: CapturePlan) -> dict[str, Any]:
    model = run.model
    return {
        "model": model.name,
        "revision": model.revision,
        "family": model.family.label,
        "attention_implementation": model.attention_implementation,
        "dtype": str(computing_dtype(model)).removeprefix("torch."),
        "device": str(model.device),
        "score_space": plan.score_space,
        "positions": plan.positions,
        "columns": plan.columns,
        "first_column": len(run.prompts.prefix_ids) if plan.columns == "query" else 0,
        "prefix_shared": run.prefix is not None,
        "prefix_copied": None if run.prefix is None else run.prefix.copied,
        "prefix_tokens": len(run.prompts.prefix_ids),
        "label_scoring": run.scoring,
        "prompts_sha256": run.prompts.digest(),
    }
