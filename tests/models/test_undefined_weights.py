"""Weights that are no numbers, and what memory does not hold, are told by name and not run."""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from damaged_models import RETYPED_ADAPTER, TO_A_FILE, edit
from made_adapters import change_tensors, logits, write_adapter
from safetensors.torch import load_file, save_file

from iclprobe.errors import UserError, lacks_memory
from iclprobe.models.devices import choose_device
from iclprobe.models.loading import load_model
from iclprobe.models.undefined_entries import all_finite, undefined_entries

NORM = "model.norm.weight"
QUERY = "model.layers.1.self_attn.q_proj.weight"


def test_undefined_entries_are_told_from_large_ones() -> None:
    large = torch.full((2, 3), 3e38)
    assert undefined_entries(large) == undefined_entries(-large) == 0
    for value, count in ((math.inf, 1), (-math.inf, 2), (math.nan, 3)):
        large.view(-1)[count] = value
        assert undefined_entries(large) == count
    alone = torch.tensor([-math.inf, 0.0])
    assert undefined_entries(alone) == undefined_entries(-alone) == 1
    assert undefined_entries(torch.tensor([[0.5, -4.0]]).to(torch.float8_e4m3fn)) == 0
    assert undefined_entries(torch.tensor([[0.5, math.nan]]).to(torch.float8_e4m3fn)) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_one_entry_that_is_no_number_is_found_and_the_largest_number_is_one(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    beside = [torch.zeros(3), torch.zeros(0), torch.tensor(1.0)]
    for value in (math.nan, math.inf, -math.inf, largest, -largest):
        tensor = torch.zeros(70, 31, dtype=dtype)
        tensor[69, 17] = value
        assert all_finite([*beside, tensor]) == all_finite([tensor.T]) == math.isfinite(value)
    assert all_finite([]) and all_finite([torch.zeros(0, dtype=dtype)])


def changed(checkpoint: Path, folder: Path, name: str, value: float, count: int) -> Path:
    shutil.copytree(checkpoint, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[:count] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [NORM, QUERY])
def test_undefined_weights_are_named_and_counted(
    name: str, value: float, checkpoint: Path, tmp_path: Path
) -> None:
    folder = changed(checkpoint, tmp_path / "m", name, value, 3)
    with pytest.raises(UserError, match=rf"^3 of the \d+ entries of {name} in .* are NaN or infinite"):
        load_model(folder)


def test_what_a_smaller_dtype_cannot_hold_is_named_with_it(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "m", NORM, 1e6, 1)
    assert load_model(folder).n_layers == 3
    with pytest.raises(UserError, match=rf"1 of the 32 entries of {NORM} .* infinite as float16"):
        load_model(folder, dtype="float16")


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig

    folder = tmp_path_factory.mktemp("adapter") / "whole"
    return write_adapter(folder, load_model(checkpoint).module, LoraConfig(r=2, target_modules=["q_proj"]))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_damaged_file_of_an_adapter_is_refused_or_changes_nothing(
    file: str, checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    whole = logits(load_model(checkpoint, adapter=adapter).module, [3, 4, 5])
    for number, do in enumerate(TO_A_FILE.values()):
        folder = tmp_path / str(number) / "a"
        shutil.copytree(adapter, folder)
        do(folder / file)
        try:
            merged = load_model(checkpoint, adapter=folder)
        except UserError as error:
            assert len(str(error).replace(str(folder), "")) <= 300
        else:
            assert torch.equal(logits(merged.module, [3, 4, 5]), whole)


@pytest.mark.parametrize(("key", "value"), RETYPED_ADAPTER)
def test_a_damaged_setting_of_an_adapter_is_refused(
    key: str, value: object, checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    shutil.copytree(adapter, folder)
    edit(folder / "adapter_config.json", **{key: value})
    with pytest.raises(UserError):
        load_model(checkpoint, adapter=folder)


def test_an_adapter_of_no_numbers_is_named(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
    for place, value in enumerate((torch.full((2, 32), math.nan), torch.ones(2, 32, dtype=torch.int32))):
        folder = tmp_path / str(place)
        shutil.copytree(adapter, folder)
        change_tensors(folder, lambda tensors, value=value: {**tensors, name: value})
        with pytest.raises(UserError, match=r"layers\.1\.self_attn\.q_proj\.lora_A\.weight"):
            load_model(checkpoint, adapter=folder)


@pytest.mark.parametrize("name", ["foo", "cuda:99", "cuda:-1", "meta", "vulkan", "hpu", "x" * 500])
def test_a_device_that_is_not_here_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match="device") as caught:
        choose_device(name)
    assert len(str(caught.value)) <= 300


def test_a_lack_of_memory_is_known_in_every_form() -> None:
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
        ),
        RuntimeError("unable to mmap 4295031876 bytes from file <a>: Cannot allocate memory (12)"),
        OSError(12, "Cannot allocate memory"),
    ):
        assert lacks_memory(error)
    assert not lacks_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not lacks_memory(ValueError("out of memory lane"))


_LIMITED = """
import resource, sys
from pathlib import Path
import torch, transformers
from iclprobe.cli import main
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**30, now + 2**30))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("command", ["check", "sparsity"])
def test_a_model_larger_than_memory_is_one_sentence(command: str, checkpoint: Path, tmp_path: Path) -> None:
    """Four gigabytes of zeros that take no room on disk, in a process that may have one more."""
    folder = tmp_path / "m"
    shutil.copytree(checkpoint, folder)
    raw = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header, end, times = json.loads(raw[8 : 8 + size]), 0, 2**19
    header.pop("__metadata__")
    large = ("embed_tokens", "lm_head") if command == "check" else ("q_proj", "k_proj", "v_proj")
    for name, entry in header.items():
        if any(part in name for part in large):
            entry["shape"][0] *= times
        entry["data_offsets"] = [end, end + 4 * math.prod(entry["shape"])]
        end = entry["data_offsets"][1]
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    held = json.loads((folder / "config.json").read_text())
    key = "vocab_size" if command == "check" else "head_dim"
    edit(folder / "config.json", **{key: held[key] * times})
    argv = [sys.executable, "-c", _LIMITED, command, str(folder)]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    assert found.returncode == 2, found.stderr
    assert "not enough memory" in found.stderr and "Traceback" not in found.stderr
