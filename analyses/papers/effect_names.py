"""The effects that claims name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import effects_of_comparisons as comparisons
from . import effects_of_gradients as gradients
from . import effects_of_order as order
from . import effects_of_outputs as outputs
from . import effects_of_weights as weights
from .effects import Effect

EFFECTS: Mapping[str, Callable[..., Effect]] = {
    effect.__name__: effect
    for effect in (
        weights.sparsity_below_construction,
        weights.sparsity_change_over_depth,
        weights.accuracy_last_less_first,
        weights.weights_moved,
        order.icl_sensitivity,
        order.icl_less_arms,
        order.gradient_descent_over_icl,
        order.first_less_last_epoch,
        outputs.icl_less_best_arm,
        outputs.icl_less_arm,
        outputs.share_of_cells_below_icl,
        outputs.share_of_cells_where_icl_wins,
        outputs.growth_of_icl_less_arm,
        outputs.growth_of_arm,
        outputs.nearest_rate_to_icl,
        outputs.distinct_nearest_rates,
        outputs.gap_of_largest_less_smallest,
        outputs.icl_agreement_less_pairs,
        outputs.share_of_small_pairs,
        comparisons.changes_by_icl_less_ft,
        comparisons.recall_to_finetuning,
        comparisons.tasks_with_unique_majority,
        comparisons.tasks_with_low_jaccard,
        comparisons.jaccard_correct_less_incorrect,
        comparisons.relative_accuracy_difference,
        comparisons.tasks_where_layer_causal_is_closer,
        comparisons.layer_causal_sim_am,
        comparisons.sim_aou_above_random,
        comparisons.sim_am_after_less_before,
        comparisons.clipped_sim_am_less_unclipped,
        comparisons.clipped_sim_aou_less_standard,
        comparisons.lower_layer_drift,
        gradients.lower_gradients_of_layer_causal,
        gradients.lower_over_upper_gradients,
    )
}
