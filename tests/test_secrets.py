"""Passwords and signatures in an address are used and never told: in no message, table, figure or file."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import pytest
import tiny_checkpoint
from hub_server import HubServer
from matplotlib.text import Text

import iclprobe
from iclprobe.addresses import public
from iclprobe.analyses.drift.config import DriftConfig
from iclprobe.analyses.public_settings import without_secrets
from iclprobe.analyses.weights.checkpoints import Checkpoint
from iclprobe.cli import main
from iclprobe.errors import UserError, shown
from iclprobe.models import remote_files
from iclprobe.models.matrices import Matrix
from iclprobe.models.weights import open_projections

USER, PASSWORD, SIGNATURE = "arthur-user", "ford-password", "zaphod%2Fsignature"
TOKEN = "hf_" + "zApHoD42" * 4
SECRETS = (USER, PASSWORD, SIGNATURE, SIGNATURE.replace("%2F", "/"), TOKEN)
NAMES: tuple[Matrix, ...] = ("query", "key", "value")
PATTERN: dict[Matrix, str] = {
    name: f"model.layers.{{layer}}.self_attn.{name[0]}_proj.weight" for name in NAMES
}
PATTERN_OPTION = ",".join(f"{name[0]}={pattern}" for name, pattern in PATTERN.items())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(remote_files, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(remote_files, "_RETRIES", 1)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for seed, step in enumerate(("step1000", "step2000")):
        tiny_checkpoint.write_checkpoint(tmp_path / "hub" / step, seed=seed, layers=1)
    with hub_server.serve(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def asked_here(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken for the name of a repository is asked of this server, not of the world's."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)


@pytest.fixture
def signed(hub: HubServer) -> list[str]:
    """The addresses of two checkpoints, each with a password and a signature."""
    place = hub.address.replace("http://", f"http://{USER}:{PASSWORD}@")
    return [
        f"{place}/{step}/model.safetensors?X-Amz-Signature={SIGNATURE}" for step in ("step1000", "step2000")
    ]


def assert_nothing_told(told: str | bytes) -> None:
    text = told if isinstance(told, str) else told.decode("latin-1")
    found = [secret for secret in SECRETS if secret in text]
    assert not found, f"{found} in …{text[max(0, text.find(found[0]) - 200) :][:400]}…"


def assert_nothing_written(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert_nothing_told(path.name)
        if path.is_file():
            assert_nothing_told(path.read_bytes())


def test_results_from_an_address_with_secrets_hold_none(
    signed: list[str], hub: HubServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    results: list[Any] = [
        iclprobe.sparsity(signed[0], pattern=PATTERN, out=out / "sparsity"),
        iclprobe.drift(signed, pattern=PATTERN, endpoint=signed[0], out=out / "drift"),
        iclprobe.reproduce(
            "shen2024",
            "fig2",
            overrides={"model": signed[0], "revision": None, "pattern": PATTERN},
            out=out / "reproduction",
        ),
    ]
    assert {path.split("?")[-1] for path, _ in hub.requests} == {f"X-Amz-Signature={SIGNATURE}"}
    for result in results:
        for told in (
            repr(result),
            str(result),
            json.dumps(result.to_json() if isinstance(result, iclprobe.Study) else result.results()),
        ):
            assert_nothing_told(told)
        assert_nothing_told(result.to_pandas().to_csv())
        assert_nothing_told(pickle.dumps(result))
        for text in result.plot().findobj(Text):
            assert_nothing_told(text.get_text())
    assert list(results[1].tables["checkpoints"]["checkpoint"]) == ["1000", "2000"]
    assert "/step1000/model.safetensors" in (out / "sparsity" / "config.yaml").read_text()
    # The experiment's own study is the fourth.
    assert len(list(out.rglob("manifest.json"))) == 4
    assert_nothing_written(out)


def test_a_run_from_an_address_with_secrets_is_kept_when_it_is_asked_for_again(
    signed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from iclprobe.analyses.papers.catalogue import find_experiments
    from iclprobe.sweeps.experiments import reproduce_all

    overrides = {"model": signed[0], "revision": None, "pattern": PATTERN}
    statuses = [
        reproduce_all(
            find_experiments("shen2024", "fig2"),
            tmp_path / "all",
            overrides=overrides,
            with_claims=False,
            say=print,
        )
        .rows[0]
        .status
        for _ in range(2)
    ]
    assert statuses == ["written", "kept"]
    assert_nothing_written(tmp_path / "all")
    assert_nothing_told("".join(capfd.readouterr()))


DATA = ["--template", "{text} is", "--label-words", "bad,good"]
COMMANDS: dict[str, list[str]] = {
    "sparsity": ["sparsity", "{0}", "--pattern", PATTERN_OPTION],
    "drift": ["drift", "{0}", "{1}", "--pattern", PATTERN_OPTION, "--json"],
    "no config": ["sparsity", "{0}"],
    "no such file": ["sparsity", "{0}", "--pattern", "q=lm_head.{layer}"],
    "a model": ["compare", "--model", "{0}"],
    "data": ["compare", "--data", "{0}"],
    "data with a template": ["order", *DATA, "--data", "{0}"],
    "a token for a model": ["compare", "--model", TOKEN],
    "a token for a setting": ["reproduce", "shen2024", "fig2", "--set", f"model={TOKEN}"],
    "an endpoint": ["sparsity", "owner/name", "--endpoint", "{0}"],
    "a revision": ["sparsity", "{0}", "--revision", "{1}"],
    "a wrong option": ["sparsity", "pocket", "--threshold", "{0}"],
    "a setting": ["reproduce", "shen2024", "fig2", "--set", "thresholds={0}"],
    "an output": ["sparsity", "pocket", "--out", "{0}"],
    "many outputs": ["reproduce", "shen2024", "--out", "{0}"],
    "an output in a bucket": [
        "drift",
        "pocket@0",
        "pocket@8",
        "--out",
        f"s3://{USER}:{PASSWORD}@bucket/a?x={SIGNATURE}",
    ],
    "a configuration": ["compare", "--config", "{0}"],
    "a command": ["{0}"],
    "one too many": ["families", "{0}"],
    "an experiment": ["reproduce", "{0}"],
    "an adapter": ["compare", "--adapter", "{0}"],
    "a tokenizer": ["check", "pocket", "--tokenizer", "{0}"],
    "a finetuned model": ["compare", "--finetuned", "{0}"],
    "a recipe": ["gradients", "--recipe", "{0}"],
    "a task": ["order", "--task", "{0}"],
    "a model of a construction": ["construction", "--model", "{0}", "--steps", "1", "--batch-size", "2"],
    "a password with a slash": ["sparsity", "http://" + USER + ":x/" + PASSWORD + "@host/a"],
}


@pytest.mark.usefixtures("asked_here")
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_the_command_line_tells_no_secret_whatever_happens(
    arguments: list[str],
    signed: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main([argument.replace("{0}", signed[0]).replace("{1}", signed[1]) for argument in arguments])
    assert code == (0 if PATTERN_OPTION in arguments else 2)
    assert_nothing_told("".join(capfd.readouterr()))
    left = {path.name for path in tmp_path.iterdir()} - {"hub", "cache"}
    assert left <= {"runs"}
    assert_nothing_written(tmp_path / "runs")


def test_a_crash_tells_no_secret_either() -> None:
    code = (
        "import sys\nfrom iclprobe.cli import main, runs\n"
        "def crash(place): raise RuntimeError(place)\n"
        "runs.show.callback = lambda runs, as_json: crash(runs[0])\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "show", f"http://{USER}:{PASSWORD}@host/a?{SIGNATURE}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert "RuntimeError: http://host/a\n" in done.stderr
    assert_nothing_told(done.stdout + done.stderr)


@pytest.mark.parametrize("failures", [[503], [503] * 9, [403], [404] * 9])
def test_no_fault_of_the_server_brings_a_secret_to_light(
    failures: list[int],
    signed: list[str],
    hub: HubServer,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    hub.failures.extend(failures)
    try:
        open_projections(signed[0], pattern=PATTERN).close()
    except UserError as error:
        assert_nothing_told("".join(traceback.format_exception(error)))
        assert "/step1000/model.safetensors" in str(error)
    assert_nothing_told("".join(capfd.readouterr()) + caplog.text)
    if failures[0] == 503:
        assert "503" in caplog.text


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("https://user:word@host/a.bin", "https://host/a.bin"),
        ("https://token@host/a.bin", "https://host/a.bin"),
        ("https://user:wo/rd@host/a.bin", "https://host/a.bin"),
        ("https://user:w@rd@host:8080/a", "https://host:8080/a"),
        ("https://user:wor… is no address", "https:// is no address"),
        ("s3://key:secret@bucket/a?x=1#y", "s3://bucket/a"),
        ("cannot read 'https://host/a?token=1': no", "cannot read 'https://host/a': no"),
        ("http://[::1]:80/a@b/c?d", "http://[::1]:80/a@b/c"),
        ("cannot read '/home/s3:/key:secret@bucket/a'", "cannot read '/home/s3:/bucket/a'"),
        ("{'a': 'https://host/it's?token='1'2', 'b': 3}", "{'a': 'https://host/it's', 'b': 3}"),
        ("C:/Users/me?x", "C:/Users/me?x"),
        ("token_hf_" + "aB3" * 12, "token_hf_…"),
        ("owner/name@main, 1:2@3 and what? is#left", "owner/name@main, 1:2@3 and what? is#left"),
        ("Bearer hf_" + "aB3" * 12, "Bearer hf_…"),
    ],
)
def test_an_address_keeps_its_place_and_nothing_else(told: str, expected: str) -> None:
    assert public(told) == expected
    assert str(UserError(told)) == expected


def test_a_value_is_quoted_without_secrets_even_where_it_is_cut() -> None:
    address = f"https://{USER}:{PASSWORD}@host/{'a' * 100}?{SIGNATURE}"
    for value in (address, Path(address), {"model": address}, [[address]]):
        assert_nothing_told(shown(value))
    for longest in range(len(address)):
        assert PASSWORD[:4] not in public(address[:longest])


def test_settings_without_secrets_are_left_as_they_are() -> None:
    config = DriftConfig(checkpoints=(Checkpoint("a@b"), Checkpoint("pocket", "3", 3)), icl=("sst2",))
    assert without_secrets(config) is config
    secret = config.model_copy(update={"checkpoints": (Checkpoint("http://u:p@host/a"), Checkpoint("b"))})
    assert without_secrets(secret).checkpoints == (Checkpoint("http://host/a"), Checkpoint("b"))
    assert without_secrets(secret).model_fields_set == {"checkpoints", "icl"}
    assert "u:p" not in repr(secret)


def test_the_text_of_a_prompt_is_kept_letter_by_letter() -> None:
    asked = {"template": "http://a@b/?{text} Label:/?", "label_words": ("x:/a?", "y:/b#"), "separator": ":/?"}
    assert without_secrets(asked) is asked
