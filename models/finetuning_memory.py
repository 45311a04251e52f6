"""What finetuning holds in memory beside the model, foreseen from shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from ..tasks.prompt_set import TrainingSequence
from .free_memory import free_memory
from .inner_width import inner_width
from .loading import LanguageModel
from .parameters import TrainedSlice, count_parameters, first_trained_layer, layers_of, select_parameters
from .recipe import Recipe
from .recomputed_layers import can_recompute
from .token_loss import batches, loss_token_count

# Hidden states and inner activations that autograd keeps of each token in each layer, for a gated MLP.
_WIDTHS, _INNER_WIDTHS = 10, 4
# A layer that runs without gradients holds so much of each token at once.
_WIDTHS_ALONE, _INNER_WIDTHS_ALONE = 5, 3
# Of each logit, in fp32: log-probabilities, their gradient and its own in a backward pass; in a forward pass the
# logits and the log-probabilities.
_LOGIT_BYTES, _LOGIT_BYTES_ALONE = 3 * 4, 2 * 4
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
    recompute: bool = False,
) -> int:
    """Estimate the most that one finetuning holds beside the model, its delta included.

    Copies, masters where copies are none, states of the optimiser; and of what never is there together the largest: a
    backward pass with the gradients that come of it, a step of the optimiser with the gradients that it takes, and
    the loss over all demonstrations at the end.

    Args:
        model: The model.
        recipe: How it is finetuned.
        training: The demonstrations.
        seed: Seed of the finetuning, which draws the layer of ``attn_v@deep``.
        forward_size: Demonstrations per forward.
        recompute: Whether activations are computed again in the backward pass.
    """
    slices = _slices(model, recipe, seed)
    size = forward_size if model.family.pads else 1
    graph = _graph_bytes(
        model, recipe, training, seed, min(size, recipe.batch_size_of(len(training))), recompute
    )
    end = _loss_bytes(model, recipe, training, size)
    copies = delta_bytes(model, recipe, seed)
    if recipe.parameters.startswith("lora_"):
        # Adapters are small; merging them adds each weight once more.
        return max(graph, end, copies)
    numbers = _FP32 * count_parameters(model, slices)
    own_masters = all(piece.rows is None for piece in slices) and copies == numbers
    # As autograd gives them, and as the optimiser takes them, which for whole fp32 weights is the same.
    given, taken = copies, 0 if own_masters else numbers
    largest = max(count_parameters(model, [piece]) for piece in slices) * _FP32
    if recipe.schedule == "layer_causal":
        # The gradients of one layer come at a time, and are added to what is taken.
        of_one = -(-copies // len({*layers_of(model, [piece.name for piece in slices])}))
        backward = numbers + max(graph, of_one)
    else:
        several = recipe.batch_size_of(len(training)) > size
        # A backward pass gives up of the graph what it makes of gradients.
        backward = max(max(graph, given) + (numbers if several else 0), given + taken)
        if recipe.parameters == "all" and _embeddings_are_tied(model):
            # What comes of the unembedding waits for what comes of the embeddings.
            backward += _embeddings(model).nbytes
    adam = recipe.optimizer in ("adam", "adamw")
    # A step goes from tensor to tensor on a CPU, and takes all of them together on a GPU.
    at_once = largest if model.device.type == "cpu" else numbers
    step = numbers + (2 * at_once if adam else at_once if recipe.weight_decay else 0)
    return copies + taken + (2 * numbers if adam else 0) + max(backward, step, end)


def asks_for_recomputing(
    model: LanguageModel, training: Sequence[TrainingSequence], recipe: Recipe, seed: int, forward_size: int
) -> bool:
    """Tell whether keeping what a backward pass needs takes more memory than is free; arguments as of `finetune`.

    Layer-causal finetuning keeps one layer's anyway.
    """
    if recipe.schedule == "layer_causal" or not can_recompute(model):
        return False
    return finetuning_bytes(model, recipe, training, seed, forward_size) > free_memory(model.device)


def _slices(model: LanguageModel, recipe: Recipe, seed: int) -> tuple[TrainedSlice, ...]:
    return select_parameters(model, recipe.parameters, recipe.include_bias, seed)


def _graph_bytes(
    model: LanguageModel,
    recipe: Recipe,
    training: Sequence[TrainingSequence],
    seed: int,
    size: int,
    recompute: bool,
) -> int:
    """Return what autograd keeps of the largest forward, logits included."""
    inner, layers = inner_width(model), model.n_layers - first_trained_layer(model, recipe, seed)
    if recipe.schedule == "layer_causal":
        layers = 1
    forms_scores = model.family.route == "functional" or model.attention_implementation == "eager"
    most = 0
    for batch in batches(training, size):
        longest = max(len(sequence.ids) for sequence in batch)
        tokens = len(batch) * longest
        entering = tokens * model.width * model.dtype.itemsize
        activations = tokens * (_WIDTHS * model.width + _INNER_WIDTHS * inner) * model.dtype.itemsize
        scores = 3 * len(batch) * model.geometry.heads * longest**2 * _FP32 if forms_scores else 0
        logits = _loss_tokens(model, recipe, batch) * _vocabulary(model) * _LOGIT_BYTES
        kept = layers * (activations + scores)
        if recompute:
            # What enters each layer; and of one layer everything, when the logits are gone.
            kept = layers * entering
            logits = max(logits, activations + scores)
        most = max(most, kept + logits)
    return most


def _loss_bytes(model: LanguageModel, recipe: Recipe, training: Sequence[TrainingSequence], size: int) -> int:
    """Return what the loss over all demonstrations holds without gradients: the largest batch of them."""
    widths = _WIDTHS_ALONE * model.width + _INNER_WIDTHS_ALONE * inner_width(model)
    most = 0
    for batch in batches(training, size):
        tokens = len(batch) * max(len(sequence.ids) for sequence in batch)
        logits = _loss_tokens(model, recipe, batch) * _vocabulary(model) * _LOGIT_BYTES_ALONE
        most = max(most, tokens * widths * model.dtype.itemsize, logits)
    return most


def _loss_tokens(model: LanguageModel, recipe: Recipe, batch: Sequence[TrainingSequence]) -> int:
    """Return of how many tokens of a batch logits are computed."""
    count = sum(loss_token_count(sequence, recipe.loss_tokens) for sequence in batch)
    if "logits_to_keep" in model.arguments:
        return count
    # What the loss is taken on is put into rows as long as the longest.
    longest = max(len(sequence.ids) for sequence in batch)
    return -(-count // longest) * longest


def _vocabulary(model: LanguageModel) -> int:
    return model.module.config.get_text_config().vocab_size


def _embeddings(model: LanguageModel) -> Tensor:
    return cast("Tensor", model.module.get_input_embeddings().weight)


def _embeddings_are_tied(model: LanguageModel) -> bool:
    head = model.module.get_output_embeddings()
    return head is not None and head.weight is _embeddings(model)
