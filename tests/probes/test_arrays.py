"""Every probe takes numbers from anywhere: tensors, NumPy arrays, and whatever hands out its memory by DLPack."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from iclprobe import probes
from iclprobe.probes.arrays import as_tensor

N, L, H, Q, D, C, V = 6, 2, 3, 5, 4, 3, 12
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Foreign:
    """An array of another library: all that is known of it is how it hands out its memory."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **options: Any) -> Any:
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[Any, Any]:
        return self._tensor.__dlpack_device__()


def read_only(tensor: Tensor) -> Any:
    array = tensor.numpy().copy()
    array.setflags(write=False)
    return array


def backwards(tensor: Tensor) -> Any:
    """The same numbers in memory that runs backwards along the first axis."""
    return tensor.numpy()[::-1].copy()[::-1]


def big_endian(tensor: Tensor) -> Any:
    array = tensor.numpy()
    return array.astype(array.dtype.newbyteorder(">"))


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "numpy": lambda tensor: tensor.numpy(),
    "read_only": read_only,
    "backwards": backwards,
    "big_endian": big_endian,
    "dlpack": Foreign,
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


OUTPUTS = tuple(drawn(N, L, D, seed=seed) for seed in range(3))
SCORES = tuple(drawn(N, L, H, Q, seed=seed) for seed in range(3))
COLUMNS = torch.tensor([[place >= row % 3 for place in range(Q)] for row in range(N)])
VISIBLE = COLUMNS[:, None, None].expand(N, L, 1, Q).contiguous()
PARTNER = torch.tensor([[1, 2, 3, 4, 5, 0], [5, 0, 1, 2, 3, 4]])
OWN = torch.tensor([4, 0, 2])
FLOOR = torch.tensor([1e-3, 2e-3])
LABELS = tuple(torch.tensor(row) for row in ([0, 1, 2, 0, 1, 2], [1, 1, 0, 0, 2, 2], [1, 0, 0, 0, 2, 1]))
GOLD = torch.tensor([1, 1, 0, 2, 2, 0])
RIGHT = tuple(labels == GOLD for labels in LABELS)
LOGPROBS = torch.log_softmax(drawn(N, V), dim=1)
OPTIONS = tuple(torch.log_softmax(drawn(N, C, seed=seed), dim=1) for seed in range(3))
PATTERN = torch.softmax(SCORES[0].masked_fill(~VISIBLE, -torch.inf), dim=-1)
GROUPS = torch.stack([COLUMNS & (torch.arange(Q) < 3), COLUMNS & (torch.arange(Q) >= 3)], dim=1)
WEIGHTS = tuple(drawn(8, D, seed=seed) for seed in range(3))
MASK = torch.tensor([True, False, True, True, False, True])


def floors(make: Any) -> probes.Floors:
    return probes.Floors(make(FLOOR), make(2 * FLOOR))


def tops(make: Any) -> tuple[probes.TopTokens, probes.TopTokens]:
    first, second = (probes.top_tokens(torch.log_softmax(drawn(N, V, seed=seed), 1), 4) for seed in range(2))
    return probes.TopTokens(make(first.ids), make(first.logprobs)), second


def moments(make: Any) -> probes.OrderMoments:
    made = probes.OrderMoments(N, V)
    for seed in range(3):
        made.update(make(torch.arange(N)), make(torch.log_softmax(drawn(N, V, seed=seed), dim=1)))
    return made


def norms(make: Any) -> probes.GradientNorms:
    recorder = probes.GradientNormRecorder(
        [probes.LayerParameters(0, ("a",), ("b",))], parameters="layer_all", accumulate=True
    )
    for step in (1, 2):
        recorder.observe(step, {"a": make(drawn(4, seed=step)), "b": make(drawn(3, 2, seed=step))}, 5)
    return recorder.result()


