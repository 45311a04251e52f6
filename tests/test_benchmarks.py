"""The suite of benchmarks: what is timed does what it is called, the record grows, and pages say what it says."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import iclprobe

ROOT = Path(iclprobe.__file__).parent
sys.path.append(str(ROOT))

capture_blocks, end_to_end, material, options, procedures, record, shapes, table = (
    import_module(f"benchmarks.{name}")
    for name in (
        "capture_blocks",
        "end_to_end",
        "material",
        "options",
        "procedures",
        "record",
        "shapes",
        "table",
    )
)
TINY = shapes.TINY


def test_pages_say_what_the_record_says() -> None:
    latest = table.latest_of(record.read("cpu"))
    for page in table.PAGES:
        text = page.read_text(encoding="utf-8")
        assert table.renewed(text, latest) == text, f"{page.name}: python -m benchmarks.table"
        assert "<!-- speed: " in text


def test_pages_claim_no_speed_beside_the_record() -> None:
    """A number of seconds, or of times as fast, stands in the blocks alone."""
    for page in table.PAGES:
        outside = table._BLOCK.sub("", page.read_text(encoding="utf-8"))
        assert "times as fast" not in outside
        assert "tokens a second" not in outside


def test_the_record_grows(tmp_path: Path) -> None:
    told = options.Options(shape=TINY)
    for number in range(2):
        record.append("here", "capture", record.surroundings(told) | {"result": {"number": number}}, tmp_path)
    record.append("here", "grid", record.surroundings(told), tmp_path)
    entries = json.loads((tmp_path / "here.json").read_text())
    assert [entry["result"]["number"] for entry in entries["capture"]] == [0, 1]
    assert table.latest_of(entries)["capture"]["result"] == {"number": 1}
    last = entries["grid"][0]
    assert last["versions"]["torch"] == torch.__version__.split("+")[0] or last["versions"]["torch"]
    assert last["machine"]["cores"] and last["options"]["shape"]["width"] == TINY.width
    assert [path.name for path in tmp_path.iterdir()] == ["here.json"]


@pytest.mark.parametrize(("pairs", "load", "trial"), [(3, 0.4, False), (1, 0.4, True), (3, 9.0, True)])
def test_a_trial_claims_nothing(pairs: int, load: float, trial: bool) -> None:
    told = options.Options(pairs=pairs, shape=TINY)
    entry = record.surroundings(told)
    entry["machine"] |= {"load": load, "cores": 2}
    ratios = {f"{name} / native capture": {"median": 17.2} for name in ("bare forward", "nnsight")}
    entry["result"] = {
        "shape": entry["options"]["shape"],
        "ratios": ratios | {"native capture / floor": {"median": 1.4}},
        "tap": {"native capture / bare forward": {"median": 1.02}},
    }
    said = capture_blocks.readme_block({"capture": entry})
    assert ("17 times as fast as nnsight" in said) is not trial
    assert ("1.40" in said and "1.02" in said) is not trial


@pytest.mark.parametrize("name", [*procedures.PROCEDURES])
def test_every_way_records_the_same(name: str) -> None:
    chosen = procedures.PROCEDURES[name]
    if not chosen.is_here:
        pytest.skip(f"{chosen.package} is not installed")
    prompts = material.build_prompts(TINY)
    model = material.build_model(TINY, chosen.attention)
    expected: Any = iclprobe.capture(model, prompts, share_prefix=False, batch_size=1)
    ran = _tokens_run(model, lambda: chosen.run(model, prompts, 1 if name == "reference" else TINY.batch))
    found = ran["result"]
    if name == "reference":
        pattern: Any = iclprobe.capture(model, prompts, iclprobe.CapturePlan(sites=("pattern",))).pattern
        assert torch.allclose(torch.tensor(found), pattern, atol=1e-5)
    elif name not in ("bare_forward", "floor"):
        assert torch.allclose(found.attention_output, expected.attention_output, atol=1e-5)
        assert torch.allclose(found.scores, expected.scores, atol=1e-4)
    # Engines wrap the model, and what they run is not counted at its embedding.
    if chosen.package is None:
        once = TINY.queries * TINY.query
        assert ran["tokens"] == once + TINY.prefix * (TINY.queries if chosen.whole else 1)


def _tokens_run(model: Any, work: Any) -> dict[str, Any]:
    """Run something and count the tokens that enter the model."""
    counted = 0

    def count(_: Any, args: Any) -> None:
        nonlocal counted
        counted += args[0].numel()

    handle = model.module.get_input_embeddings().register_forward_pre_hook(count)
    try:
        result = work()
        return {"result": result, "tokens": counted}
    finally:
        handle.remove()


@pytest.mark.parametrize("name", ["grid_speed", "profile_capture"])
def test_what_is_measured_can_be_shown(name: str) -> None:
    told = options.Options(pairs=1, shape=TINY, memory=False)
    entry = record.surroundings(told) | {"result": import_module(f"benchmarks.{name}").run(told)}
    shown = table.text_of({"grid_speed": "grid", "profile_capture": "profile"}[name], entry)
    assert "| ---" in shown
    if name == "profile_capture":
        shares = entry["result"]["share of the capture, by part"]
        assert sum(shares.values()) == pytest.approx(1, abs=0.01)
        assert min(shares.values()) > -0.01


@pytest.mark.slow
def test_whole_commands_are_timed_beside_another_checkout_and_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ("compare", "--limit", "1", "--lr", "0.03", "--no-page")
    monkeypatch.setattr(end_to_end, "COMMANDS", {"the smallest": command})
    monkeypatch.setattr(end_to_end, "BESIDE", ("the smallest",))
    monkeypatch.setattr(end_to_end, "MODEL", ROOT)
    monkeypatch.setattr(end_to_end, "DATA", ROOT)
    told = options.Options(pairs=1, shape=TINY, beside=str(ROOT))
    entry = record.surroundings(told) | {"result": end_to_end.run(told)}
    found = entry["result"]["commands"]["the smallest"]
    assert found["seconds"]["median"] > 0 and found["beside / here"]["pairs"] == 1
    shares = found["share of the time"]
    assert min(shares.values()) > 0 and sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert {"forwards of the model", "backwards through it", "tables, pictures and page"} < set(shares)
    said = table.text_of("end-to-end", entry)
    assert "compare --limit 1 --lr 0.03" in said and record.commit(ROOT) in said
