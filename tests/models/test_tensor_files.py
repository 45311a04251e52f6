"""Opening checkpoints from disk: what is stored comes back bit for bit, and what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stored_models
import tiny_families
import torch
from model_snapshot import same_bits
from safetensors.torch import save_file

from iclprobe.errors import UserError
from iclprobe.models.loading import load_model
from iclprobe.models.tensor_files import open_tensors

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def stored(form: str, folder: Path, name: str = "llama") -> Path:
    stored_models.FORMS[form](tiny_families.build(name), folder)
    return folder


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def with_header(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_shape_comes_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    drawn = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * 10
    tensors = {
        "matrix": drawn.to(dtype),
        "scalar": drawn[0, 0].clone().to(dtype),
        "empty": torch.empty(0, 4, dtype=dtype),
    }
    save_file(tensors, tmp_path / "some.safetensors")
    with open_tensors(tmp_path / "some.safetensors") as source:
        assert sorted(source.names) == sorted(tensors)
        for name, tensor in tensors.items():
            assert source.stored(name).shape == tuple(tensor.shape)
            assert source.stored(name).dtype == dtype
            found = source.read(name)
            assert found.shape == tensor.shape
            assert same_bits(found.flatten(), tensor.flatten())


@pytest.mark.parametrize("form", list(stored_models.FORMS))
def test_every_form_of_storage_lists_and_reads_the_model(form: str, tmp_path: Path) -> None:
    model = tiny_families.build("llama")
    with open_tensors(stored(form, tmp_path)) as source:
        assert set(source.names) == set(model.state_dict())
        assert source.config is not None and source.label == str(tmp_path)
        for name, tensor in model.state_dict().items():
            assert source.stored(name).shape == tuple(tensor.shape)
            assert torch.equal(source.read(name), tensor)


@pytest.mark.parametrize(
    ("form", "file"),
    [
        ("single_file", "model.safetensors"),
        ("sharded", "model.safetensors.index.json"),
        ("pickled", "pytorch_model.bin"),
        ("pickled_shards", "pytorch_model.bin.index.json"),
    ],
)
def test_a_file_counts_the_configuration_beside_it_as_its_own(form: str, file: str, tmp_path: Path) -> None:
    with open_tensors(stored(form, tmp_path) / file) as source:
        assert isinstance(source.config, dict) and source.config["model_type"] == "llama"
        assert "model.norm.weight" in source.names
    (tmp_path / "config.json").unlink()
    with open_tensors(str(tmp_path / file)) as source:
        assert source.config is None


def test_safetensors_are_preferred_to_pickles(tmp_path: Path) -> None:
    (stored("single_file", tmp_path) / "pytorch_model.bin").write_bytes(b"not to be touched")
    with open_tensors(tmp_path) as source:
        assert len(source.names) == len(tiny_families.build("llama").state_dict())


def test_a_live_models_tensors_are_its_own(tmp_path: Path) -> None:
    model = tiny_families.build("llama")
    for place in (model, load_model(model)):
        with open_tensors(place) as source:
            assert source.config is model.config
            found = source.read("model.norm.weight")
            assert found.data_ptr() == model.get_parameter("model.norm.weight").data_ptr()


def test_an_offloaded_weight_of_a_live_model_is_refused() -> None:
    with (
        open_tensors(torch.nn.Linear(2, 2, device="meta")) as source,
        pytest.raises(UserError, match="offloaded"),
    ):
        source.read("weight")


def test_a_tensor_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        open_tensors(stored("single_file", tmp_path)) as source,
        pytest.raises(UserError, match="no tensor 'x'"),
    ):
        source.read("x")


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_wrapped_state_dict_is_unwrapped(wrapper: str, tmp_path: Path) -> None:
    tensor = torch.randn(2, 3)
    torch.save({"epoch": 3, wrapper: {"w": torch.nn.Parameter(tensor)}}, tmp_path / "last.pt")
    with open_tensors(tmp_path / "last.pt") as source:
        assert source.names == ("w",)
        assert torch.equal(source.read("w"), tensor)


WEIGHTS = {"layers.0.w": torch.ones(2, 3), "layers.0.b": torch.ones(2)}
OTHERS = {"layers.0.w": torch.zeros(2, 3), "layers.0.b": torch.zeros(2)}
MOMENTS = {"exp_avg": torch.ones(2, 3), "exp_avg_sq": torch.ones(2, 3), "step": torch.tensor(3.0)}
WRAPPED: dict[str, Any] = {
    "a best loss": {"model": WEIGHTS, "iter_num": 5, "best_val_loss": torch.tensor(1.5)},
    "a random state": {"model_state_dict": WEIGHTS, "rng": torch.get_rng_state()},
    "an optimizer": {"state": WEIGHTS, "optimizer": {"state": {0: MOMENTS}, "param_groups": [{"lr": 0.1}]}},
    "an optimizer by names": {"model": WEIGHTS, "optim": {"state": dict.fromkeys(WEIGHTS, MOMENTS)}},
    "engine": {
        "module": WEIGHTS,
        "buffer_names": [],
        "global_steps": 3,
        "rng": {"cpu": torch.get_rng_state()},
    },
    "a trainer": {
        "state_dict": WEIGHTS,
        "epoch": 1,
        "global_step": torch.tensor(7),
        "loops": {"fit": {"n": 1}},
    },
    "two levels": {"checkpoint": {"model": WEIGHTS, "loss": torch.tensor(1.0)}, "args": {"lr": 0.1}},
    "an unknown name": {"my_language_model": WEIGHTS, "losses": torch.ones(4)},
    "a critic": {"model": WEIGHTS, "critic": {"head.weight": torch.ones(3), "head.bias": torch.ones(1)}},
    "nothing": WEIGHTS,
}


@pytest.mark.parametrize("beside", list(WRAPPED))
def test_weights_are_found_beside_whatever_training_keeps_with_them(beside: str, tmp_path: Path) -> None:
    torch.save(WRAPPED[beside], tmp_path / "last.pt")
    with open_tensors(tmp_path / "last.pt") as source:
        assert source.names == tuple(WEIGHTS)
        assert all(torch.equal(source.read(name), tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ({"model": WEIGHTS, "ema": OTHERS}, "model, ema"),
        ({"model": WEIGHTS, "ema": {"module": OTHERS}}, "model, ema.module"),
        (
            {"state_dict": WEIGHTS, "ema": {f"module.{name}": value for name, value in OTHERS.items()}},
            "state_dict, ema",
        ),
        ({"state_dict": WEIGHTS, "model": OTHERS}, "state_dict, model"),
        ({"student": WEIGHTS, "teacher": {"blocks.0.w": torch.ones(2)}}, "student, teacher"),
        (WEIGHTS | {"ema": OTHERS}, "the top, ema"),
    ],
)
def test_weights_of_several_models_in_one_pickle_are_asked_for(
    content: Any, places: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(
        UserError, match=rf"holds 2 mappings of weights, at {places}: save the one that is meant"
    ):
        open_tensors(tmp_path / "last.pt")


def test_an_optimizer_by_itself_holds_no_weights(tmp_path: Path) -> None:
    torch.save({"state": {0: MOMENTS}, "param_groups": []}, tmp_path / "optimizer.pt")
    with pytest.raises(UserError, match="holds no tensors by name"):
        open_tensors(tmp_path / "optimizer.pt")


# What is damaged


def test_only_the_shards_that_are_needed_must_be_there(tmp_path: Path) -> None:
    index = json.loads((stored("sharded", tmp_path) / "model.safetensors.index.json").read_text())
    lost = index["weight_map"]["model.norm.weight"]
    (tmp_path / lost).unlink()
    with open_tensors(tmp_path) as source:
        for name, shard in index["weight_map"].items():
            if shard != lost:
                source.read(name)
        with pytest.raises(
            UserError, match=rf"lacks the shard {lost}, which model\.safetensors\.index\.json lists"
        ):
            source.stored("model.norm.weight")


def test_an_index_that_belongs_to_other_shards_is_named(tmp_path: Path) -> None:
    path = stored("sharded", tmp_path) / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    shard = index["weight_map"]["model.norm.weight"]
    index["weight_map"]["model.other.weight"] = shard
    path.write_text(json.dumps(index))
    with (
        open_tensors(tmp_path) as source,
        pytest.raises(UserError, match=f"{shard} holds model.other.weight"),
    ):
        source.read("model.other.weight")


@pytest.mark.parametrize("content", [b"{", b"[1]", b"{}", b'{"weight_map": {}}', b'{"weight_map": 3}'])
def test_a_damaged_index_is_named(content: bytes, tmp_path: Path) -> None:
    (stored("sharded", tmp_path) / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json of .* is damaged"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe\x00"])
def test_a_damaged_configuration_is_named(content: bytes, tmp_path: Path) -> None:
    (stored("single_file", tmp_path) / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json of .* is damaged"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("lost", [1, 1000, "into the header", "but four bytes", "everything"])
def test_a_truncated_file_is_named_before_anything_is_read(lost: int | str, tmp_path: Path) -> None:
    path = stored("single_file", tmp_path) / "model.safetensors"
    size = path.stat().st_size
    end = (
        {"into the header": 100, "but four bytes": 4, "everything": 0}.get(lost)
        if isinstance(lost, str)
        else size - lost
    )
    with pytest.raises(UserError, match=rf"'{path}' is truncated: it ends after {end} of \d+ bytes"):
        open_tensors(cut(path, int(end or 0)))


def test_a_file_that_shrinks_after_it_was_opened_is_named(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1000)}, tmp_path / "some.safetensors")
    with open_tensors(tmp_path / "some.safetensors") as source:
        with (tmp_path / "some.safetensors").open("r+b") as file:
            file.truncate(500)
        with pytest.raises(UserError, match="is truncated: it ends after 500 of"):
            source.read("w")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"<!DOCTYPE html>", "no JSON"),
        (b"[]", "lists no tensors"),
        (b'{"w": {"dtype": "F32", "shape": [2]}}', "entry for w is incomplete"),
        (b'{"w": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 8]}}', "entry for w is incomplete"),
        (b'{"w": 3}', "entry for w is incomplete"),
        (b'{"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}', "bytes of w do not fit its shape"),
        (b'{"w": {"dtype": "F4", "shape": [3], "data_offsets": [8, 0]}}', "bytes of w do not fit its shape"),
    ],
)
def test_a_corrupt_header_is_named(header: bytes, reason: str, tmp_path: Path) -> None:
    path = with_header(tmp_path / "some.safetensors", header, bytes(8))
    with pytest.raises(UserError, match=rf"'{path}' has a damaged safetensors header \(.*{reason}"):
        open_tensors(path)


def test_a_header_of_impossible_length_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match=r"damaged safetensors header \(it claims 1152921504606846976 bytes"):
        open_tensors(path)


def test_an_lfs_pointer_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UserError, match=r"is a Git LFS pointer and no weights: .* git lfs pull"):
        open_tensors(path)


def test_what_a_pickle_asks_for_besides_weights_is_named(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2), "path": _Trap(tmp_path / "mark")}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"as pickled weights \(it asks for \w+\)") as caught:
        open_tensors(tmp_path / "last.pt")
    assert len(str(caught.value)) - len(str(tmp_path)) < 300


def test_a_dtype_that_torch_does_not_have_is_told_when_it_is_read(tmp_path: Path) -> None:
    header = b'{"w": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}'
    with open_tensors(with_header(tmp_path / "some.safetensors", header, bytes(2))) as source:
        assert source.stored("w").dtype == "F4"
        with pytest.raises(UserError, match=r"w of .* is stored as F4, which torch does not have"):
            source.read("w")


class _Trap:
    """What an attacker would pickle."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("archive", [True, False])
