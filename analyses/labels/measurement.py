"""Measuring what the labels of the demonstrations do to answers, and to what changes inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...errors import UserError, shown
from ...hooks.self_check import self_check
from ...models.recipe import load_recipe
from ...study.finding import Finding
from ...study.names import NO_LEARNING
from ..cell import Cell, prepare_cell
from ..comparison.cell_comparison import compare_cell
from ..comparison.cells import check_cell
from ..comparison.draw import Draw
from ..comparison.estimate import estimate_comparisons
from ..comparison.facts import facts_of
from ..comparison.findings import comparison_findings, draw_warnings
from ..comparison.finetuned import comparison_recipe, finetune_cell
from ..comparison.measures import Intervals
from ..comparison.pretrained import ZeroShot, record_pretrained
from ..comparison.rows import comparison_rows, joined_rows
from ..comparison.settings import outputs_of, stream_finetuned
from ..configuration import CellConfig
from ..context import Context, Measured
from ..learning_rates import learning_rate_for
from ..subject import Subject
from .config import VARIANTS, LabelsConfig, VariantName
from .effects import effect_rows
from .findings import label_findings
from .pairs import Variant, pair_rows
from .relabelled import right_labels, variant_cell, variant_subject
from .tables import EFFECTS, PAIRS


def check_labels(config: LabelsConfig) -> None:
    """Refuse what cannot be compared before anything is loaded.

    Raises:
        UserError: If the plan leaves out what is needed, or the recipe cannot be read.
    """
    check_cell(config.comparison(recipe=config.recipe))


def measure_labels(config: LabelsConfig, context: Context) -> Measured:
    """Compare in-context learning with finetuning with the demonstrations' own labels and with others.

    Args:
        config: What is asked.
        context: The model and the task.

    Raises:
        UserError: If something asked for cannot be done.
    """
    subject = context.subject(config)
    config = subject.named(config).model_copy(update={"recipe": load_recipe(config.recipe)})
    cells = [prepare_cell(config, subject.model, subject.task, seed) for seed in config.seeds]
    prepared: dict[VariantName, tuple[Subject, list[Cell]]] = {
        variant: (asked, [variant_cell(config, asked, cell, variant) for cell in cells])
        for variant in config.variants
        for asked in [variant_subject(config, subject, variant)]
    }
    checked = self_check(subject.model)
    if not checked.held:
        context.say("warning: the self-check failed; see iclprobe check")
    comparison = config.comparison(recipe=config.recipe)
    planned = [(cells[0], [comparison] * len(config.variants))]
    context.say(estimate_comparisons(subject.model, planned).describe())
    variants: dict[VariantName, list[Variant]] = {variant: [] for variant in config.variants}
    for place, cell in enumerate(cells):
        # One rate for all labels: what is chosen is chosen with the gold ones.
        rate, choice = learning_rate_for(
            comparison, comparison_recipe(comparison), subject.model, subject.task, cell
        )
        fixed = comparison.model_copy(update={"learning_rate": rate})
        earlier: ZeroShot | None = None
        for variant, (asked, relabelled) in prepared.items():
            try:
                made, earlier = _compare(fixed, asked, relabelled[place], earlier)
            except UserError as error:
                raise UserError(f"with {shown(variant)} labels, seed {cell.seed}: {error}") from error
            setting = replace(made.draw.finetuned, choice=choice)
            variants[variant].append(replace(made, draw=replace(made.draw, finetuned=setting)))
    return _measured(config, comparison, variants, prepared, cells, checked.to_dict())


def _compare(
    config: CellConfig, subject: Subject, cell: Cell, earlier: ZeroShot | None
) -> tuple[Variant, ZeroShot]:
    """Compare one variant of one draw, from its own context and its own finetuning."""
    model = subject.model
    pretrained = record_pretrained(config, model, cell, earlier=earlier)
    size = pretrained.zero_shot.batch_size
    delta, setting = finetune_cell(config, model, subject.task, cell, size)
    batched = config.model_copy(update={"batch_size": size})
    with delta.applied(model):
        batches = stream_finetuned(batched, model, cell.prompts.zero_shot, "ft")
        draw = compare_cell(config, subject, cell, pretrained, setting, batches)
    before, after = outputs_of(pretrained.zero_shot.capture), outputs_of(pretrained.icl)
    return Variant(draw, before, after, pretrained.floors.outputs), pretrained.zero_shot


def _measured(
    config: LabelsConfig,
    comparison: CellConfig,
    variants: dict[VariantName, list[Variant]],
    prepared: dict[VariantName, tuple[Subject, list[Cell]]],
    cells: Sequence[Cell],
    checked: dict[str, Any],
) -> Measured:
    intervals = Intervals(config.resamples, config.level)
    parts, findings, warnings = [], list[Finding](), dict[str, Finding]()
    draws: dict[str, list[Draw]] = {name: [one.draw for one in found] for name, found in variants.items()}
    for variant, found in draws.items():
        key = {"variant": variant}
        rows = comparison_rows(found, key, config.agreement, intervals, facts_of(comparison, found))
        parts.append(rows)
        findings += [
            replace(finding, sentence=f"{variant} labels: {finding.sentence}")
            if finding.kind == "alarm"
            else finding
            for finding in comparison_findings(rows, key, intervals, only=False)
            # With labels that are not right, ICL that is no better than zero-shot is what is asked for.
            if finding.name != NO_LEARNING or variant in ("gold", "abstract")
        ]
        warnings |= {warning.sentence: warning for warning in draw_warnings(found, {})}
    tables = joined_rows(parts)
    effects = EFFECTS.frame(effect_rows(tables, intervals))
    pairs = PAIRS.frame(pair_rows(variants, intervals))
    words = {variant: subject.task.template.label_words for variant, (subject, _) in prepared.items()}
    counts = [
        {
            "variant": variant,
            "seed": gold.seed,
            "words": ", ".join(words[variant]),
            "right": right_labels(one, gold),
            "demonstrations": one.prompts.demonstrations_used,
        }
        for variant, (_, relabelled) in prepared.items()
        for gold, one in zip(cells, relabelled, strict=True)
    ]
    facts = [
        *(fact for fact in facts_of(comparison, draws["gold"]) if fact[0] != "finetuning moved"),
        *((f"{name} labels", _fact(name, counts)) for name in variants),
    ]
    return Measured(
        config.model_copy(update={"abstract_words": words.get("abstract", config.abstract_words)}),
        {
            "effects": effects,
            "pairs": pairs,
            "demonstration_labels": counts,
            **tables,
            "facts": [{"name": name, "text": text} for name, text in facts],
        },
        (*label_findings(effects, pairs, intervals), *findings, *warnings.values()),
        provenance={
            "captures": {
                variant: {str(draw.seed): dict(draw.manifest) for draw in found}
                for variant, found in draws.items()
            },
            "self_check": checked,
        },
    )


def _fact(variant: VariantName, counts: Sequence[dict[str, Any]]) -> str:
    own = [row for row in counts if row["variant"] == variant]
    right = ", ".join(f"{row['right']} of {row['demonstrations']}" for row in own)
    return f"{VARIANTS[variant]} ({own[0]['words']}; right in the context: {right})"
