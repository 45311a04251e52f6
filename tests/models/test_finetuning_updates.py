"""What finetuning changes, against loops written out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tiny_families
import torch
from model_snapshot import fresh, one_by_one_nll, same_bits, sequences
from transformers import PreTrainedModel

from iclprobe.models.finetuning import Finetuning, finetune
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.recipe import Recipe, preset
from iclprobe.tasks.prompt_set import TrainingSequence

KEYS_AND_VALUES = ("k_proj", "v_proj")
Update = Callable[[torch.Tensor, torch.Tensor, dict[str, torch.Tensor], int], None]


def _model(name: str = "llama", dtype: torch.dtype = torch.float32) -> LanguageModel:
    return load_model(fresh(name, dtype))


def _literal(
    name: str,
    batches: list[list[TrainingSequence]],
    loss_tokens: str,
    is_trained: Callable[[str], bool],
    update: Update,
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Finetune a private copy, one sequence a forward, with an update written out by hand."""
    module: PreTrainedModel = tiny_families.fresh(name)
    trained = {name: p for name, p in module.named_parameters() if is_trained(name)}
    states: dict[str, dict[str, torch.Tensor]] = {name: {} for name in trained}
    losses = []
    for step, batch in enumerate(batches, start=1):
        total, count = one_by_one_nll(module, batch, loss_tokens)
        loss = total / count
        gradients = torch.autograd.grad(loss, list(trained.values()))
        losses.append(loss.item())
        with torch.no_grad():
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True):
                update(parameter, gradient, states[name], step)
    return {name: parameter.detach() for name, parameter in trained.items()}, losses


def _sgd(rate: float) -> Update:
    def update(
        parameter: torch.Tensor, gradient: torch.Tensor, _state: dict[str, torch.Tensor], _step: int
    ) -> None:
        parameter -= rate * gradient

    return update


def _adam(rate: float, decay: float = 0.0) -> Update:
    """Adam of Kingma and Ba with bias correction; with a decay, decoupled as in AdamW."""

    def update(
        parameter: torch.Tensor, gradient: torch.Tensor, state: dict[str, torch.Tensor], step: int
    ) -> None:
        first = state.get("first", torch.zeros_like(gradient))
        second = state.get("second", torch.zeros_like(gradient))
        state["first"] = first = 0.9 * first + 0.1 * gradient
        state["second"] = second = 0.999 * second + 0.001 * gradient**2
        parameter *= 1 - rate * decay
        parameter -= rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)

    return update


def _is_key_or_value(name: str) -> bool:
    return any(part in name for part in KEYS_AND_VALUES)


