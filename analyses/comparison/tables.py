"""The tables of comparisons: every number of a draw, and everything that intervals resample.

They are declared without what tells comparisons apart; see `tables_with`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...study.columns import Column, Table
from ...study.names import DELTA, DELTA_NULL, FT_NORM, ICL_NORM, NULLS, PARTIAL, PARTIAL_NULL
from ..prompt_table import PROMPTS

_DAI, _BARNATAN = "Dai et al. 2023", "Bar Natan et al. section 3.2"
_SEED = Column("seed", "integer", "of the draw of demonstrations")
_LAYER = Column("layer", "integer", "the layer, counted from 0")
_QUERY = Column("query", "integer", "the query, counted from 0 within the draw")
_SETTING = Column("setting", "text", "zsl (zero-shot), icl or ft (finetuned)")
_MEASURE = Column("measure", "text", "what was measured")
_UNIT = Column("unit", "text", "% or cosine")

MEASURES = Table(
    "measures",
    "one number of one draw of demonstrations",
    (
        _SEED,
        _MEASURE,
        _UNIT,
        Column("value", "number", "the number; missing where a denominator is empty", "as in unit"),
        Column("low", "number", "lower end of its bootstrap interval over queries", "as in unit"),
        Column("high", "number", "upper end", "as in unit"),
        Column("numerator", "integer", "what a percentage counts"),
        Column("denominator", "integer", "out of how many"),
    ),
)
OVER_DRAWS = Table(
    "over_draws",
    "one number over the draws of demonstrations",
    (
        _MEASURE,
        _UNIT,
        Column("mean", "number", "mean over the draws in which it is defined", "as in unit"),
        Column("std", "number", "standard deviation over them (ddof 1); missing with fewer than two"),
        Column("draws", "integer", "draws in which it is defined"),
    ),
)
LAYERS = Table(
    "layers",
    "one measure of one draw in one layer",
    (
        _SEED,
        _LAYER,
        _MEASURE,
        Column("value", "number", "mean over queries"),
        Column("low", "number", "lower end of its bootstrap interval over queries, resampled jointly"),
        Column("high", "number", "upper end"),
        Column("defined", "integer", "queries, or query-head pairs, that have a value"),
        Column("of", "integer", "queries, or query-head pairs, that there are"),
    ),
)
HEADS = Table(
    "heads",
    "one measure of one draw in one layer and head",
    (
        _SEED,
        _LAYER,
        Column("head", "integer", "the head, counted from 0"),
        _MEASURE,
        Column("value", "number", "mean over queries", "cosine"),
    ),
)
QUERIES = Table(
    "queries",
    "one query of one draw",
    (
        _SEED,
        _QUERY,
        Column("query_index", "integer", "its place in the file or source of the records, counted from 0"),
        Column("text", "text", "its text"),
        Column("gold", "text", "its right label"),
    ),
)
ANSWERS = Table(
    "answers",
    "what one setting answered to one query of one draw",
    (
        _SEED,
        _QUERY,
        _SETTING,
        Column("prediction", "text", "the most likely label"),
        Column("correct", "truth", "whether that is the right label"),
        Column(
            "correct_calibrated", "truth", "the same, each label's log-probability less its mean over queries"
        ),
        Column(
            "correct_vocabulary", "truth", "whether the right label is the argmax of the whole vocabulary"
        ),
    ),
)
LABEL_LOGPROBS = Table(
    "label_logprobs",
    "one label after one query of one draw in one setting",
    (
        _SEED,
        _QUERY,
        _SETTING,
        Column("label", "text", "the label, in the task's order"),
        Column("logprob", "number", "its log-probability", "nats"),
    ),
)
_SIMILARITY_MEANINGS: Mapping[str, tuple[str, str, str]] = {
    "SimAOU": ("cosine of the updates of the attention output", "cosine", f"{_DAI}; {_BARNATAN}"),
    **{
        f"SimAOU, null {kind}": (f"the same under the null {kind}, mean over its draws", "cosine", "")
        for kind in NULLS
    },
    PARTIAL: ("the same with the zero-shot output and what all queries share taken out", "cosine", ""),
    PARTIAL_NULL: ("the same with the ICL output of other queries", "cosine", ""),
    "SimAM before finetuning": (
        "cosine of the scores of ICL and zero-shot, mean over heads",
        "cosine",
        f"{_DAI}; {_BARNATAN}",
    ),
    "SimAM after finetuning": (
        "cosine of the scores of ICL and the finetuned model, mean over heads",
        "cosine",
        f"{_DAI}; {_BARNATAN}",
    ),
    DELTA: ("cosine of the changes of the scores, mean over heads", "cosine", "code of Bar Natan et al."),
    DELTA_NULL: ("the same with the ICL scores of other queries, mean over heads and draws", "cosine", ""),
    ICL_NORM: ("length of the update of the normalised attention output by ICL", "", ""),
    FT_NORM: ("length of the update of the normalised attention output by finetuning", "", ""),
}
SIMILARITIES = Table(
    "similarities",
    "one query of one draw in one layer: everything that bootstrap intervals resample",
    (
        _SEED,
        _QUERY,
        _LAYER,
        *(
            Column(name, "number", meaning, unit, source)
            for name, (meaning, unit, source) in _SIMILARITY_MEANINGS.items()
        ),
    ),
)
NULL_DRAWS = Table(
    "null_draws",
    "one random draw of one null of SimAOU, of one draw of demonstrations in one layer",
    (
        _SEED,
        Column("null", "text", "which null"),
        Column("null_draw", "integer", "which random draw, counted from 0"),
        _LAYER,
        Column("value", "number", "mean over queries", "cosine"),
    ),
)
_FIGURE_1 = "Bar Natan et al. Fig. 1"
DRAWS = Table(
    "draws",
    "one draw of demonstrations",
    (
        _SEED,
        Column("demonstrations_used", "integer", "demonstrations in the context"),
        Column("demonstrations_asked", "integer", "demonstrations asked for"),
        Column("queries", "integer", "queries asked"),
        Column("queries_skipped", "integer", "queries too long on their own"),
        Column("train_left_out", "integer", "training records over the limit of tokens"),
        Column("validation_left_out", "integer", "validation records over the limit of tokens"),
        Column(
            "seen_queries", "integer", "validation records left out, which are among the training records"
        ),
        Column("separator_unknown", "truth", "whether the separator holds an unknown token"),
        Column("record_notes", "text", "how the records were divided, where the user did not; a JSON list"),
        Column("shared_correct", "integer", "changed by both, to the right label", "", _FIGURE_1),
        Column("shared_incorrect", "integer", "changed by both, to another label", "", _FIGURE_1),
        Column("shared_mixed", "integer", "changed by both, only one to the right label", "", _FIGURE_1),
        Column("icl_correct", "integer", "changed by ICL only, to the right label", "", _FIGURE_1),
        Column("icl_incorrect", "integer", "changed by ICL only, to another label", "", _FIGURE_1),
        Column("ft_correct", "integer", "changed by finetuning only, to the right label", "", _FIGURE_1),
        Column("ft_incorrect", "integer", "changed by finetuning only, to another label", "", _FIGURE_1),
        Column("union", "integer", "changes in all", "", _FIGURE_1),
    ),
)
FINETUNING = Table(
    "finetuning",
    "one finetuning: where the weights of one draw came from",
    (
        _SEED,
        Column("source", "text", "the recipe's name, or what somebody else finetuned"),
        Column("trained_parameters", "integer", "how many numbers differ from the model's"),
        Column("learning_rate", "number", "the learning rate; missing where somebody else finetuned"),
        Column("steps", "integer", "updates"),
        Column("first_loss", "number", "loss over the demonstrations before the first update", "nats"),
        Column("final_loss", "number", "the same after the last one", "nats"),
        Column("rate_searched", "truth", "whether the rate was chosen on held-out records"),
        Column(
            "baseline_held_out_nll", "number", "held-out label NLL before finetuning, where searched", "nats"
        ),
    ),
)
LOSSES = Table(
    "losses",
    "one step of one finetuning",
    (
        _SEED,
        Column("step", "integer", "the step, counted from 1"),
        Column("loss", "number", "the loss before its update", "nats"),
    ),
)
EVALUATIONS = Table(
    "evaluations",
    "the finetuned model at one epoch along the way",
    (
        _SEED,
        Column("epoch", "integer", "the epoch, counted from 1"),
        Column("accuracy", "number", "right over the label set", "%"),
        Column("gold_logprob", "number", "mean log-probability of the right label", "nats"),
    ),
)
RATE_SEARCH = Table(
    "rate_search",
    "one learning rate that was offered to choose from",
    (
        _SEED,
        Column("learning_rate", "number", "the rate"),
        Column("outcome", "text", "chosen, tried, diverged, stopped (it was behind) or not tried"),
        Column(
            "held_out_nll", "number", "held-out label NLL after finetuning; infinite if it diverged", "nats"
        ),
    ),
)
FINETUNING_DRIFT = Table(
    "finetuning_drift",
    "how far finetuning moved one matrix of one layer",
    (
        _SEED,
        _LAYER,
        Column("matrix", "text", "query, key, value or output"),
        Column("mean_absolute", "number", "mean of |ΔW|", "", "Shen et al. App. B"),
        Column("rms", "number", "root of the mean of ΔW²"),
        Column("relative_frobenius", "number", "‖ΔW‖ / ‖W‖ before; missing where the matrix was zero"),
        Column("entries", "integer", "entries that count"),
        Column("undefined", "integer", "entries that are NaN or infinite"),
    ),
)
NOISE = Table(
    "noise",
    "what repeating the zero-shot run changes in one layer, in half precision",
    (
        _SEED,
        _LAYER,
        Column("floor", "number", "largest difference of the normalised attention output"),
        Column("icl_below", "number", "share of ICL updates that are no larger"),
        Column("ft_below", "number", "share of finetuning updates that are no larger"),
    ),
)
CELL_FACTS = Table(
    "cell_facts",
    "one thing that was run in one comparison, as a person reads it",
    (Column("name", "text", "what is told of"), Column("text", "text", "what there is to tell")),
)

COMPARISON_TABLES = (
    MEASURES,
    OVER_DRAWS,
    LAYERS,
    HEADS,
    QUERIES,
    ANSWERS,
    LABEL_LOGPROBS,
    SIMILARITIES,
    NULL_DRAWS,
    DRAWS,
    FINETUNING,
    LOSSES,
    EVALUATIONS,
    RATE_SEARCH,
    FINETUNING_DRIFT,
    NOISE,
    PROMPTS,
    CELL_FACTS,
)


def tables_with(*key: Column, tables: tuple[Table, ...] = COMPARISON_TABLES) -> tuple[Table, ...]:
    """Return every table with the columns before it that tell comparisons apart, such as the recipe.

    Args:
        key: The columns.
        tables: The tables.
    """
    return tuple(Table(table.name, table.meaning, (*key, *table.columns)) for table in tables)
