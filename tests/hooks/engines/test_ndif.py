"""Models on NDIF: what leaves the server, that it is right, and one sentence for whatever goes wrong on the way.

NDIF itself is never asked. A process without iclprobe and with the weights stands in for it, see `ndif_stand_in`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import tiny_families
from engine_parity import EXACT, plan_of, prompts_of, worst
from made_tokenizers import word_tokenizer
from ndif_stand_in import hosting

import iclprobe
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.tasks.prompts import PromptSet

httpx: Any = pytest.importorskip("httpx")
pytest.importorskip("nnsight")

NAME = "gemma2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _stored(tmp_path_factory.mktemp("model"), NAME)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with hosting(folder) as address:
        yield address


@pytest.fixture(autouse=True)
def reached(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnsight.modeling import huggingface

    # The one thing that the hub is asked: how the name is spelled there.
    monkeypatch.setitem(huggingface._ID_CACHE, str(folder), str(folder))
    monkeypatch.setenv("NDIF_API_KEY", "a key")
    if "address" in request.fixturenames:
        monkeypatch.setenv("NDIF_HOST", request.getfixturevalue("address"))


def _stored(folder: Path, name: str) -> Path:
    tiny_families.build(name).save_pretrained(folder)
    word_tokenizer("one two three", eos_token="</s>").save_pretrained(folder)
    return folder


def _remote(folder: Path, prompts: Any = None, plan: Any = None) -> Any:
    engine = iclprobe.NNsightEngine(remote=True)
    return capture(str(folder), prompts or prompts_of(NAME), plan or plan_of("scores"), engine=engine)


def test_a_capture_on_a_server_is_the_taps(address: str, folder: Path) -> None:
    sites = ("attention_output", "scores", "pattern", "queries", "keys", "values", "residual", "mlp_input")
    prompts = prompts_of(NAME, labels=True)
    native = capture(tiny_families.build(NAME), prompts, plan_of(*sites))
    remote = _remote(folder, prompts, plan_of(*sites))
    found = worst(native, remote)
    assert set(found) == set(sites) and max(found.values()) <= EXACT, found
    assert native.label_logprobs is not None and remote.label_logprobs is not None
    assert (native.label_logprobs - remote.label_logprobs).abs().max() <= 1e-5
    assert remote.manifest["engine"] == "nnsight on NDIF"
    assert not remote.manifest["prefix_shared"]


def test_only_the_wanted_rows_leave_the_server(address: str, folder: Path) -> None:
    before = len(httpx.get(f"{address}/status").json()["left"])
    prompts = PromptSet((), tuple(tuple(ids) for ids in tiny_families.prompts(NAME)[:2]))
    plan = plan_of("scores", "attention_output", layers=(1,), positions="last_prompt_token", columns="query")
    _remote(folder, prompts, plan)
    left = httpx.get(f"{address}/status").json()["left"][before:]
    longest = max(len(ids) for ids in prompts.query_ids)
    assert [each["shapes"] for each in left] == [
        {
            "logits": [2, 2, tiny_families.VOCABULARY],
            "('scores', 1)": [2, 1, tiny_families.HEADS, longest],
            "('visible', 1)": [2, 1, 1, longest],
            "('attention_output', 1)": [2, 1, 32],
        }
    ]
    # Scores are formed by eager attention alone, which each request asks for.
    assert {each["attention"] for each in left} == {"eager"}
    assert all(each["sent"] < 20_000 for each in left)


def test_no_weight_is_loaded_here(address: str, folder: Path) -> None:
    model = iclprobe.NNsightEngine(remote=True).load(str(folder))
    assert all(parameter.is_meta for parameter in model.module.parameters())


def test_a_model_in_nnsights_own_wrapper_is_asked_for_by_its_name(address: str, folder: Path) -> None:
    from nnsight import TransformersModel

    tokenizer = word_tokenizer("one two three", eos_token="</s>")
    wrapped: Any = TransformersModel(str(folder), task="text-generation", tokenizer=tokenizer)
    engine = iclprobe.NNsightEngine(remote=True)
    remote = capture(wrapped, prompts_of(NAME), plan_of("scores"), engine=engine)
    native = capture(tiny_families.build(NAME), prompts_of(NAME), plan_of("scores"))
    assert max(worst(native, remote).values()) <= EXACT
    assert not wrapped.dispatched


def test_without_a_key_nothing_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NDIF_API_KEY")
    with pytest.raises(UserError, match="NDIF needs an API key: set NDIF_API_KEY"):
        _remote(folder)


def test_a_key_that_the_service_does_not_know(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NDIF_API_KEY", "another secret")
    with pytest.raises(UserError, match=r"NDIF did not run .*the API key is not known") as refusal:
        _remote(folder)
    assert "another secret" not in str(refusal.value)


def test_what_fails_there_is_told_here(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnsight.modeling import huggingface

    # A model that the service does not host: this one has other modules.
    other = _stored(tmp_path, "gpt2")
    monkeypatch.setitem(huggingface._ID_CACHE, str(other), str(other))
    with pytest.raises(UserError, match=r"NDIF did not run .* \(nnsight\.status\(\) lists what it hosts\)"):
        _remote(other, [[5, 6, 7, 8]])


def test_a_name_that_the_hub_does_not_know(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnsight.modeling import huggingface

    monkeypatch.delitem(huggingface._ID_CACHE, str(folder))
    with pytest.raises(UserError, match="NDIF knows models by their name on the hub"):
        _remote(folder)


class _Silent(BaseHTTPRequestHandler):
    """Answers that it is there, and then fails, or says nothing any more."""

    protocol_version = "HTTP/1.1"
    code = 200

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        if self.path == "/status":
            self.send_response(self.code)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
        else:
            time.sleep(5)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Silent]]:
    server = HTTPServer(("127.0.0.1", 0), _Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("NDIF_HOST", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr("iclprobe.hooks.engines.ndif.ANSWER", 0.5)
    try:
        yield _Silent
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("silent")
def test_a_service_that_falls_silent_is_not_waited_for(folder: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"NDIF at .* broke off"):
        _remote(folder)
    assert time.monotonic() - begun < 60


def test_a_service_that_fails(silent: type[_Silent], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent, "code", 500)
    with pytest.raises(UserError, match=r"NDIF at .* does not answer .*500"):
        _remote(folder)


@pytest.mark.parametrize(
    "host",
    ["http://127.0.0.1:{closed}", "http://127.0.0.1:{mute}", "http://no.such.host.invalid", "not a host"],
)
def test_a_service_that_is_not_there(host: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclprobe.hooks.engines.ndif.ANSWER", 0.5)
    with socket.socket() as closed, socket.socket() as mute:
        closed.bind(("127.0.0.1", 0))
        mute.bind(("127.0.0.1", 0))
        mute.listen(8)
        address = host.format(closed=closed.getsockname()[1], mute=mute.getsockname()[1])
        monkeypatch.setenv("NDIF_HOST", address)
        with pytest.raises(UserError, match=r"NDIF at .* does not answer"):
            _remote(folder)


def test_a_model_that_was_loaded_here_is_not_sent_away(address: str) -> None:
    engine = iclprobe.NNsightEngine(remote=True)
    module: Any = tiny_families.fresh(NAME)
    module.config._name_or_path = ""
    with pytest.raises(UserError, match="by their name on the hub"):
        capture(module, prompts_of(NAME), plan_of("scores"), engine=engine)
