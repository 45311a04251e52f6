"""Gradient norms by hand, and of a real finetuning against a plain loop whose uncleared gradients pile up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import tiny_families
import torch
from model_snapshot import fresh, one_by_one_nll, sequences

from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import Recipe
from iclprobe.probes import GradientNormRecorder, GradientNorms, LayerParameters

LAYERS = (LayerParameters(0, ("k0", "v0"), ("mlp0",)), LayerParameters(1, ("v1",), ("mlp1",)))


def gradients(k0: float, v0: float, v1: float, mlp: float) -> dict[str, torch.Tensor]:
    """Vectors and matrices of known norms, and one that belongs to no layer."""
    return {
        "k0": torch.tensor([[k0, 0.0], [0.0, 0.0]]),
        "v0": torch.tensor([0.0, v0]),
        "v1": torch.tensor([0.6 * v1, 0.8 * v1]),
        "mlp0": torch.tensor([float(mlp), 0.0]),
        "mlp1": torch.tensor([float(mlp)]),
        "head": torch.tensor([math.nan]),
    }


STEPS = (gradients(3, 4, 2, 12), gradients(6, 8, 1, -24))
TOKENS = (10, 100)


def recorded(**options) -> GradientNorms:
    recorder = GradientNormRecorder(LAYERS, **options)
    for step, (tensors, tokens) in enumerate(zip(STEPS, TOKENS, strict=True), start=1):
        recorder.observe(step, tensors, tokens)
    return recorder.result()


def assert_norms(result: GradientNorms, expected: list[list[float]]) -> None:
    torch.testing.assert_close(
        result.norms, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0, equal_nan=True
    )


def test_by_default_the_trained_parameters_of_each_step_alone():
    result = recorded()
    assert_norms(result, [[5, 2], [10, 1]])
    assert (result.layers, result.steps) == ((0, 1), 2)
    assert (result.parameters, result.reduction, result.accumulate, result.loss_scale) == (
        "trained",
        "token_mean",
        False,
        1.0,
    )
    assert result.mean_over_steps.tolist() == pytest.approx([7.5, 1.5])
    rows = result.to_rows()
    assert [(row["step"], row["layer"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [row["norm"] for row in rows] == pytest.approx([5, 2, 10, 1])


def test_all_parameters_of_the_layer():
    second = [math.sqrt(100 + 24**2), math.sqrt(1 + 24**2)]
    result = recorded(parameters="layer_all")
    assert_norms(result, [[13, math.sqrt(4 + 144)], second])
    assert result.parameters == "layer_all"


def test_summed_over_tokens_and_scaled():
    result = recorded(reduction="token_sum", loss_scale=4.0)
    assert_norms(result, [[200, 80], [4000, 400]])
    assert (result.reduction, result.loss_scale) == ("token_sum", 4.0)


def test_only_gradients_that_nobody_clears_pile_up():
    # 12 and then 12 - 24; of the sum over tokens 120 and then 120 - 2400, beside trained ones of their step.
    result = recorded(parameters="layer_all", accumulate=True)
    assert_norms(result, [[13, math.sqrt(4 + 144)], [math.sqrt(100 + 144), math.sqrt(1 + 144)]])
    assert result.accumulate
    summed = recorded(parameters="layer_all", accumulate=True, reduction="token_sum")
    last = [math.hypot(1000, 2280), math.hypot(100, 2280)]
    assert_norms(summed, [[130, math.hypot(20, 120)], last])


def test_gradients_are_left_as_they_are_and_not_kept():
    recorder = GradientNormRecorder(LAYERS, parameters="layer_all", accumulate=True)
    given = gradients(3, 4, 2, 12)
    for step in (1, 2):
        recorder.observe(step, given, 1)
        assert all(torch.equal(given[name], STEPS[0][name]) for name in given if name != "head")
    given["mlp0"].zero_()
    recorder.observe(3, given, 1)
    assert recorder.result().norms[:, 0].tolist() == pytest.approx([13, math.hypot(5, 24), math.hypot(5, 24)])


def test_a_layer_without_trained_parameters_has_no_norm():
    recorder = GradientNormRecorder((LayerParameters(0, (), ("mlp0",)), LAYERS[1]))
    recorder.observe(1, STEPS[0], 1)
    assert_norms(recorder.result(), [[math.nan, 2]])


def test_half_precision_gradients_do_not_overflow():
    recorder = GradientNormRecorder([LayerParameters(0, ("w",))])
    recorder.observe(1, {"w": torch.full((10_000,), 6e4, dtype=torch.float16)}, 1)
    expected = float(torch.tensor(6e4, dtype=torch.float16)) * 100
    assert recorder.result().norms.item() == pytest.approx(expected, rel=1e-12)


def test_half_precision_gradients_that_pile_up_do_not_overflow():
    recorder = GradientNormRecorder([LayerParameters(0, (), ("w",))], parameters="layer_all", accumulate=True)
    for step in (1, 2, 3):
        recorder.observe(step, {"w": torch.tensor([6e4], dtype=torch.float16)}, 1)
    sixty = float(torch.tensor(6e4, dtype=torch.float16))
    assert recorder.result().norms[:, 0].tolist() == [sixty, 2 * sixty, 3 * sixty]


def test_norms_given_by_hand_are_those_of_the_plain_reading():
    result = GradientNorms(torch.zeros(3, 2, dtype=torch.float64), (0, 1))
    assert (result.steps, result.accumulate, result.loss_scale) == (3, False, 1.0)
    assert (result.parameters, result.reduction) == ("trained", "token_mean")
    for wrong in (torch.zeros(3, dtype=torch.float64), torch.zeros(3, 2)):
        with pytest.raises(ValueError, match=r"norms \[S, L\] of float64"):
            GradientNorms(wrong, (0, 1))
    with pytest.raises(ValueError, match="2 columns of norms do not fit 3 layers"):
        GradientNorms(torch.zeros(3, 2, dtype=torch.float64), (0, 1, 2))


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="named twice"):
        GradientNormRecorder((LAYERS[0], LayerParameters(2, ("mlp0",))))
    with pytest.raises(ValueError, match="named twice"):
        GradientNormRecorder((LAYERS[0], LayerParameters(0, ("v1",))))
    with pytest.raises(ValueError, match="unknown parameters 'all', choose one of trained"):
        GradientNormRecorder(LAYERS, parameters="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown reduction 'mean'"):
        GradientNormRecorder(LAYERS, reduction="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="take parameters='layer_all'"):
        GradientNormRecorder(LAYERS, accumulate=True)
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="loss_scale"):
            GradientNormRecorder(LAYERS, loss_scale=scale)
    recorder = GradientNormRecorder(LAYERS)
    with pytest.raises(ValueError, match="no step"):
        recorder.result()
    with pytest.raises(ValueError, match="expected step 1, got 2"):
        recorder.observe(2, STEPS[0], 1)
    with pytest.raises(ValueError, match="at least 1 token"):
        recorder.observe(1, STEPS[0], 0)
    with pytest.raises(ValueError, match="layer 1 is not finite at step 1"):
        recorder.observe(1, STEPS[0] | {"v1": torch.tensor([math.inf])}, 1)
    with pytest.raises(ValueError, match=r"no gradient of mlp0 and 1 more.*watch='layers'"):
        GradientNormRecorder(LAYERS, parameters="layer_all").observe(
            1, {name: STEPS[0][name] for name in ("k0", "v0", "v1")}, 1
        )
    with pytest.raises(ValueError, match="2 columns of norms do not fit 1 layers"):
        GradientNorms(torch.zeros(3, 2, dtype=torch.float64), (0,))
    with pytest.raises(ValueError, match="float64"):
        GradientNorms(torch.zeros(3, 2), (0, 1))


RATE = 0.05


def is_trained(name: str) -> bool:
    return "k_proj" in name or "v_proj" in name


def names_by_layer() -> list[LayerParameters]:
    module = tiny_families.fresh("llama")
    layers = []
    for index in range(len(module.model.layers)):
        names = [name for name, _ in module.named_parameters() if f".layers.{index}." in name]
        trained = tuple(name for name in names if is_trained(name))
        layers.append(LayerParameters(index, trained, tuple(set(names) - set(trained))))
    return layers


def plain_loop(parameters: str, reduction: str, accumulate: bool, loss_scale: float) -> list[list[float]]:
    """One backward pass a demonstration, in which only what is trained is cleared, or everything is."""
    module = tiny_families.fresh("llama")
    named: Mapping[str, torch.nn.Parameter] = dict(module.named_parameters())
    norms = []
    for demonstration in sequences(3):
        for name, parameter in named.items():
            if is_trained(name) or not accumulate:
                parameter.grad = None
        total, count = one_by_one_nll(module, [demonstration], "all")
        factor = loss_scale * (1 if reduction == "token_sum" else 1 / count)
        (total * factor).backward()
        row = []
        for layer in names_by_layer():
            wanted = layer.trained if parameters == "trained" else layer.trained + layer.untrained
            squares = 0.0
            for name in wanted:
                gradient = named[name].grad
                assert gradient is not None
                squares += float(gradient.double().square().sum())
            row.append(math.sqrt(squares))
        norms.append(row)
        with torch.no_grad():
            for name, parameter in named.items():
                if is_trained(name):
                    assert parameter.grad is not None
                    parameter -= RATE * parameter.grad / (factor * count)
    return norms


@pytest.mark.parametrize(
    ("parameters", "reduction", "accumulate", "loss_scale"),
    [
        ("trained", "token_mean", False, 1.0),
        ("layer_all", "token_mean", False, 1.0),
        ("layer_all", "token_sum", True, 4.0),
    ],
)
def test_norms_of_a_finetuning_equal_a_plain_loop(parameters, reduction, accumulate, loss_scale):
    recorder = GradientNormRecorder(
        names_by_layer(),
        parameters=parameters,
        reduction=reduction,
        accumulate=accumulate,
        loss_scale=loss_scale,
    )
    finetune(
        load_model(fresh("llama")),
        sequences(3),
        Recipe(parameters="attn_kv"),
        learning_rate=RATE,
        seed=0,
        observe=recorder.observe,
        watch="trained" if parameters == "trained" else "layers",
    )
    expected = torch.tensor(plain_loop(parameters, reduction, accumulate, loss_scale), dtype=torch.float64)
    torch.testing.assert_close(recorder.result().norms, expected, rtol=2e-5, atol=0)
    assert recorder.result().norms.min() > 0