def updates(make: Any) -> probes.ImplicitUpdates:
    return probes.ImplicitUpdates(make(drawn(N, 8)), make(WEIGHTS[1][:N]))


def split(make: Any, first: Tensor, second: Tensor, third: Tensor) -> probes.SplitOutputs:
    return probes.SplitOutputs(make(first), make(second), make(third), make(FLOOR))


def shares(make: Any) -> probes.AttentionShares:
    found = probes.attention_shares(PATTERN, VISIBLE, GROUPS)
    return probes.AttentionShares(make(found.shares), make(found.uniform))


# For each function how it is called, on what `m` makes of tensors.
FUNCTIONS: dict[str, Callable[[Any], Call]] = {
    "accuracy": lambda m: (probes.accuracy, (m(RIGHT[0]),), {}),
    "along": lambda m: (probes.along, tuple(map(m, OUTPUTS[:2])), {}),
    "attention_changes": lambda m: (
        probes.attention_changes,
        (*map(m, SCORES), m(COLUMNS)),
        {"visible": m(VISIBLE)},
    ),
    "attention_output_update": lambda m: (probes.attention_output_update, tuple(map(m, OUTPUTS[:2])), {}),
    "attention_shares": lambda m: (probes.attention_shares, (m(PATTERN), m(VISIBLE), m(GROUPS)), {}),
    "below_noise": lambda m: (probes.below_noise, (m(OUTPUTS[0][..., 0].abs()), m(FLOOR)), {}),
    "bootstrap_mean": lambda m: (probes.bootstrap_mean, (m(OUTPUTS[0]),), {"seed": 0, "resamples": 20}),
    "bootstrap_ratio": lambda m: (
        probes.bootstrap_ratio,
        (m(LABELS[0]), m(torch.full((N,), 2))),
        {"seed": 0, "resamples": 20},
    ),
    "calibrated_accuracy": lambda m: (probes.calibrated_accuracy, (m(LOGPROBS[:, :C]), m(GOLD)), {}),
    "calibrated_prediction": lambda m: (probes.calibrated_prediction, (m(LOGPROBS[:, :C]),), {}),
    "centred_labels": lambda m: (probes.centred_labels, (m(LOGPROBS[:, :C]),), {}),
    "changed_predictions": lambda m: (probes.changed_predictions, tuple(map(m, LABELS[:2])), {}),
    "closed": lambda m: (probes.closed, tuple(map(m, OPTIONS)), {"resamples": 20}),
    "constructed_sparsity": lambda m: (probes.constructed_sparsity, (8,), {}),
    "correct_over_labels": lambda m: (probes.correct_over_labels, (m(LABELS[1]), m(GOLD)), {}),
    "correct_over_vocabulary": lambda m: (
        probes.correct_over_vocabulary,
        (m(torch.stack(RIGHT, dim=1)), m(GOLD)),
        {},
    ),
    "delta_shared_baseline": lambda m: (
        probes.delta_shared_baseline,
        (m(SCORES[0][OWN]), m(SCORES[1]), m(COLUMNS)),
        {
            "zero_shot": m(SCORES[2]),
            "partner": m(PARTNER),
            "examples": m(OWN),
            "visible": m(VISIBLE),
            "floors": probes.Floors(1e-3, 1e-3),
        },
    ),
    "derangement": lambda m: (probes.derangement, (5, 0), {}),
    "fraction_below": lambda m: (probes.fraction_below, (m(WEIGHTS[0]), (0.1, 0.5)), {"relative": True}),
    "gaussian_of_length": lambda m: (probes.gaussian_of_length, (m(FLOOR), D, 0), {}),
    "halves": lambda m: (probes.halves, (N, 0), {}),
    "implicit_updates": lambda m: (
        probes.implicit_updates,
        (m(WEIGHTS[0]), m(WEIGHTS[1][:N]), m(WEIGHTS[2][:N])),
        {},
    ),
    "part_shares": lambda m: (probes.part_shares, (split(m, *OUTPUTS),), {}),
    "part_similarity": lambda m: (
        probes.part_similarity,
        (split(m, *OUTPUTS), split(m, OUTPUTS[0], OUTPUTS[2], OUTPUTS[1]), "total", "direct"),
        {"partners": m(PARTNER)},
    ),
    "shared_update": lambda m: (
        probes.shared_update,
        (m(drawn(N, D)), m(drawn(N, 4, seed=1)), m(torch.tensor([0, 1, 0, 1, 1, 0]))),
        {"seed": 0},
    ),
    "update_alignment": lambda m: (probes.update_alignment, (updates(m), m(WEIGHTS[2]), m(PARTNER)), {}),
    "jaccard": lambda m: (probes.jaccard, (*map(m, LABELS), m(GOLD)), {}),
    "label_divergence": lambda m: (probes.label_divergence, tuple(map(m, OPTIONS[:2])), {}),
    "mean_and_std": lambda m: (probes.mean_and_std, (m(OUTPUTS[0]),), {}),
    "mean_over_layers": lambda m: (probes.mean_over_layers, (m(OUTPUTS[0][..., 0]),), {}),
    "means_of_halves": lambda m: (probes.means_of_halves, (*map(m, OUTPUTS[:2]), m(GOLD % 2)), {}),
    "noise_floor": lambda m: (probes.noise_floor, tuple(map(m, OUTPUTS[:2])), {}),
    "order_sensitivity": lambda m: (probes.order_sensitivity, (moments(m),), {}),
    "overlap_cosine_similarity": lambda m: (probes.overlap_cosine_similarity, tops(m), {}),
    "pairwise_mean_absolute": lambda m: (probes.pairwise_mean_absolute, (m(WEIGHTS[0]),), {}),
    "partial_permuted_pairs": lambda m: (
        probes.partial_permuted_pairs,
        tuple(map(m, OUTPUTS)),
        {"floors": floors(m)},
    ),
    "partial_sim_aou": lambda m: (probes.partial_sim_aou, tuple(map(m, OUTPUTS)), {"floors": floors(m)}),
    "partial_similarity": lambda m: (
        probes.partial_similarity,
        tuple(map(m, OUTPUTS)),
        {"floors": floors(m)},
    ),
    "permuted_pairs": lambda m: (
        probes.permuted_pairs,
        (m(OUTPUTS[0]), m(OUTPUTS[1]), m(OUTPUTS[2][OWN])),
        {"partner": m(PARTNER), "examples": m(OWN)},
    ),
    "prediction_changes": lambda m: (probes.prediction_changes, (*map(m, LABELS), m(GOLD)), {}),
    "preference": lambda m: (probes.preference, (shares(m), 0, 1), {}),
    "rec2ftp": lambda m: (probes.rec2ftp, tuple(map(m, RIGHT)), {}),
    "rounding_floor": lambda m: (probes.rounding_floor, (torch.float32,), {}),
    "score_floors": lambda m: (
        probes.score_floors,
        (m(SCORES[0]), m(COLUMNS)),
        {"floors": probes.Floors(1e-3, 1e-3), "visible": m(VISIBLE)},
    ),
    "score_noise_floor": lambda m: (
        probes.score_noise_floor,
        (m(SCORES[0]), m(SCORES[1]), m(COLUMNS), m(VISIBLE)),
        {},
    ),
    "shared_baseline": lambda m: (
        probes.shared_baseline,
        tuple(map(m, OUTPUTS)),
        {"partner": m(PARTNER[0]), "floors": floors(m)},
    ),
    "sim_am": lambda m: (
        probes.sim_am,
        (m(SCORES[0]), m(SCORES[1]), m(COLUMNS)),
        {"variant": "delta", "zero_shot": m(SCORES[2]), "visible": m(VISIBLE)},
    ),
    "sim_aou": lambda m: (probes.sim_aou, tuple(map(m, OUTPUTS)), {"floors": floors(m)}),
    "sim_aou_null": lambda m: (
        probes.sim_aou_null,
        (*map(m, OUTPUTS), "uniform_hidden_minus_zsl"),
        {"seed": 0, "draws": 2},
    ),
    "stored_rounding": lambda m: (probes.stored_rounding, (torch.float32,), {}),
    "token_overlap": lambda m: (probes.token_overlap, tops(m), {}),
    "top_tokens": lambda m: (probes.top_tokens, (m(LOGPROBS), 4), {}),
    "transfer_outcomes": lambda m: (
        probes.transfer_outcomes,
        (
            m(OPTIONS[0][:, None, None]),
            *(m(each[:, None]) for each in OPTIONS[1:]),
            m(drawn(N, 1, 1).abs()),
            m(drawn(N, 1, seed=1).abs()),
        ),
        {"seed": 0, "resamples": 20},
    ),
    "update_cosine": lambda m: (probes.update_cosine, tuple(map(m, WEIGHTS)), {}),
    "vocabulary_divergence": lambda m: (probes.vocabulary_divergence, (m(LOGPROBS[0]), m(LOGPROBS)), {}),
    "von_oswald_construction": lambda m: (
        probes.von_oswald_construction,
        (D, 2),
        {"step_size": 0.1, "demonstrations": 3, "start": m(WEIGHTS[0][:2])},
    ),
    "weight_drift": lambda m: (probes.weight_drift, tuple(map(m, WEIGHTS[:2])), {}),
    "weight_statistics": lambda m: (probes.weight_statistics, (m(WEIGHTS[0]),), {"heads": 2}),
}
METHODS: dict[str, Callable[[Any], Call]] = {
    "SimAOU.select": lambda m: (probes.sim_aou(*OUTPUTS).select, (m(MASK),), {}),
    "SimAM.select": lambda m: (probes.sim_am(SCORES[0], SCORES[1], COLUMNS).select, (m(OWN),), {}),
    "NullSimilarity.select": lambda m: (
        probes.permuted_pairs(*OUTPUTS, partner=PARTNER).select,
        (m(MASK),),
        {},
    ),
    "SimAMMeans.join": lambda m: (
        probes.SimAMMeans.join,
        ([probes.sim_am(SCORES[0], SCORES[1], COLUMNS).means()], m(torch.tensor([2, 1, 0]))),
        {},
    ),
    "NullMeans.join": lambda m: (
        probes.NullMeans.join,
        ([probes.permuted_pairs(*OUTPUTS, partner=PARTNER).means()], m(torch.tensor([2, 1, 0]))),
        {},
    ),
    "ImplicitUpdates.on": lambda m: (updates(m).on, (m(WEIGHTS[2][:N]),), {}),
    "ImplicitUpdates.select": lambda m: (updates(m).select, (m(OWN),), {}),
    "TopTokens.select": lambda m: (tops(lambda tensor: tensor)[0].select, (m(OWN),), {}),
    "OrderMoments.update": lambda m: (lambda: moments(m).squared_deviations, (), {}),
    "GradientNormRecorder.observe": lambda m: (lambda: norms(m), (), {}),
}
EVERY = FUNCTIONS | METHODS


