"""GGUF files: the weights are the file's, dequantised, all of them and in their places, or the file is refused."""

from __future__ import annotations

import functools
import math
import random
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny_families
import torch
from gguf import GGMLQuantizationType as Kind
from gguf_files import TOKENS, fits, write_gguf
from made_tokenizers import word_tokenizer
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

import iclprobe
from iclprobe import cli
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.gguf_file import read_gguf
from iclprobe.models.loading import load_model, load_prompting_model
from iclprobe.models.pocket.load import pocket_path
from iclprobe.models.weights import open_projections

KINDS = [Kind.F32, Kind.F16, Kind.Q8_0, Kind.Q4_0]
SITES: Any = ("attention_output", "scores", "queries", "keys", "residual")


def built(name: str) -> PreTrainedModel:
    if name == "gpt2":
        # Of the length that transformers takes for granted.
        return drawn(GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=97)))
    if name == "gemma3":
        # Of which layers see a window only, transformers takes for granted.
        sizes: Any = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 7, "head_dim": 16}
        heads: Any = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 3}
        return drawn(Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=97, **sizes, **heads)))
    if name == "llama":
        # With groups, a width of heads of its own and another rotation than by default.
        return drawn_llama(head_dim=12, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    return tiny_families.build(name)


def drawn_llama(**changes: Any) -> PreTrainedModel:
    settings: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 97,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
    }
    return drawn(LlamaForCausalLM(LlamaConfig(**(settings | changes))))


def drawn(model: PreTrainedModel) -> PreTrainedModel:
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.2, generator=draw)
        if parameter.dim() == 1:
            # A norm of Gemma's is written with 1 added to it, which is exact for few binary digits.
            parameter.data.mul_(1024).round_().div_(1024)
    return model.eval()


@functools.lru_cache
def llama() -> PreTrainedModel:
    return built("llama")


def tolerance(values: torch.Tensor, kind: Kind) -> torch.Tensor:
    """How far an entry may be from what it was, by the definition of each type (ggml-quants.c)."""
    if kind == Kind.F32 or values.ndim != 2 or not fits(values.numpy(), kind):
        return torch.zeros_like(values)
    if kind == Kind.F16:
        return values.abs() * 2.0**-11 + 2.0**-24
    largest = values.reshape(*values.shape[:-1], -1, 32).abs().amax(-1).repeat_interleave(32, -1)
    # Half a step of 1/127 of a block's largest entry; a whole one of 1/8 of it at the far end of the scale. The
    # steps are stored in half precision.
    return largest * ((0.5 / 127 if kind == Kind.Q8_0 else 1 / 8) + 2.0**-10)


# What it holds


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3", "gpt2"])
def test_weights_are_those_that_were_written(name: str, kind: Kind, tmp_path: Path) -> None:
    model = built(name)
    loaded = load_model(write_gguf(model, tmp_path / "m.gguf", kind))
    own, found = model.state_dict(), loaded.module.state_dict()
    assert own.keys() == found.keys()
    for key, value in own.items():
        # A Conv1D is written the other way round, so that its blocks lie along the other axis.
        turned = name == "gpt2" and ".h." in key and value.ndim == 2
        allowed = tolerance(value.T, kind).T if turned else tolerance(value, kind)
        assert ((found[key] - value).abs() <= allowed).all(), key
    assert any(not torch.equal(found[key], own[key]) for key in own) == (kind != Kind.F32)
    assert loaded.dtype == torch.float32
    assert loaded.name == str(tmp_path / "m.gguf")
    assert (loaded.dequantised is not None) == (kind in (Kind.Q8_0, Kind.Q4_0))