def test_code_in_a_pickle_does_not_run(archive: bool, tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    torch.save({"w": _Trap(mark)}, tmp_path / "evil.bin", _use_new_zipfile_serialization=archive)
    with pytest.raises(
        UserError, match=r"cannot read '.*evil\.bin' as pickled weights .* holds more than weights"
    ):
        open_tensors(tmp_path / "evil.bin")
    assert not mark.exists()
    torch.load(tmp_path / "evil.bin", weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("form", ["pickled", "pickled_before_archives"])
@pytest.mark.parametrize("size", [0, 10, 1000, 20000])
def test_a_truncated_pickle_is_named(form: str, size: int, tmp_path: Path) -> None:
    cut(stored(form, tmp_path) / "pytorch_model.bin", size)
    with pytest.raises(UserError, match=r"cannot read '.*pytorch_model\.bin' as pickled weights .*truncated"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("content", [3, [torch.zeros(2)], {"step": 3}])
def test_a_pickle_without_named_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match="holds no tensors by name"):
        open_tensors(tmp_path / "other.pt")


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds no weights: expected model\.safetensors or .* or pytorch_model\.bin"
    ):
        open_tensors(tmp_path)
    with pytest.raises(UserError, match=r"there is no '.*nowhere/at/all'"):
        open_tensors(tmp_path / "nowhere" / "at" / "all")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"'.*notes\.txt' is no file of weights"):
        open_tensors(tmp_path / "notes.txt")


def test_an_adapter_is_no_checkpoint(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match="holds no weights"):
        open_tensors(tmp_path)


def test_a_directory_has_no_revisions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no revisions, but 'step3' was asked for"):
        open_tensors(stored("single_file", tmp_path), revision="step3")