def _assert_equal(result: Finetuning, expected: tuple[dict[str, torch.Tensor], list[float]]) -> None:
    tensors, losses = expected
    assert set(result.delta.tensors) == set(tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(result.delta.tensors[name], tensor, rtol=0, atol=1e-6, msg=name)
    assert result.losses == pytest.approx(losses, abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_dai_is_one_step_of_sgd_a_demonstration_in_their_order(family: str):
    training = sequences(4)
    result = finetune(_model(family), training, preset("dai"), learning_rate=0.01, seed=0)
    steps = [[sequence] for sequence in training]
    _assert_equal(result, _literal(family, steps, "all", _is_key_or_value, _sgd(0.01)))
    assert (result.steps, result.epochs, result.learning_rate) == (4, 1, 0.01)


def test_shen_is_gradient_descent_on_the_labels_of_all_demonstrations():
    training = sequences(4)
    recipe = preset("shen").model_copy(update={"epochs": 3})
    result = finetune(_model(), training, recipe, learning_rate=0.01, seed=0)
    _assert_equal(result, _literal("llama", [training] * 3, "label", lambda _: True, _sgd(0.01)))


def test_batches_are_consecutive_and_the_last_may_be_smaller():
    training = sequences(5)
    recipe = Recipe(batch_size=2, epochs=2)
    result = finetune(_model(), training, recipe, learning_rate=0.01, seed=0)
    steps = [training[:2], training[2:4], training[4:]] * 2
    _assert_equal(result, _literal("llama", steps, "all", _is_key_or_value, _sgd(0.01)))


@pytest.mark.parametrize(("optimizer", "decay"), [("adam", 0.0), ("adamw", 0.0), ("adamw", 0.1)])
def test_adam_and_adamw_are_the_published_updates(optimizer: str, decay: float):
    training = sequences(3)
    recipe = Recipe.model_validate(
        {"optimizer": optimizer, "weight_decay": decay, "epochs": 2, "parameters": "v_proj"}
    )
    result = finetune(_model(), training, recipe, learning_rate=1e-3, seed=0)
    steps = [[sequence] for sequence in training] * 2
    update = _adam(1e-3, decay)
    _assert_equal(result, _literal("llama", steps, "all", lambda name: "v_proj" in name, update))


def test_the_final_loss_is_that_of_all_demonstrations_after_the_last_update():
    model, training = _model(), sequences(4)
    result = finetune(model, training, Recipe(optimizer="gd"), learning_rate=0.01, seed=0)
    with result.delta.applied(model), torch.no_grad():
        total, count = one_by_one_nll(model.module, training, "all")
    assert result.final_loss == pytest.approx(float(total) / count, rel=1e-5)
    assert result.final_loss < result.losses[0]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mpt"])
def test_how_many_sequences_share_a_forward_changes_nothing(family: str):
    training, recipe = sequences(5), Recipe(optimizer="gd", parameters="attn_kv")
    results = [
        finetune(_model(family), training, recipe, learning_rate=0.05, seed=0, forward_size=size)
        for size in (1, 2, 5)
    ]
    for result in results[1:]:
        for name, tensor in result.delta.tensors.items():
            torch.testing.assert_close(tensor, results[0].delta.tensors[name], rtol=0, atol=1e-6)


def test_the_label_loss_differs_from_the_loss_on_all_tokens_and_ignores_the_input():
    training = sequences(1)
    label = finetune(_model(), training, Recipe(loss_tokens="label"), learning_rate=0.01, seed=0)
    everything = finetune(_model(), training, Recipe(loss_tokens="all"), learning_rate=0.01, seed=0)
    name = "model.layers.1.self_attn.v_proj.weight"
    assert not torch.allclose(label.delta.tensors[name], everything.delta.tensors[name], atol=1e-5)
    whole = TrainingSequence(training[0].ids, 1)
    from_start = finetune(_model(), [whole], Recipe(loss_tokens="label"), learning_rate=0.01, seed=0)
    assert same_bits(from_start.delta.tensors[name], everything.delta.tensors[name])


QUERY_ROWS = {
    # Rows of the output dimension that belong to W_Q, counted by hand.
    "gpt2": (1, list(range(32))),
    "gpt_bigcode": (0, list(range(32))),
    "phi3": (0, list(range(32))),
    "gpt_neox": (0, [48 * head + offset for head in range(4) for offset in range(16)]),
    "falcon_grouped": (0, [*range(16), *range(32, 48)]),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("family", QUERY_ROWS)
def test_the_queries_of_a_fused_weight_do_not_move_by_a_bit(family: str, optimizer: str):
    model = _model(family)
    recipe = Recipe.model_validate({"optimizer": optimizer, "weight_decay": 0.5, "epochs": 2})
    result = finetune(model, sequences(3), recipe, learning_rate=0.01, seed=0)
    dim, rows = QUERY_ROWS[family]
    for name, tensor in result.delta.tensors.items():
        original = model.module.get_parameter(name).detach()
        across = dim if tensor.dim() == 2 else 0
        moved = (
            (tensor != original).movedim(across, 0).flatten(1) if tensor.dim() == 2 else tensor != original
        )
        moved = moved.any(-1) if tensor.dim() == 2 else moved
        assert not moved[rows].any(), name
        others = torch.ones_like(moved)
        others[rows] = False
        # Softmax does not see a key bias without rotary: it has no gradient.
        assert moved[others].float().mean() > (0.4 if tensor.dim() == 1 else 0.95), name


def test_separate_projections_leave_all_other_parameters_alone():
    result = finetune(_model("opt"), sequences(3), preset("dai"), learning_rate=0.1, seed=0)
    assert all(_is_key_or_value(name) for name in result.delta.tensors)
    assert any(name.endswith("bias") for name in result.delta.tensors)
    recipe = Recipe(include_bias=False)
    without = finetune(_model("opt"), sequences(3), recipe, learning_rate=0.1, seed=0)
    assert len(without.delta.tensors) == 6
    assert all(name.endswith("weight") for name in without.delta.tensors)
    assert without.trained_parameters == 6 * 32 * 32


def test_one_layer_is_trained_alone_and_layers_below_are_out_of_reach():
    recipe = Recipe(parameters="attn_v@1", loss_tokens="label")
    model, training = _model(), sequences(2)
    result = finetune(model, training, recipe, learning_rate=1.0, seed=0)
    assert list(result.delta.tensors) == ["model.layers.1.self_attn.v_proj.weight"]
    ids = torch.tensor([training[0].ids])
    with torch.no_grad():
        plain = model.module(ids, output_hidden_states=True).hidden_states
        with result.delta.applied(model):
            finetuned = model.module(ids, output_hidden_states=True).hidden_states
    assert [torch.equal(a, b) for a, b in zip(plain, finetuned, strict=True)] == [True, True, False, False]


def test_what_is_watched_is_the_gradient_of_the_same_loss_added_up_over_forwards():
    """All demonstrations run by themselves, differentiated by autograd."""
    training, seen = sequences(3), {}
    finetune(
        _model(),
        training,
        Recipe(optimizer="gd", loss_tokens="all", parameters="attn_kv"),
        learning_rate=1e-3,
        seed=0,
        watch="layers",
        observe=lambda step, gradients, tokens: seen.update(
            {name: g.clone() for name, g in gradients.items()}
        ),
        forward_size=2,
    )
    module = fresh("llama")
    module.requires_grad_(True)
    total, count = one_by_one_nll(module, training, "all")
    names = ["model.layers.0.self_attn.k_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    literal = torch.autograd.grad(total / count, [module.get_parameter(name) for name in names])
    for name, gradient in zip(names, literal, strict=True):
        torch.testing.assert_close(seen[name], gradient, rtol=1e-4, atol=1e-7, msg=name)


def test_of_a_fused_weight_its_other_rows_are_watched():
    seen: dict[str, torch.Tensor] = {}
    finetune(
        _model("gpt2"),
        sequences(2),
        Recipe(optimizer="gd", parameters="attn_kv"),
        learning_rate=1e-3,
        seed=0,
        watch="layers",
        observe=lambda step, gradients, tokens: seen.update(gradients),
    )
    fused = "transformer.h.0.attn.c_attn.weight"
    width = fresh("gpt2").get_parameter(fused).shape[0]
    assert seen[fused].numel() == 2 * width * width
    assert seen[f"{fused} (other rows)"].numel() == width * width