def is_same(first: Any, second: Any) -> bool:
    """Whether two results are the same to the last bit, NaN for NaN."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        return first.dtype == second.dtype and torch.equal(first.nan_to_num(7.0), second.nan_to_num(7.0))
    if dataclasses.is_dataclass(first):
        names = [field.name for field in dataclasses.fields(first)]
        return all(is_same(getattr(first, name), getattr(second, name)) for name in names)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(is_same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(is_same(first[key], second[key]) for key in first)
    if isinstance(first, torch.nn.Module):
        return all(map(is_same, first.state_dict().values(), second.state_dict().values()))
    if isinstance(first, float) and math.isnan(first):
        return math.isnan(second)
    return bool(first == second)


def public(kind: Callable[[Any], bool]) -> dict[str, Any]:
    return {name: getattr(probes, name) for name in probes.__all__ if kind(getattr(probes, name))}


def methods(owner: type) -> dict[str, Any]:
    found = inspect.getmembers(owner, inspect.isfunction)
    return {name: method for name, method in found if not name.startswith("_")}


def asked() -> dict[str, Any]:
    """Every public function, and every public method of a public class."""
    found = dict(public(inspect.isfunction))
    for name, owner in public(inspect.isclass).items():
        found |= {f"{name}.{method}": function for method, function in methods(owner).items()}
    return found


def takes_arrays(name: str) -> bool:
    return "ArrayLike" in str(inspect.signature(asked()[name]))


def test_every_public_function_is_tried() -> None:
    assert FUNCTIONS.keys() == public(inspect.isfunction).keys()


def test_no_public_function_or_method_asks_for_tensors_alone() -> None:
    alone = [
        f"{name}({argument})"
        for name, function in asked().items()
        for argument, hint in typing.get_type_hints(function).items()
        if argument != "return" and Tensor in (hint, *typing.get_args(hint)) and "ndarray" not in str(hint)
    ]
    assert not alone
    assert {name for name in asked() if takes_arrays(name)} <= EVERY.keys()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EVERY)
def test_arrays_of_any_kind_give_what_tensors_give(name: str, form: str) -> None:
    call, arguments, options = EVERY[name](lambda tensor: tensor)
    expected = call(*arguments, **options)
    call, arguments, options = EVERY[name](FORMS[form])
    assert is_same(call(*arguments, **options), expected)


@pytest.mark.parametrize("name", [name for name in EVERY if takes_arrays(name) and name != "mean_and_std"])
def test_what_is_no_array_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(
        TypeError, match=r"expected a tensor, a NumPy array or anything with __dlpack__, got a list"
    ):
        call, arguments, options = EVERY[name](lambda tensor: tensor.tolist())
        call(*arguments, **options)


# as_tensor


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]
)
def test_the_dtype_is_kept(dtype: Any) -> None:
    array = np.array([[0, 1], [1, 1]]).astype(dtype)
    tensor = as_tensor(array)
    assert str(tensor.dtype).removeprefix("torch.") == np.dtype(dtype).name
    assert np.array_equal(tensor.numpy(), array)


def test_half_precisions_of_other_libraries_are_kept() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        assert as_tensor(Foreign(torch.ones(2, dtype=dtype))).dtype == dtype


def test_memory_is_shared_where_it_can_be_and_never_written_to_where_it_cannot() -> None:
    array = np.zeros(3)
    as_tensor(array)[0] = 1.0
    assert array[0] == 1.0
    fixed = read_only(torch.zeros(3))
    as_tensor(fixed)[0] = 1.0
    assert fixed[0] == 0.0
    tensor = torch.zeros(3)
    assert as_tensor(tensor) is tensor
    assert as_tensor(Foreign(tensor)).data_ptr() == tensor.data_ptr()


def test_a_scalar_of_numpy_is_a_tensor_without_axes() -> None:
    scalar: Any = np.float32(2.5)
    assert as_tensor(scalar).shape == ()


class Refusing(Foreign):
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("its memory is elsewhere")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([1.0, 2.0], "got a list: give numpy.asarray"),
        ("text", "got a str"),
        (np.array(["a", "b"]), "torch cannot take a numpy.ndarray of <U1"),
        (np.array([None, 1], dtype=object), "torch cannot take a numpy.ndarray of object"),
        (Refusing(torch.zeros(2)), "its memory is elsewhere"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_the_refusal_names_what_was_given(given: Any, told: str) -> None:
    with pytest.raises(TypeError) as raised:
        as_tensor(given)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
