"""What finetuning leaves as it was, what it calls, and how it fails."""

from __future__ import annotations

import math

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, one_by_one_nll, same_bits, sequences, snapshot

from iclprobe.errors import UserError
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.recipe import Recipe, preset, preset_names
from iclprobe.models.stepper import FinetuningDiverged, diverging_loss
from iclprobe.tasks.prompt_set import TrainingSequence


def _model(name: str = "llama", dtype: torch.dtype = torch.float32) -> LanguageModel:
    return load_model(fresh(name, dtype))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "phi3"])
@pytest.mark.parametrize("parameters", ["attn_kv", "all"])
def test_the_model_is_left_as_it_was(family: str, parameters: str):
    module = tiny_families.fresh(family).train()
    names = [name for name, _ in module.named_parameters()]
    module.get_parameter(names[0]).requires_grad_(False)
    module.get_parameter(names[1]).grad = torch.ones_like(module.get_parameter(names[1]))
    next(iter(module.children())).eval()
    before = snapshot(module)
    finetune(load_model(module), sequences(2), Recipe(parameters=parameters), learning_rate=0.1, seed=0)
    assert_as_it_was(module, before)


@pytest.mark.parametrize("name", [name for name in preset_names() if preset(name).objective == "text"])
@pytest.mark.parametrize("clip", [None, "per_layer_l2"])
def test_every_recipe_leaves_the_model_bit_for_bit_as_it_was(name: str, clip: str | None):
    module = fresh("llama")
    before = snapshot(module)
    changes = {"clip": clip, "clip_value": 0.5 if clip else None, "evaluation_epochs": 1}
    recipe = preset(name).model_copy(update={"epochs": min(3, preset(name).epochs), **changes})
    done = finetune(
        load_model(module), sequences(3), recipe, learning_rate=0.01, seed=0, evaluate=lambda epoch: None
    )
    assert_as_it_was(module, before)
    assert any(
        not torch.equal(tensor, module.get_parameter(name).detach())
        for name, tensor in done.delta.tensors.items()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_is_left_as_it_was(dtype: torch.dtype):
    model = _model("gpt2", dtype)
    before = snapshot(model.module)
    result = finetune(model, sequences(2), preset("dai"), learning_rate=0.1, seed=0)
    assert_as_it_was(model.module, before)
    assert {tensor.dtype for tensor in result.delta.tensors.values()} == {dtype}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_evaluation_that_raises_leaves_the_model_as_it_was(error: type[BaseException]):
    model = _model()
    before = snapshot(model.module)

    def evaluate(_epoch: int) -> None:
        raise error

    with pytest.raises(error):
        finetune(model, sequences(2), preset("dai"), learning_rate=0.1, seed=0, evaluate=evaluate)
    assert_as_it_was(model.module, before)


def test_evaluations_see_the_model_as_it_is_after_their_epoch():
    model, training = _model(), sequences(2)
    seen: list[tuple[int, dict[str, torch.Tensor]]] = []

    def evaluate(epoch: int) -> None:
        assert not torch.is_grad_enabled() and not model.module.training
        seen.append((epoch, snapshot(model.module).tensors))

    recipe = Recipe(optimizer="gd", epochs=5, evaluation_epochs=2)
    result = finetune(model, training, recipe, learning_rate=0.05, seed=0, evaluate=evaluate)
    assert [epoch for epoch, _ in seen] == [2, 4, 5] == list(result.evaluations)
    shorter = Recipe(optimizer="gd", epochs=4)
    after_four = finetune(model, training, shorter, learning_rate=0.05, seed=0).delta.tensors
    for name, tensor in seen[1][1].items():
        assert same_bits(tensor, after_four.get(name, tensor)), name
    assert all(same_bits(seen[2][1][name], tensor) for name, tensor in result.delta.tensors.items())


def test_progress_is_told_after_every_step():
    told: list[tuple[int, int, float]] = []
    recipe = Recipe(batch_size=2, epochs=2)
    result = finetune(
        _model(), sequences(3), recipe, learning_rate=0.01, seed=0, progress=lambda *step: told.append(step)
    )
    assert told == [(step, 4, loss) for step, loss in enumerate(result.losses, start=1)]


def test_dropout_is_off_and_the_global_generator_untouched():
    module = tiny_families.fresh("gpt2")
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    recipe = Recipe(shuffle=True, epochs=2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = finetune(load_model(module.train()), sequences(4), recipe, learning_rate=0.01, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = finetune(_model("gpt2"), sequences(4), recipe, learning_rate=0.01, seed=3)
    assert first.losses == second.losses
    for name, tensor in first.delta.tensors.items():
        assert same_bits(tensor, second.delta.tensors[name])


def test_shuffled_orders_depend_on_the_seed_and_the_epoch():
    training = sequences(6)
    recipe = Recipe(shuffle=True, epochs=2)
    # With a rate this small, a step's loss tells which demonstration it took.
    alone = [
        round(finetune(_model(), [one], Recipe(), learning_rate=1e-9, seed=0).losses[0], 3)
        for one in training
    ]
    assert len(set(alone)) == 6

    def order(seed: int) -> list[int]:
        result = finetune(_model(), training, recipe, learning_rate=1e-9, seed=seed)
        return [min(range(6), key=lambda index: abs(alone[index] - loss)) for loss in result.losses]

    first = order(0)
    assert sorted(first[:6]) == sorted(first[6:]) == list(range(6))
    assert first[:6] != first[6:]
    assert first == order(0) != order(1)


def test_updates_too_small_for_bf16_add_up_in_the_masters():
    training, name = sequences(2), "model.layers.2.self_attn.v_proj.weight"
    recipe = Recipe(optimizer="gd", epochs=16, parameters="attn_v@2")
    rate = 1.5e-3
    model = _model(dtype=torch.bfloat16)
    original = model.module.get_parameter(name).detach().clone()
    result = finetune(model, training, recipe, learning_rate=rate, seed=0)

    without_masters = fresh("llama", torch.bfloat16)
    parameter = without_masters.get_parameter(name)
    for _ in range(recipe.epochs):
        total, count = one_by_one_nll(without_masters, training, "all")
        (gradient,) = torch.autograd.grad(total / count, [parameter])
        with torch.no_grad():
            parameter -= rate * gradient

    exact = finetune(_model(), training, recipe, learning_rate=rate, seed=0).delta.tensors[name]
    change = exact - tiny_families.build("llama").get_parameter(name).detach()
    with_masters = (result.delta.tensors[name] - original).float().flatten()
    alone = (parameter.detach() - original).float().flatten()
    # One update is a tenth of what bf16 can tell apart at these weights; all of them together are more.
    assert (with_masters - change.flatten()).norm() < 0.7 * change.norm()
    assert alone.norm() < 0.4 * change.norm()


def test_fp16_gradients_that_overflow_with_one_loss_scale_pass_with_the_next():
    model = _model(dtype=torch.float16)
    # The gradient of these weights is multiplied by the inverse of what they are divided by.
    with torch.no_grad():
        model.module.get_parameter("model.norm.weight").mul_(64)
        model.module.get_parameter("lm_head.weight").mul_(8)
    result = finetune(model, sequences(2), Recipe(loss_tokens="label"), learning_rate=1e-6, seed=0)
    assert all(math.isfinite(loss) for loss in result.losses)


def test_fp16_agrees_with_fp32():
    name = "model.layers.1.self_attn.v_proj.weight"
    changes = []
    for dtype in (torch.float32, torch.float16):
        model = _model(dtype=dtype)
        result = finetune(model, sequences(4), preset("dai"), learning_rate=0.3, seed=0)
        changes.append(
            (result.delta.tensors[name] - model.module.get_parameter(name)).detach().float().flatten()
        )
    assert torch.cosine_similarity(*changes, dim=0) > 0.99
    assert changes[1].norm().item() == pytest.approx(changes[0].norm().item(), rel=0.05)


@pytest.mark.parametrize("rate", [1e4, 1e30])
def test_a_loss_that_diverges_is_told_and_leaves_the_model_as_it_was(rate: float):
    model = _model()
    before = snapshot(model.module)
    recipe = Recipe(optimizer="gd", epochs=20, parameters="all")
    with pytest.raises(
        FinetuningDiverged, match=r"diverged: .* at step .*take a smaller learning rate"
    ) as caught:
        finetune(model, sequences(3), recipe, learning_rate=rate, seed=0)
    assert isinstance(caught.value, UserError)
    assert (caught.value.step >= 2, caught.value.learning_rate) == (True, rate)
    assert_as_it_was(model.module, before)
    finetune(model, sequences(3), recipe, learning_rate=1e-4, seed=0)


def test_a_last_update_that_diverges_is_told_too():
    model = _model()
    with pytest.raises(FinetuningDiverged, match="at step 2"):
        finetune(model, sequences(3), Recipe(optimizer="gd", parameters="all"), learning_rate=1e30, seed=0)


def test_a_model_that_is_broken_before_training_is_told_apart():
    model = _model()
    model.module.get_parameter("model.norm.weight").data.fill_(torch.nan)
    before = snapshot(model.module)
    with pytest.raises(UserError, match="before anything was trained") as caught:
        finetune(model, sequences(2), preset("dai"), learning_rate=0.1, seed=0)
    assert not isinstance(caught.value, FinetuningDiverged)
    assert_as_it_was(model.module, before)


def test_finetuning_runs_where_gradients_are_off():
    model = _model()
    expected = finetune(model, sequences(2), preset("dai"), learning_rate=0.1, seed=0)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            result = finetune(model, sequences(2), preset("dai"), learning_rate=0.1, seed=0)
        assert result.losses == expected.losses


def test_finetuning_again_gives_the_same_bits():
    model = _model("gpt_neox")
    recipe = Recipe(optimizer="adam", epochs=2, batch_size=2, shuffle=True)
    results = [finetune(model, sequences(5), recipe, learning_rate=1e-3, seed=4) for _ in range(2)]
    assert results[0].losses == results[1].losses
    for name, tensor in results[0].delta.tensors.items():
        assert same_bits(tensor, results[1].delta.tensors[name])


def test_impossible_requests_are_refused():
    model = _model()
    for rate in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="is no positive number"):
            finetune(model, sequences(2), preset("dai"), learning_rate=rate, seed=0)
    with pytest.raises(UserError, match="no demonstration"):
        finetune(model, [], preset("dai"), learning_rate=0.1, seed=0)
    result = finetune(model, sequences(2), preset("dai"), learning_rate=0.1, seed=0)
    with result.delta.applied(model), pytest.raises(UserError, match="already holds finetuned tensors"):
        finetune(model, sequences(2), preset("dai"), learning_rate=0.1, seed=0)


@pytest.mark.parametrize(("first", "most"), [(0.5, 20.5), (2.0, 22.0), (5.0, 50.0)])
def test_a_loss_diverges_ten_times_above_the_first_and_not_by_less_than_twenty(first: float, most: float):
    assert diverging_loss(first) == most


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("parameters", ["attn_v@-1", "attn_kv", "lora_qv"])
def test_nothing_but_what_is_trained_has_gradients_and_those_are_fp32(family: str, parameters: str):
    model = _model(family, torch.bfloat16)
    requiring: list[set[str]] = []
    gradients: list[dict[str, torch.Tensor]] = []

    def look(epoch: int) -> None:
        named = dict(model.module.named_parameters())
        assert all(parameter.grad is None for parameter in named.values())
        requiring.append({name for name, parameter in named.items() if parameter.requires_grad})

    finetune(
        model,
        sequences(2),
        Recipe(parameters=parameters),
        learning_rate=0.01,
        seed=0,
        evaluate=look,
        observe=lambda step, given, tokens: gradients.append(dict(given)),
    )
    assert len(gradients) == 2
    for given in gradients:
        assert set(given) == requiring[0]
        assert {gradient.dtype for gradient in given.values()} == {torch.float32}


def test_a_model_that_has_become_blind_has_diverged():
    """Norms make zeros of states that overflow: every token is equally probable, and the loss is finite."""
    model = _model()

    def blind(step: int, gradients: object, tokens: int) -> None:
        model.module.get_parameter("lm_head.weight").data.zero_()

    with pytest.raises(FinetuningDiverged, match="every token is equally probable"):
        finetune(model, sequences(2), preset("dai"), learning_rate=1e-4, seed=0, observe=blind)


def test_a_rate_at_which_states_overflow_diverges():
    """What is not finite then, the loss, a gradient or a state, is left to the processor's roundings."""
    model = load_model("pocket", device="cpu")
    ids = torch.randint(5, 130, (4, 12), generator=torch.Generator().manual_seed(0)).tolist()
    training = [TrainingSequence(tuple(each), 11) for each in ids]
    with pytest.raises(FinetuningDiverged, match="take a smaller learning rate"):
        finetune(model, training, preset("dai"), learning_rate=1e12, seed=0)