def test_rows_of_queries_and_keys_lie_in_another_order_in_the_file(tmp_path: Path) -> None:
    """llama.cpp puts the two halves of a rotation side by side: taken as they are, rows would be of other numbers."""
    path = write_gguf(llama(), tmp_path / "m.gguf")
    stored = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
    own = {key: value.numpy() for key, value in llama().state_dict().items()}
    for letter in ("q", "k"):
        in_file, here = (
            stored[f"blk.0.attn_{letter}.weight"],
            own[f"model.layers.0.self_attn.{letter}_proj.weight"],
        )
        assert not np.array_equal(in_file, here)
        assert np.array_equal(np.sort(in_file, axis=0), np.sort(here, axis=0))


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3", "gpt2"])
def test_a_capture_is_that_of_the_same_weights_in_safetensors(name: str, kind: Kind, tmp_path: Path) -> None:
    # Without a begin-of-sequence token of its own, which would be no column.
    tokenizer = word_tokenizer("a b c")
    loaded = load_model(write_gguf(built(name), tmp_path / "m.gguf", kind), tokenizer=tokenizer)
    plain = tmp_path / "plain"
    (built(name) if kind == Kind.F32 else loaded.module).save_pretrained(plain)
    prompts = [[1, 5, 9, 12, 33], [1, 44, 2, 7, 8, 9]]
    plan = CapturePlan(sites=SITES, positions="all")
    found, expected = (
        capture(each, prompts, plan) for each in (loaded, load_model(plain, tokenizer=tokenizer))
    )
    for site in SITES:
        rows, others = getattr(found, site), getattr(expected, site)
        assert torch.allclose(rows, others, rtol=0, atol=1e-6 * float(others.abs().max())), site


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0], ids=lambda kind: kind.name)
def test_projections_are_those_of_the_model(kind: Kind, tmp_path: Path) -> None:
    path = write_gguf(llama(), tmp_path / "m.gguf", kind)
    module: Any = load_model(path).module
    with open_projections(path, matrices=("query", "key", "value", "output")) as file:
        assert len(file.keys) == 8
        for projection in file:
            attention = module.model.layers[projection.layer].self_attn
            own = getattr(attention, f"{projection.matrix[0]}_proj").weight
            assert torch.equal(projection.weight, own)


def test_the_tokenizer_is_the_files_own(tmp_path: Path) -> None:
    # Another tokenizer beside the file is none of its.
    word_tokenizer("the cat in").save_pretrained(tmp_path)
    path = write_gguf(llama(), tmp_path / "m.gguf")
    for loaded in (load_model(path), load_prompting_model(str(path)), load_model(llama(), tokenizer=path)):
        tokenizer = loaded.require_tokenizer()
        pieces = ["the", "Ġ", "c", "a", "t", "Ġin", "Ġan"]
        assert tokenizer("the cat in an")["input_ids"] == [TOKENS.index(piece) for piece in pieces]
    assert load_prompting_model(str(path)).context_length == 512


def test_a_file_without_a_tokenizer_takes_token_ids(tmp_path: Path) -> None:
    path = write_gguf(llama(), tmp_path / "m.gguf", tokens=False)
    assert load_model(path).tokenizer is None
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_prompting_model(str(path))


# What is said of it


def test_studies_of_weights_say_that_they_are_dequantised(tmp_path: Path) -> None:
    small = write_gguf(llama(), tmp_path / "q8.gguf", Kind.Q8_0)
    plain = write_gguf(llama(), tmp_path / "f32.gguf")
    for study in (
        iclprobe.sparsity(small),
        iclprobe.sparsity(load_model(small)),
        iclprobe.drift([plain, small]),
    ):
        warning = next(finding for finding in study.findings if finding.name == "dequantised")
        assert warning.kind == "warning"
        assert "14 Q8_0, 7 F32" in warning.sentence and "q8.gguf" in warning.sentence
        assert "are dequantised" in str(study)
    assert not [finding for finding in iclprobe.sparsity(plain).findings if finding.name == "dequantised"]


def test_studies_of_a_model_say_it_and_so_does_their_provenance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_gguf(drawn_llama(vocab_size=130), tmp_path / "q8.gguf", Kind.Q8_0, tokens=False)
    asked = "--shots 2 --limit 4 --settings zsl,icl --device cpu --resamples 20 --layers 0 --quiet --no-page"
    options = ["--model", str(path), "--tokenizer", str(pocket_path("pocket"))]
    assert cli.main(["attention", *options, *asked.split(), "--out", str(tmp_path / "run")]) == 0
    study = iclprobe.load_study(tmp_path / "run")
    assert study.provenance["model"]["dequantised"] == "16 Q8_0, 5 F32"
    assert "(its tensors are 16 Q8_0, 5 F32)" in capsys.readouterr().out


# What is refused


def refused(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        load_model(path)
    assert len(str(raised.value)) - len(str(path)) < 300
    return str(raised.value)


@pytest.mark.parametrize(
    ("drop", "told"),
    [
        (("blk.1.attn_q",), "1 of 21 tensors missing"),
        (("output_norm", "blk.0.ffn_up"), "2 of 21 tensors missing"),
    ],
)
def test_a_missing_tensor_is_named(drop: tuple[str, ...], told: str, tmp_path: Path) -> None:
    full = tuple(f"{name}.weight" for name in drop)
    message = refused(write_gguf(llama(), tmp_path / "m.gguf", drop=full))
    assert told in message and "settings" in message


@pytest.mark.parametrize(
    "name", ["rope_freqs.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight", "spare"]
)
def test_a_tensor_that_is_left_out_is_named(name: str, tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor(name, np.ones(48, dtype=np.float32))

    assert name in refused(write_gguf(llama(), tmp_path / "m.gguf", change=change))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope.scaling.type", "linear"),
        ("rope.scaling.factor", 8.0),
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
        ("attention.sliding_window", 16),
        ("attention.clamp_kqv", 8.0),
    ],
)
def test_a_setting_that_is_left_out_is_named(key: str, value: Any, tmp_path: Path) -> None:
    message = refused(write_gguf(llama(), tmp_path / "m.gguf", settings={key: value}))
    assert f"llama.{key}" in message and str(value) in message


