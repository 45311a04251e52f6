"""What a page holds, without a browser: escaped data, its policy, what is left out of it, where it is written."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iclprobe
from iclprobe.cli import main
from iclprobe.reports.page import explored, page_tables
from iclprobe.reports.page.packed import json_for_script, packed
from iclprobe.reports.page.page import page_html
from iclprobe.reports.page.shown_prompts import shown_prompts
from iclprobe.study.study import Study

ON_POCKET = "--shots 2 --limit 6 --device cpu --lr 0.3 --resamples 20 --null-draws 2"


@pytest.fixture(scope="module")
def compared() -> Study:
    options = {"shots": (2, 4), "limit": 12, "device": "cpu", "learning_rate": 0.3, "resamples": 20}
    return iclprobe.compare(model="pocket", keep_maps=2, **options)


class _Page(HTMLParser):
    """The scripts of a page, its policy, and every address that it names."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.data = ""
        self.policy = ""
        self.addresses: list[str] = []
        self._within: str | None = None
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.addresses += [found[name] for name in ("src", "href", "action", "data") if name in found]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        if tag == "script":
            self._within = found.get("type", "script")
            self.scripts += [""] if self._within == "script" else []

    def handle_endtag(self, tag: str) -> None:
        self._within = None if tag == "script" else self._within

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within is not None:
            self.data += data


def data_of(content: str) -> dict[str, Any]:
    return json.loads(_Page(content).data)


def unpacked(found: dict[str, Any]) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(base64.b64decode(found["data"])), dtype=np.uint8)
    kind = np.dtype(found["kind"]).newbyteorder("<")
    values = np.ascontiguousarray(planes.reshape(kind.itemsize, -1).T).reshape(-1).view(kind)
    return values.reshape(found["shape"])


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_packed_arrays_come_back_bit_for_bit(kind: Any) -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(kind)
    values[0, 0, 0], values[1, 1, 1] = np.nan, np.inf
    for given in (values, values.transpose(2, 0, 1), values[..., ::2]):
        np.testing.assert_array_equal(unpacked(packed(given)), given)


def test_json_in_a_script_ends_nothing_whatever_it_says() -> None:
    said = {"</script>": "<!--<script> ]]> & \u2028\u2029 \\u003c \"'"}
    text = json_for_script(json.dumps(said, ensure_ascii=False))
    assert json.loads(text) == said and not set("<>&\u2028\u2029") & set(text)


def test_only_the_pages_own_scripts_may_run_and_nothing_is_fetched(compared: Study) -> None:
    found = _Page(page_html(compared, {}))
    assert len(found.scripts) == 3
    allowed = re.findall(r"'(sha256-[^']+)'", found.policy)
    made = [
        "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in found.scripts
    ]
    assert allowed == made
    assert "default-src 'none'" in found.policy and "unsafe-eval" not in found.policy
    assert all(address.startswith(("#", "data:")) for address in found.addresses)


def test_the_page_carries_the_arrays_that_are_kept(compared: Study) -> None:
    explorer = data_of(page_html(compared, {}))["explorer"]
    assert [group["name"] for group in explorer["groups"]] == ["dai, 2 shots, seed 0", "dai, 4 shots, seed 0"]
    for group in explorer["groups"]:
        assert [query["number"] for query in group["queries"]] == list(range(12))
        for name in group["settings"].values():
            kept, carried = compared.arrays[name], explorer["arrays"][name]
            rows = unpacked(carried["rows"])
            np.testing.assert_array_equal(np.isnan(rows), ~np.broadcast_to(kept["visible"], rows.shape))
            np.testing.assert_array_equal(np.nan_to_num(rows), np.where(kept["visible"], kept["scores"], 0))
            for query in (0, 1):
                np.testing.assert_array_equal(unpacked(carried[f"map-{query}"]), kept[f"map-{query}"])


