"""A delta swaps tensors in and out, and never adds or subtracts."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_families
import torch
from model_snapshot import assert_as_it_was, fresh, same_bits, snapshot

from iclprobe.errors import UserError
from iclprobe.models.delta import Delta, delta_from_module
from iclprobe.models.loading import LanguageModel, load_model

CHANGED = ("model.layers.0.self_attn.k_proj.weight", "model.norm.weight")


def _model(name: str = "llama", dtype: torch.dtype = torch.float32) -> LanguageModel:
    return load_model(fresh(name, dtype))


def _embedding(model: LanguageModel) -> torch.Tensor:
    return model.module.get_parameter("lm_head.weight")


def _delta(model: LanguageModel, names: tuple[str, ...] = CHANGED) -> Delta:
    # So large that adding and subtracting it would lose every bit of the original.
    return Delta({name: model.module.get_parameter(name).detach() * 3e4 + 1e4 for name in names})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_applying_and_removing_restores_every_bit(dtype: torch.dtype):
    model = _model(dtype=dtype)
    delta = _delta(model)
    before = snapshot(model.module)
    with delta.applied(model):
        for name, parameter in model.module.named_parameters():
            expected = delta.tensors.get(name, before.tensors[name])
            assert same_bits(parameter.detach(), expected), name
    assert_as_it_was(model.module, before)


def test_nan_weights_come_back_too():
    model = _model()
    model.module.get_parameter(CHANGED[1]).data[0] = torch.nan
    delta = Delta({CHANGED[1]: torch.ones(32)})
    before = snapshot(model.module)
    with delta.applied(model):
        assert model.module.get_parameter(CHANGED[1]).isfinite().all()
    assert_as_it_was(model.module, before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_inside_restores_the_model(error: type[BaseException]):
    model = _model()
    before = snapshot(model.module)
    with pytest.raises(error), _delta(model).applied(model):
        raise error
    assert_as_it_was(model.module, before)
    with _delta(model).applied(model):
        pass


def test_a_delta_is_used_by_the_forward():
    model = _model()
    ids = torch.tensor([tiny_families.random_ids(9, 0)])
    twin = tiny_families.fresh("llama")
    with torch.no_grad():
        plain = model.module(ids).logits
        twin.get_parameter(CHANGED[0]).mul_(2)
        with Delta({CHANGED[0]: twin.get_parameter(CHANGED[0])}).applied(model):
            assert torch.equal(model.module(ids).logits, twin(ids).logits)
        assert torch.equal(model.module(ids).logits, plain)


def test_a_tied_parameter_changes_in_every_place():
    model = _model("gpt2")
    new = torch.ones(tiny_families.VOCABULARY, 32)
    with Delta({"transformer.wte.weight": new}).applied(model.module):
        assert torch.equal(_embedding(model), new)
    assert not torch.equal(_embedding(model), new)


def test_a_second_delta_is_refused_and_the_first_stays():
    model = _model()
    before = snapshot(model.module)
    delta = _delta(model)
    with delta.applied(model):
        with pytest.raises(UserError, match="already holds finetuned tensors"), delta.applied(model.module):
            pass
        assert same_bits(model.module.get_parameter(CHANGED[0]).detach(), delta.tensors[CHANGED[0]])
        with delta.applied(_model()):
            pass
    assert_as_it_was(model.module, before)


def test_a_delta_of_another_model_is_refused():
    model = _model()
    before = snapshot(model.module)
    wrong = [Delta({"nowhere": torch.ones(1)}), Delta({CHANGED[1]: torch.ones(3)})]
    for delta in [*wrong, Delta({CHANGED[1]: torch.ones(32, dtype=torch.float16)})]:
        with pytest.raises(UserError, match="the finetuned tensor"), delta.applied(model):
            pass
    assert_as_it_was(model.module, before)


def test_a_delta_cannot_be_changed_by_its_mapping():
    tensors = {"a": torch.ones(2, 3)}
    delta = Delta(tensors)
    tensors["b"] = torch.ones(1)
    assert (list(delta.tensors), delta.n_parameters) == (["a"], 6)
    with pytest.raises(TypeError):
        delta.tensors["b"] = torch.ones(1)  # type: ignore[index]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_delta_is_read_as_it_was_written(tmp_path: Path, dtype: torch.dtype):
    delta = _delta(_model(dtype=dtype))
    path = tmp_path / "delta.safetensors"
    delta.save(path)
    read = Delta.load(path)
    assert list(tmp_path.iterdir()) == [path]
    assert set(read.tensors) == set(delta.tensors)
    assert all(same_bits(read.tensors[name], tensor) for name, tensor in delta.tensors.items())


def test_files_that_cannot_be_written_or_read_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="cannot write"):
        Delta({"a": torch.ones(1)}).save(tmp_path / "missing" / "delta.safetensors")
    with pytest.raises(UserError, match="cannot read"):
        Delta.load(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(UserError, match="cannot read"):
        Delta.load(tmp_path / "text.safetensors")


def test_a_model_finetuned_elsewhere_gives_the_tensors_that_differ():
    base = _model()
    other = tiny_families.fresh("llama")
    with torch.no_grad():
        for name in CHANGED:
            other.get_parameter(name).add_(0.25)
    expected = {name: other.get_parameter(name).detach().clone() for name in CHANGED}
    delta = delta_from_module(base, other)
    with torch.no_grad():
        other.get_parameter(CHANGED[0]).zero_()
    assert set(delta.tensors) == set(CHANGED)
    assert all(same_bits(delta.tensors[name], tensor) for name, tensor in expected.items())
    before = snapshot(base.module)
    with delta.applied(base):
        assert torch.equal(base.module.get_parameter(CHANGED[0]), expected[CHANGED[0]])
    assert_as_it_was(base.module, before)


def test_a_model_finetuned_elsewhere_comes_in_the_dtype_of_the_base():
    base = _model(dtype=torch.bfloat16)
    other = load_model(fresh("llama", torch.bfloat16).float())
    other.module.get_parameter(CHANGED[1]).data[0] += 1
    delta = delta_from_module(base, other)
    assert {name: tensor.dtype for name, tensor in delta.tensors.items()} == {CHANGED[1]: torch.bfloat16}


def test_a_model_that_is_no_finetuned_version_of_the_base_is_refused():
    base = _model()
    for name in ("gpt2", "llama_bias"):
        with pytest.raises(UserError, match="not of the architecture"):
            delta_from_module(base, tiny_families.build(name))
    with pytest.raises(UserError, match="has the same weights"):
        delta_from_module(base, tiny_families.fresh("llama"))


def test_a_model_with_other_buffers_is_refused():
    other = tiny_families.fresh("llama")
    next(iter(other.buffers())).mul_(2)
    with pytest.raises(UserError, match=r"differs from .* in model\.rotary_emb"):
        delta_from_module(_model(), other)


def test_a_model_that_untied_its_embeddings_is_refused():
    base = _model("gpt2")
    other = fresh("gpt2")
    other.get_output_embeddings().weight = torch.nn.Parameter(torch.ones(tiny_families.VOCABULARY, 32))
    with pytest.raises(UserError, match=r"one tensor in .* and two in the finetuned model"):
        delta_from_module(base, other)