def test_settings_that_say_what_is_so_pass(tmp_path: Path) -> None:
    so = {"rope.scaling.type": "none", "rope.scaling.factor": 1.0}
    load_model(write_gguf(llama(), tmp_path / "m.gguf", settings=so))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_undefined_weights_are_refused(value: float, tmp_path: Path) -> None:
    model = drawn_llama()
    model.model.norm.weight.data[3] = value
    assert "1 of the 64 entries of model.norm.weight" in refused(write_gguf(model, tmp_path / "m.gguf"))


def test_an_architecture_that_transformers_does_not_read_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "grok")
    writer.add_tensor("token_embd.weight", np.ones((2, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "architecture 'grok'" in refused(tmp_path / "m.gguf")


def test_a_file_in_parts_is_refused(tmp_path: Path) -> None:
    message = refused(write_gguf(llama(), tmp_path / "m-00001-of-00003.gguf"))
    assert "one of 3 parts" in message and "llama-gguf-split --merge" in message
    path = write_gguf(llama(), tmp_path / "m.gguf", change=lambda writer: writer.add_uint16("split.count", 2))
    assert "one of 2 parts" in refused(path)
    load_model(write_gguf(llama(), tmp_path / "m-00001-of-00001.gguf"))


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    assert "there is no GGUF file" in refused(tmp_path / "none.gguf")
    for name, content, told in (
        ("empty", b"", "cannot be read"),
        ("other", b"PK\3\4" + bytes(100), "does not begin with GGUF"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("first", b"GGUF\1\0\0\0" + bytes(100), "version is 1"),
        ("swapped", b"GGUF\0\0\0\3" + bytes(100), "version is 50331648"),
    ):
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        assert told in refused(path)
    with pytest.raises(UserError, match="not read from afar"):
        open_projections("https://example.org/m.gguf")


def test_a_folder_of_gguf_files_is_told_to_be_one(tmp_path: Path) -> None:
    folder = tmp_path / "models.gguf"
    folder.mkdir()
    write_gguf(llama(), folder / "m.gguf")
    assert "folder of GGUF files: give one of them, such as 'm.gguf'" in refused(folder)
    with pytest.raises(UserError, match="folder of GGUF files"):
        open_projections(folder)


def test_what_is_called_so_and_holds_a_checkpoint_is_one(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "m.gguf")
    assert load_model(tmp_path / "m.gguf").dequantised is None


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = write_gguf(llama(), tmp_path / "m.gguf", Kind.Q8_0).read_bytes()
    draw = random.Random(0)
    path = tmp_path / "cut.gguf"
    # Behind the last tensor there may be room up to the next multiple of 32.
    for size in [*range(1, 40), *(draw.randrange(40, len(whole) - 32) for _ in range(60)), len(whole) - 32]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"truncated|no sound GGUF"):
            read_gguf(path)
    assert "truncated" in refused(path)


def test_a_damaged_file_is_refused_or_read(tmp_path: Path) -> None:
    path = write_gguf(llama(), tmp_path / "m.gguf")
    whole = path.read_bytes()
    first: Any = llama().state_dict()["model.embed_tokens.weight"][0]
    header = whole.index(first.numpy().tobytes())
    draw = random.Random(0)
    refusals = 0
    for _ in range(40):
        torn = bytearray(whole)
        start = draw.randrange(4, header)
        torn[start : start + 8] = draw.choice([bytes(8), b"\xff" * 8, draw.randbytes(8)])
        path.write_bytes(torn)
        try:
            load_model(path)
        except UserError as error:
            refusals += 1
            assert len(str(error)) - len(str(path)) < 300
    assert refusals > 20


def test_the_missing_extra_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(llama(), tmp_path / "m.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "pip install 'iclprobe[gguf]'" in refused(path)


def test_the_command_line_tells_it_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(write_gguf(llama(), path).read_bytes()[:1000])
    for command in (["sparsity", str(path)], ["check", str(path)], ["drift", str(path), str(path)]):
        assert cli.main(command) == 2
        told = capsys.readouterr().err.strip()
        assert "truncated" in told and "\n" not in told