def test_a_page_that_would_be_too_large_carries_less_and_says_so(
    compared: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = page_html(compared, {})
    monkeypatch.setattr(explored, "MOST_BYTES", 30_000)
    monkeypatch.setattr(page_tables, "MOST_BYTES", 4_000)
    some = page_html(compared, {})
    assert len(some) < len(whole)
    data = data_of(some)
    assert "carries the first of them" in some and "carries the first of them" not in whole
    size = sum(
        len(each["data"]) for arrays in data["explorer"]["arrays"].values() for each in arrays.values()
    )
    assert 0 < size <= 30_000
    for group in data["explorer"]["groups"]:
        carried = [explored._carried(data["explorer"]["arrays"][name]) for name in group["settings"].values()]
        assert len(group["queries"]) == max(carried) < 12
    cut = {table["name"]: table for table in data["tables"] if table["shown"] < table["rows"]}
    assert {"similarities", "label_logprobs"} <= set(cut)
    for table in cut.values():
        assert {len(column["values"]) for column in table["columns"]} == {table["shown"]}


def test_figures_beyond_what_can_be_sent_are_named(compared: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iclprobe.reports.page.page.MOST_BYTES_OF_FIGURES", 500)
    made = page_html(compared, {"small": b"<svg/>", "large": np.random.default_rng(0).bytes(9000)})
    assert list(data_of(made)["figures"]) == ["small"]
    assert "Not in this page, so that it can be sent, but beside it as PNG: large." in made


def test_alarms_come_first_and_every_result_stands_with_its_interval(compared: Study) -> None:
    made = page_html(compared, {})
    alarms = [finding for finding in compared.findings if finding.kind == "alarm"]
    assert alarms and made.index("Read this first.") < made.index('<dl class="facts">') < made.index("<table")
    found = data_of(made)["findings"]
    results = [each for each in compared.findings if each.kind == "result" and each.low == each.low]
    assert [(each["name"], each["value"], each["low"]) for each in found] == [
        (each.name, each.value, each.low) for each in results
    ]
    assert {each["where"] for each in found} == {"recipe dai, shots 2", "recipe dai, shots 4"}


def test_the_prompt_is_whole_and_its_parts_are_told_apart(compared: Study) -> None:
    prompts = shown_prompts(compared)
    of_four = next(prompt for prompt in prompts if prompt.name == "in context (shots 4)")
    frame = compared.tables["prompts"]
    rows = frame[(frame["setting"] == "icl") & (frame["shots"] == 4)]
    assert "".join(part.text for part in of_four.parts) == "".join(rows["text"])
    kinds = [part.kind for part in of_four.parts]
    assert kinds == ["begin", *(["input", "label", "separator"] * 4), "query"]
    assert of_four.count == sum(len(json.loads(ids)) for ids in rows["ids"])
    # Zero-shot prompts of both numbers of shots are one.
    assert len([prompt for prompt in prompts if prompt.name.startswith("zero-shot")]) == 1


def test_a_run_has_its_page_unless_it_is_told_otherwise_and_report_writes_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert main(["compare", *ON_POCKET.split(), "--out", str(one), "-q"]) == 0
    assert (
        main(
            [
                "gradients",
                "--shots",
                "2",
                "--device",
                "cpu",
                "--lr",
                "0.05",
                "--no-page",
                "--out",
                str(other),
                "-q",
            ]
        )
        == 0
    )
    page = one / "page.html"
    assert page.is_file() and "page.html" in json.loads((one / "manifest.json").read_text())["files"]
    assert not (other / "page.html").exists()
    before = data_of(page.read_text(encoding="utf-8"))
    page.unlink()
    capsys.readouterr()
    assert main(["report", str(one), str(other)]) == 0
    assert capsys.readouterr().out.split() == [str(page), str(other / "page.html")]
    again = data_of(page.read_text(encoding="utf-8"))
    assert again.pop("figures").keys() == before.pop("figures").keys() and again == before
    assert data_of((other / "page.html").read_text(encoding="utf-8"))["explorer"] is None
    assert main(["report", str(other), "--out", str(tmp_path / "sent.html")]) == 0
    assert (tmp_path / "sent.html").is_file()


def test_report_refuses_what_is_no_run_and_where_nothing_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no run directory" in capsys.readouterr().err
    run = tmp_path / "run"
    assert (
        main(
            [
                "gradients",
                "--shots",
                "2",
                "--device",
                "cpu",
                "--lr",
                "0.05",
                "--no-page",
                "--out",
                str(run),
                "-q",
            ]
        )
        == 0
    )
    assert main(["report", str(run), str(run), "--out", str(tmp_path / "x.html")]) == 2
    assert "one page" in capsys.readouterr().err
    assert main(["report", str(run), "--out", str(tmp_path / "no" / "such" / "x.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_studies_within_a_study_have_no_page(tmp_path: Path) -> None:
    iclprobe.reproduce("shen2024", "fig2", overrides={"stable_rank": False}, out=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").rglob("page.html")] == ["page.html"]
    assert list((tmp_path / "run" / "studies").iterdir())


def test_the_libraries_are_those_of_the_registry() -> None:
    """What `make page-libraries` fetched: the files begin by saying their version."""
    folder = Path(explored.__file__).parent / "vendor"
    told = json.loads((folder / "versions.json").read_text())
    assert set(told) == {path.name for path in folder.glob("*.js")}
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    for name, entry in told.items():
        assert f"{entry['package']}@{entry['version']}" in makefile
        assert f"v{entry['version']} " in (folder / name).read_text(encoding="utf-8")[:80]
        assert "Permission to use" in (folder / entry["license"]).read_text()
