"""The empirical sentences of Bar Natan et al., in the order in which they stand there."""

from __future__ import annotations

from typing import Any

from .declaration import Claim


def _barnatan(section: str, quote: str, measured_as: str, effect: str, **settings: Any) -> Claim:
    settings.setdefault("experiments", ("barnatan-table2",))
    return Claim("barnatan", section, quote, measured_as, effect=effect, **settings)


CLAIMS: tuple[Claim, ...] = (
    _barnatan(
        "1",
        "ICL's and finetuning's predictions are poorly aligned on most tasks",
        "share of tasks whose Jaccard index is below one half",
        "tasks_with_low_jaccard",
        above=0.5,
        unit="share",
    ),
    _barnatan(
        "1",
        "… especially when taking erroneous changes into account",
        "Jaccard index of correct less of incorrect changes",
        "jaccard_correct_less_incorrect",
        above=0,
        unit="points",
    ),
    _barnatan(
        "3.3",
        "a discrepancy between the accuracy of the finetuned model and ICL, average difference of 19.38%",
        "|ICL − FT| accuracy relative to zero-shot",
        "relative_accuracy_difference",
        above=5,
        unit="%",
    ),
    _barnatan(
        "3.3",
        "overall ICL is more inclined to change the ZSL prediction",
        "predictions changed by ICL less by finetuning",
        "changes_by_icl_less_ft",
        above=0,
        unit="points",
    ),
    _barnatan(
        "3.3",
        "ICL covers almost all FT correct prediction changes (high Rec2FTP)",
        "Rec2FTP over all tasks",
        "recall_to_finetuning",
        above=80,
        unit="%",
    ),
    _barnatan(
        "3.3",
        "in most tasks unique FT and ICL predictions constitute the majority of all updates",
        "share of tasks in which unshared changes are more than half",
        "tasks_with_unique_majority",
        above=0.5,
        unit="share",
    ),
    _barnatan(
        "3.2",
        "[SimAOU of finetuning is above the] random attention output updates",
        "SimAOU (FT) less SimAOU (random), which accounts for chance but neither for what all queries share nor for "
        "the zero-shot output that both updates are taken from",
        "sim_aou_above_random",
        above=0,
        unit="cosine",
    ),
    _barnatan(
        "3.2",
        "[SimAM after FT above before:] ICL's attention aligns more with a finetuned model",
        "SimAM after less before standard finetuning",
        "sim_am_after_less_before",
        above=0,
        unit="cosine",
    ),
    _barnatan(
        "3.4",
        "Layer causal FT achieves higher SimAOU in 5 out of 6 tasks",
        "share of tasks in which layer-causal SimAOU is higher",
        "tasks_where_layer_causal_is_closer",
        above=0.75,
        unit="share",
    ),
    _barnatan(
        "3.4",
        "… but its SimAM is significantly lower",
        "SimAM after layer-causal less after standard finetuning",
        "layer_causal_sim_am",
        below=0,
        unit="cosine",
    ),
    _barnatan(
        "3.4",
        "our FT method causes significant drift from the original models' learned weights [in lower layers]",
        "relative change of W_K, W_V in the lower half: layer-causal less standard",
        "lower_layer_drift",
        above=0,
        unit="of the norm",
    ),
    _barnatan(
        "3.4",
        "The gradients applied to lower layers have a bigger magnitude in layer causal FT",
        "log ratio of gradient norms in the lower half, layer-causal over standard",
        "lower_gradients_of_layer_causal",
        experiments=("barnatan-fig3",),
        above=0,
        unit="log ratio",
    ),
    _barnatan(
        "3.4",
        "the gradient of early layers is propagated throughout the model which usually dampens its norm",
        "log ratio of gradient norms of the lower over the upper half, standard finetuning",
        "lower_over_upper_gradients",
        experiments=("barnatan-fig3",),
        below=0,
        unit="log ratio",
    ),
    _barnatan(
        "3.4",
        "even arbitrary clipping may resolve the drop in SimAM",
        "SimAM after clipped less after unclipped layer-causal finetuning",
        "clipped_sim_am_less_unclipped",
        experiments=("barnatan-table3",),
        above=0,
        unit="cosine",
    ),
    _barnatan(
        "3.4",
        "[Table 3: clipped layer-causal finetuning keeps a higher SimAOU than standard]",
        "SimAOU of clipped layer-causal less of standard finetuning",
        "clipped_sim_aou_less_standard",
        experiments=("barnatan-table3",),
        above=0,
        unit="cosine",
    ),
)
"""All of them."""
