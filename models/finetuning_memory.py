"""What finetuning holds in memory beside the model, foreseen from shapes."""

from __future__ import annotations

from collections.abc import Sequence

from ..tasks.prompt_set import TrainingSequence
from .inner_width import inner_width
from .loading import LanguageModel
from .parameters import TrainedSlice, count_parameters, first_trained_layer, select_parameters
from .recipe import Recipe
from .token_loss import batches, loss_token_count

# Hidden states and inner activations that autograd keeps of each token in each layer, for a gated MLP.
_WIDTHS, _INNER_WIDTHS = 10, 4
# Logits, their chosen rows, log-probabilities and the gradients of the latter two, in fp32.
_LOGIT_BYTES = 5 * 4
_FP32 = 4


def delta_bytes(model: LanguageModel, recipe: Recipe, seed: int = 0) -> int:
    """Return how large the tensors are that finetuning changes: each whole, in the model's dtype."""
    return sum(model.module.get_parameter(piece.name).nbytes for piece in _slices(model, recipe, seed))


def finetuning_bytes(
    model: LanguageModel,
    recipe: Recipe,
    training: Sequence[TrainingSequence],
    seed: int = 0,
    forward_size: int = 8,
) -> int:
    """Estimate the most that one finetuning holds beside the model, its delta included.

    Copies, masters where copies are none, gradients, states of the optimiser; and of the two that never are there
    together the larger: what a backward pass needs, and what a step of the optimiser needs.

    Args:
        model: The model.
        recipe: How it is finetuned.
        training: The demonstrations.
        seed: Seed of the finetuning, which draws the layer of ``attn_v@deep``.
        forward_size: Demonstrations per forward.
    """
    slices = _slices(model, recipe, seed)
    copies = delta_bytes(model, recipe, seed)
    graph = _graph_bytes(model, recipe, training, seed, forward_size)
    if recipe.parameters.startswith("lora_"):
        # Adapters are small; merging them adds each weight once more.
        return max(graph, copies)
    numbers = _FP32 * count_parameters(model, slices)
    own_masters = all(piece.rows is None for piece in slices) and copies == numbers
    masters = 0 if own_masters else numbers
    parts = -(-recipe.batch_size_of(len(training)) // forward_size)
    # As they come from autograd; as the optimiser takes them; and the sum over the forwards of a batch.
    gradients = copies + masters + (2 * numbers if parts > 1 else 0)
    adam = recipe.optimizer in ("adam", "adamw")
    states = 2 * numbers if adam else 0
    step = numbers if adam or recipe.weight_decay else 0
    return copies + masters + states + gradients + max(graph, step)


def _slices(model: LanguageModel, recipe: Recipe, seed: int) -> tuple[TrainedSlice, ...]:
    return select_parameters(model, recipe.parameters, recipe.include_bias, seed)


def _graph_bytes(
    model: LanguageModel, recipe: Recipe, training: Sequence[TrainingSequence], seed: int, forward_size: int
) -> int:
    """Return what autograd keeps of the largest forward, logits included."""
    config = model.module.config.get_text_config()
    inner = inner_width(model)
    layers = model.n_layers - first_trained_layer(model, recipe, seed)
    if recipe.schedule == "layer_causal":
        layers = 1
    size = min(forward_size if model.family.pads else 1, recipe.batch_size_of(len(training)))
    forms_scores = model.family.route == "functional" or model.attention_implementation == "eager"
    most = 0
    for batch in batches(training, size):
        longest = max(len(sequence.ids) for sequence in batch)
        tokens = len(batch) * longest
        kept = longest
        if "logits_to_keep" in model.arguments:
            kept = min(longest, sum(loss_token_count(sequence, recipe.loss_tokens) for sequence in batch))
        activations = tokens * (_WIDTHS * model.width + _INNER_WIDTHS * inner) * model.dtype.itemsize
        scores = 3 * len(batch) * model.geometry.heads * longest**2 * _FP32 if forms_scores else 0
        logits = len(batch) * kept * config.vocab_size * _LOGIT_BYTES
        most = max(most, layers * (activations + scores) + logits)
    return most
