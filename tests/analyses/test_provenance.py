"""Where results came from."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch
from made_tokenizers import word_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from iclprobe.analyses.configuration import SubjectConfig
from iclprobe.analyses.provenance import git_state, provenance, weights_sha256
from iclprobe.models.loading import load_model
from iclprobe.tasks.task import Record, Task, Template


def tiny() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=8, n_embd=4, n_layer=1, n_head=2))


def tiny_task(text: str = "a") -> Task:
    template = Template("t", "{text}:", ("x", "y"), "\n")
    return Task("t", ("x", "y"), [Record({"text": text}, 0)], [Record({"text": "b"}, 1)], template, "made")


def test_the_record_of_a_run_is_json_and_names_everything() -> None:
    model = load_model(tiny(), tokenizer=word_tokenizer("a b x y"))
    config = SubjectConfig(model="tiny", task="t", seeds=(3, 4))
    content = provenance(
        model, tiny_task(), config, {"score_space": "raw"}, self_check={"held": True}, seconds=1.23456
    )
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert content["versions"]["python"]
    assert content["device"] == "cpu"
    assert content["model"]["family"] == "gpt2"
    assert content["model"]["dtype"] == "float32"
    assert content["model"]["attention_implementation"] == model.attention_implementation
    assert content["data"]["train_records"] == content["data"]["validation_records"] == 1
    assert content["captures"] == {"score_space": "raw"}
    assert (content["seeds"], content["seconds"], content["self_check"]) == ([3, 4], 1.235, {"held": True})
    assert content["date_utc"].endswith("+00:00")


def test_the_hash_of_the_weights_is_over_their_bytes_in_the_order_of_names() -> None:
    module = torch.nn.Module()
    module.register_parameter("b", torch.nn.Parameter(torch.tensor([1.0, 2.0])))
    module.register_parameter("a", torch.nn.Parameter(torch.tensor(3.0, dtype=torch.bfloat16)))
    # Little-endian: 3.0 is 0x4040 in bfloat16, 1.0 is 0x3f800000 and 2.0 is 0x40000000 in float32.
    expected = b"a torch.bfloat16 ()\n\x40\x40" + b"b torch.float32 (2,)\n\x00\x00\x80\x3f\x00\x00\x00\x40"
    assert weights_sha256(module) == hashlib.sha256(expected).hexdigest()


def test_one_changed_weight_changes_the_hash_and_an_offloaded_one_has_none() -> None:
    first, second = tiny(), tiny()
    assert weights_sha256(first) == weights_sha256(second)
    with torch.no_grad():
        second.get_parameter("transformer.h.0.attn.c_attn.weight")[0, 0] += 1e-6
    assert weights_sha256(first) != weights_sha256(second)
    first.to(torch.device("meta"))  # type: ignore[arg-type]
    assert weights_sha256(first) is None


def test_other_records_have_another_hash() -> None:
    model = load_model(tiny(), tokenizer=word_tokenizer("a b x y"))
    hashes = {
        provenance(model, tiny_task(text), SubjectConfig())["data"]["records_sha256"]
        for text in ("a", "c", "a")
    }
    assert len(hashes) == 2


def test_git_says_the_commit_and_whether_anything_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    assert git_state(tmp_path) is None
    git("init")
    assert git_state(tmp_path) is None
    (tmp_path / "a").write_text("a")
    git("add", ".")
    git("commit", "-m", "a")
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "a").write_text("b")
    assert git_state(tmp_path) == {**state, "dirty": True}


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None
