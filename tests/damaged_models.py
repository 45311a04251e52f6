"""Two small models on disk, and every way in which one of their files can be damaged."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from stored_models import pickled
from tiny_checkpoint import WORDS, write_checkpoint
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
PICKLE = "pytorch_model.bin"
OUTSIDE = "outside.safetensors"
"""A file of tensors beside the model's folder, which no model may name."""


@dataclass(frozen=True)
class Damage:
    """One thing done to the folder of a model.

    Attributes:
        name: What is done.
        model: Which model it is done to, `llama` or `gpt2`.
        do: Does it.
        another: Why what is left is a sound input that is not the undamaged one, where it is; it may then have other
            numbers.
        told: What the refusal has to name, if it matters.
    """

    name: str
    model: str
    do: Callable[[Path], Any]
    another: str = ""
    told: str = ""


def write_llama(folder: Path) -> Path:
    """A Llama in two shards, with a tokenizer that knows how a chat is written."""
    write_checkpoint(folder, layers=2, chat=True)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = dict(zip(SHARDS, (names[: len(names) // 2], names[len(names) // 2 :]), strict=True))
    for shard, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / shard, metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    where = {name: shard for shard, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))
    return folder


def write_gpt2(folder: Path) -> Path:
    """A GPT-2 in a pickle, with byte pairs in `vocab.json` and `merges.txt` beside its `tokenizer.json`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    pairs: Any = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    pairs.train_from_iterator([WORDS] * 4, trainer)
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pairs, bos_token=end, eos_token=end, unk_token=end)
    size = len(tokenizer)
    config = GPT2Config(
        vocab_size=size, n_positions=256, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    folder.mkdir(parents=True)
    pickled(model, folder)
    tokenizer.save_pretrained(folder)
    pairs.model.save(str(folder))
    return folder


WRITERS = {"llama": write_llama, "gpt2": write_gpt2}
FILES = {
    "llama": (
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("chat_template.jinja", INDEX, *SHARDS),
    ),
    "gpt2": ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", PICKLE),
}


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop(path: Path, *keys: str) -> None:
    held = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in held.items() if key not in keys}))


def _cut(share: float, less: int = 0) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        raw = path.read_bytes()
        path.write_bytes(raw[: max(0, int(len(raw) * share) - less)])

    return do


def _replaced(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        path.unlink()
        make(path)

    return do


def _linked_outside(path: Path) -> None:
    shutil.move(path, path.parent.parent / f"linked-{path.name}")
    path.symlink_to(path.parent.parent / f"linked-{path.name}")


def _fifo(path: Path) -> None:
    import os

    os.mkfifo(path)


TO_A_FILE: dict[str, Callable[[Path], Any]] = {
    "emptied": _cut(0),
    "one byte": lambda path: path.write_bytes(path.read_bytes()[:1]),
    "a tenth": _cut(0.1),
    "half": _cut(0.5),
    "all but its end": _cut(1, 3),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a pointer": lambda path: path.write_text(POINTER),
    "a web page": lambda path: path.write_text("<!DOCTYPE html><html><body>not found</body></html>"),
    "bytes that are no text": lambda path: path.write_bytes(b"\xff\xfe\x00\x01" * 40),
    "removed": lambda path: path.unlink(),
    "renamed": lambda path: path.rename(f"{path}.incomplete"),
    "a directory": _replaced(lambda path: path.mkdir()),
    "a link out of the folder": _linked_outside,
    "a link to nothing": _replaced(lambda path: path.symlink_to("/nowhere/at/all")),
    "a link to itself": _replaced(lambda path: path.symlink_to(path.name)),
    "a pipe": _replaced(_fifo),
    "an endless device": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "an empty device": _replaced(lambda path: path.symlink_to("/dev/null")),
    "a terminal": _replaced(lambda path: path.symlink_to("/dev/tty")),
}

RETYPED_ADAPTER: tuple[tuple[str, Any], ...] = (
    *(("peft_type", value) for value in (None, "later", ["LORA"], {"a": 1}, 3)),
    *(("use_rslora", value) for value in ("yes", 1, [1], {"a": 1})),
    *(("r", value) for value in (None, "two", 0, -1, 3, True, 10**9)),
    *(("lora_alpha", value) for value in (None, "two", [1], True)),
    *(("target_modules", value) for value in ("later", ["later"], [], 3)),
)
"""Entries of an `adapter_config.json` as everything that they are not."""

_NOT_READ = "without this file the model is whole, and what it settled has a default"
_TEMPLATE_ONLY = "the text of a chat is no part of a plain prompt"
ANOTHER_FILE: dict[tuple[str, str], str] = {
    ("tokenizer_config.json", "removed"): _NOT_READ,
    ("tokenizer_config.json", "renamed"): _NOT_READ,
    ("tokenizer.json", "removed"): "the tokenizer is made of vocab.json and merges.txt",
    ("tokenizer.json", "renamed"): "the tokenizer is made of vocab.json and merges.txt",
}


def _damaged_files() -> Iterator[Damage]:
    for model, files in FILES.items():
        for file in files:
            for name, do in TO_A_FILE.items():
                another = ANOTHER_FILE.get((file, name), "")
                yield Damage(f"{file}: {name}", model, _at(file, do), another)


def _at(file: str, do: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: do(folder / file)


def change_tensors(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], shard: str = SHARDS[1]
) -> None:
    """Change the tensors of a shard of the Llama, or of the GPT-2's pickle, in place."""
    if (folder / PICKLE).exists():
        tensors = torch.load(folder / PICKLE, weights_only=True)
        change(tensors)
        torch.save(tensors, folder / PICKLE)
        return
    tensors = load_file(folder / shard)
    change(tensors)
    save_file(tensors, folder / shard, metadata={"format": "pt"})
    index = json.loads((folder / INDEX).read_text())
    kept = {name: place for name, place in index["weight_map"].items() if place != shard}
    edit(folder / INDEX, weight_map=kept | dict.fromkeys(tensors, shard))


WEIGHT = {"llama": "model.layers.1.self_attn.k_proj.weight", "gpt2": "transformer.h.1.attn.c_attn.weight"}


def _put(name: str, value: float, *places: int) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[list(places)] = value

    return change


def _renamed(name: str, new: str) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda tensors: tensors.update({new: tensors.pop(name)})


def _made(
    name: str, make: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda tensors: tensors.update({name: make(tensors[name]).contiguous()})


def _damaged_tensors() -> Iterator[Damage]:
    nan, inf = float("nan"), float("inf")
    for model, name in WEIGHT.items():
        beside = {"llama": "model.norm.weight", "gpt2": "transformer.ln_f.weight"}[model]
        half = name.replace("1", "0", 1)
        changes: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
            "NaN": (_put(name, nan, 3), name),
            "two infinite entries": (_put(name, inf, 3, 40), name),
            "a NaN beside attention": (_put(beside, nan, 0), ""),
            "renamed": (_renamed(name, f"{name}s"), ""),
            "of another layer": (_renamed(name, name.replace("1", "7", 1)), ""),
            "of a layer that is there": (_renamed(beside, half), ""),
            "transposed": (_made(name, lambda t: t.T), ""),
            "a row less": (_made(name, lambda t: t[:-1]), ""),
            "one dimension": (_made(name, lambda t: t.reshape(-1)), ""),
            "a number": (_made(name, lambda t: t[0, 0]), ""),
            "empty": (_made(name, lambda t: t[:0]), ""),
            "integers": (_made(name, lambda t: t.to(torch.int8)), name),
            "booleans": (_made(name, lambda t: t > 0), name),
            "complex": (_made(name, lambda t: t.to(torch.complex64)), name),
            "8 bits": (_made(name, lambda t: t.to(torch.float8_e4m3fn)), name),
            "dropped": (lambda tensors, name=name: tensors.pop(name), ""),
            "one too many": (lambda tensors, beside=beside: tensors.update(more=tensors[beside].clone()), ""),
            "none": (lambda tensors: tensors.clear(), ""),
        }
        for what, (change, told) in changes.items():
            # Lambdas of a loop see its last round otherwise.
            yield Damage(
                f"tensor: {what}",
                model,
                lambda folder, change=change: change_tensors(folder, change),
                told=told,
            )
        yield Damage(
            "tensor: in half precision",
            model,
            lambda folder, name=name: change_tensors(folder, _made(name, torch.Tensor.half)),
            another="a weight rounded to half precision is a weight",
        )


def rewrite_header(
    folder: Path, change: Callable[[bytes], bytes], length: int | None = None, shard: str = SHARDS[1]
) -> None:
    """Change the header of a shard as text; its length is told truly unless another is given."""
    raw = (folder / shard).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = change(raw[8 : 8 + size])
    told = len(header) if length is None else length
    (folder / shard).write_bytes(struct.pack("<Q", told) + header + raw[8 + size :])


def _header_entry(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def rewrite(raw: bytes) -> bytes:
        header = json.loads(raw)
        change(header)
        return json.dumps(header).encode()

    return rewrite


def _damaged_headers() -> Iterator[Damage]:
    name = WEIGHT["llama"]
    twice = b'{"' + name.encode() + b'":{"dtype":"F32","shape":[16,32],"data_offsets":[0,2048]},'
    texts: dict[str, Callable[[bytes], bytes]] = {
        "a name twice": lambda raw: twice + raw[1:],
        "the same entry twice": lambda raw: raw.rstrip()[:-1] + b"," + raw.rstrip()[1:],
        "no JSON": lambda raw: raw[:-2],
        "a list": lambda raw: b"[]",
        "deep": lambda raw: b"[" * 100_000,
        "an integer of many digits": lambda raw: raw.replace(b"[16,32]", b"[1" + b"6" * 5000 + b",32]", 1),
        "no text": lambda raw: b"\xff" * len(raw),
    }
    entries: dict[str, Callable[[dict[str, Any]], Any]] = {
        "an entry that is a list": lambda h: h.update({name: []}),
        "no shape": lambda h: h[name].pop("shape"),
        "a shape of words": lambda h: h[name].update(shape=["a", 2]),
        "a negative shape": lambda h: h[name].update(shape=[-16, -32]),
        "a huge shape": lambda h: h[name].update(shape=[2**40, 2**40]),
        "the shape turned": lambda h: h[name].update(shape=h[name]["shape"][::-1]),
        "offsets past the end": lambda h: h[name].update(
            data_offsets=[each + 10**9 for each in h[name]["data_offsets"]]
        ),
        "offsets that overlap": lambda h: h[name].update(
            data_offsets=[each - 4 for each in h[name]["data_offsets"]]
        ),
        "offsets of floats": lambda h: h[name].update(data_offsets=[0.5, 2048.5]),
        "a dtype that is none": lambda h: h[name].update(dtype="F99"),
        "a dtype of half the width": lambda h: h[name].update(dtype="F16"),
        "integers of the same width": lambda h: h[name].update(dtype="I32"),
        "an empty name": lambda h: h.update({"": h.pop(name)}),
        "a name with control characters": lambda h: h.update({f"{name}\n\x1b[31m": h.pop(name)}),
        "a very long name": lambda h: h.update({name * 200: h.pop(name)}),
        "metadata that is a list": lambda h: h.update(__metadata__=[1]),
        "metadata of another format": lambda h: h.update(__metadata__={"format": "tf"}),
    }
    for what, change in texts.items():
        yield Damage(f"header: {what}", "llama", lambda d, change=change: rewrite_header(d, change))
    for what, change in entries.items():
        yield Damage(f"header: {what}", "llama", lambda d, c=change: rewrite_header(d, _header_entry(c)))
    for what, length in {
        "no length": 0,
        "a length of one": 1,
        "a length past the end": 10**7,
        "a huge length": 2**63 + 5,
        "all bits": 2**64 - 1,
        "the limit of the format": 100_000_000,
    }.items():
        yield Damage(
            f"header: {what}", "llama", lambda d, length=length: rewrite_header(d, lambda raw: raw, length)
        )


def _map(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        change(index)
        (folder / INDEX).write_text(json.dumps(index))

    return do


def _shard_at(path: str) -> Callable[[Path], None]:
    """Name the second shard by a path that leads out of the folder to a good copy of it."""

    def do(folder: Path) -> None:
        outside = folder.parent / OUTSIDE
        shutil.move(folder / SHARDS[1], outside)
        where = path.format(outside=outside, folder=folder.name)
        index = json.loads((folder / INDEX).read_text())
        names = {name: where if shard == SHARDS[1] else shard for name, shard in index["weight_map"].items()}
        edit(folder / INDEX, weight_map=names)

    return do


def _damaged_indices() -> Iterator[Damage]:
    name = WEIGHT["llama"]
    for what, change in {
        "no shard of that name": lambda i: i["weight_map"].update({name: "no.safetensors"}),
        "the other shard": lambda i: i["weight_map"].update({name: SHARDS[0]}),
        "a shard that is a number": lambda i: i["weight_map"].update({name: 3}),
        "a shard that is nothing": lambda i: i["weight_map"].update({name: None}),
        "a shard that is a list": lambda i: i["weight_map"].update({name: [SHARDS[1]]}),
        "a shard without a name": lambda i: i["weight_map"].update({name: ""}),
        "a shard that is the folder": lambda i: i["weight_map"].update({name: "."}),
        "a shard that is the configuration": lambda i: i["weight_map"].update({name: "config.json"}),
        "a shard with a null byte": lambda i: i["weight_map"].update({name: "a\x00.safetensors"}),
        "a shard of a very long name": lambda i: i["weight_map"].update({name: "a" * 5000 + ".safetensors"}),
        "a tensor left out": lambda i: i["weight_map"].pop(name),
        "a tensor more": lambda i: i["weight_map"].update({"model.more.weight": SHARDS[1]}),
        "no tensors": lambda i: i.update(weight_map={}),
        "tensors in a list": lambda i: i.update(weight_map=list(i["weight_map"].items())),
        "tensors that are a word": lambda i: i.update(weight_map="all"),
        "no map": lambda i: i.pop("weight_map"),
        "no metadata": lambda i: i.pop("metadata"),
        "metadata that is a list": lambda i: i.update(metadata=[]),
        "metadata that is nothing": lambda i: i.update(metadata=None),
        "a wrong size": lambda i: i["metadata"].update(total_size=7),
        "a size that is a word": lambda i: i["metadata"].update(total_size="much"),
        "a negative size": lambda i: i["metadata"].update(total_size=-1),
        "a huge size": lambda i: i["metadata"].update(total_size=10**30),
    }.items():
        yield Damage(f"index: {what}", "llama", _map(change))
    for what, path in {
        "a shard above": "../" + OUTSIDE,
        "a shard at an absolute path": "{outside}",
        "a shard by a way round": "./../{folder}/../" + OUTSIDE,
    }.items():
        yield Damage(f"index: {what}", "llama", _shard_at(path), told="outside the checkpoint")


def _damaged_pickles() -> Iterator[Damage]:
    import pickle

    class Call:
        def __reduce__(self) -> Any:
            return (print, ("ran",))

    def save(make: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
        def do(folder: Path) -> None:
            tensors = torch.load(folder / PICKLE, weights_only=True)
            torch.save(make(tensors), folder / PICKLE)

        return do

    for what, do in {
        "code": lambda d: (d / PICKLE).write_bytes(pickle.dumps(Call())),
        "code in an archive": save(lambda tensors: {**tensors, "more": Call()}),
        "a list": save(lambda tensors: list(tensors.values())),
        "a number": save(lambda tensors: 3),
        "nothing": save(lambda tensors: None),
        "no tensors": save(lambda tensors: {}),
        "numbers for names": save(lambda tensors: dict(enumerate(tensors.values()))),
        "words for tensors": save(lambda tensors: dict.fromkeys(tensors, "a")),
        "a word among tensors": save(lambda tensors: {**tensors, "note": "a"}),
        "inside another": save(lambda tensors: {"model": tensors}),
        "a damaged archive": lambda d: _scramble(d / PICKLE, 2000),
        "a damaged directory of an archive": lambda d: _scramble(d / PICKLE, -60),
        "sparse": save(lambda t: {**t, WEIGHT["gpt2"]: t[WEIGHT["gpt2"]].to_sparse()}),
        "without data": save(lambda t: {**t, WEIGHT["gpt2"]: t[WEIGHT["gpt2"]].to("meta")}),
    }.items():
        yield Damage(f"pickle: {what}", "gpt2", do)


def _scramble(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    start = place % len(raw)
    raw[start : start + 40] = bytes(255 - byte for byte in raw[start : start + 40])
    path.write_bytes(raw)


def file_damages() -> tuple[Damage, ...]:
    """Everything that is done to files, weights and the index."""
    return (
        *_damaged_files(),
        *_damaged_tensors(),
        *_damaged_headers(),
        *_damaged_indices(),
        *_damaged_pickles(),
    )
