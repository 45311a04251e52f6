"""Pages in Chromium: they open from disk alone, show what is on disk, and run nothing of what records say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opened_pages import AXE, chromium, opened, settled
from tiny_checkpoint import write_checkpoint

import iclprobe
from iclprobe.reports.page.page import PAGE, write_page
from iclprobe.study.study import Study


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    out = tmp_path_factory.mktemp("compared") / "run"
    options = {"shots": (2, 4), "limit": 9, "device": "cpu", "learning_rate": 0.3, "resamples": 50}
    return iclprobe.compare(model="pocket", keep_rows=7, keep_maps=2, out=out, **options), out / PAGE


@pytest.fixture(scope="module")
def attended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study of attention, whose pictures are left out: they take their time, and others have some."""
    options = {"shots": 3, "limit": 6, "device": "cpu", "resamples": 20, "permuted_labels": False}
    study = iclprobe.attention(model="pocket", settings=("zsl", "icl"), layers=(0, -1), **options)
    folder = tmp_path_factory.mktemp("attended")
    return study, write_page(folder, study, {})


def test_a_page_opens_from_disk_without_a_request_or_a_complaint(
    browser: Any, compared: tuple[Study, Path], attended: tuple[Study, Path]
) -> None:
    for _, page in (compared, attended):
        with opened(browser, page) as made:
            for summary in made.tab.query_selector_all("summary"):
                summary.click()
            assert made.requests == [page.as_uri()] and made.complaints == []
            assert made.tab.query_selector_all(".tidy table")
    with opened(browser, compared[1]) as made:
        pictures = made.tab.evaluate("[...document.images].map((each) => each.naturalWidth)")
        assert len(pictures) == len(compared[0].figures()) and min(pictures) > 100
        with made.tab.expect_download() as download:
            made.tab.click("figure[data-figure] button")
        assert download.value.suggested_filename == "grid.svg"
        assert "<svg" in Path(download.value.path()).read_text(encoding="utf-8")


def test_the_page_of_the_embedded_model_can_be_sent(compared: tuple[Study, Path]) -> None:
    assert compared[1].stat().st_size < 3_000_000


def _number(text: str) -> float:
    return float("nan") if text == "–" else float(text)


def _expected(
    study: Study, recipe: str, shots: int, query: int, layer: int, head: int
) -> dict[str, np.ndarray]:
    kept = study.tables["kept"]
    kept = kept[(kept["recipe"] == recipe) & (kept["shots"] == shots)].set_index("setting")["arrays"]
    count = int(
        (
            (study.tables["kept_tokens"]["query"] == query) & (study.tables["kept_tokens"]["shots"] == shots)
        ).sum()
    )
    rows = {
        setting: study.arrays[kept[setting]]["scores"][query, layer, head, :count]
        for setting in ("zsl", "icl", "ft")
    }
    return rows | {"difference": rows["icl"] - rows["ft"]}


def _shares(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(float) - scores.max())
    return powers / powers.sum()


def test_twenty_states_of_the_explorer_show_what_is_on_disk(
    browser: Any, compared: tuple[Study, Path]
) -> None:
    study, page = compared
    drawn = random.Random(0)
    layers, heads = 6, 4
    with opened(browser, page) as made:
        for _ in range(20):
            place, query = drawn.randrange(2), drawn.randrange(7)
            layer, head, shown = (
                drawn.randrange(layers),
                drawn.randrange(heads),
                drawn.choice(["scores", "shares"]),
            )
            address = f"#explorer?comparison={place}&query={query}&layer={layer}&head={head}&shown={shown}"
            address += "&row=1&column=0"
            made.tab.evaluate("(hash) => { location.hash = hash; }", address)
            made.tab.wait_for_function(
                "(hash) => document.getElementById('stage-view').dataset.shown === hash", arg=address
            )
            expected = _expected(study, "dai", (2, 4)[place], query, layer, head)
            if shown == "shares":
                expected = {name: _shares(expected[name]) for name in ("zsl", "icl", "ft")}
                expected["difference"] = expected["icl"] - expected["ft"]
            for name, values in expected.items():
                cells = made.tab.eval_on_selector_all(
                    f"#stage .values td[data-of={name}]", "(all) => all.map((e) => e.textContent)"
                )
                np.testing.assert_allclose([_number(cell) for cell in cells], values, rtol=1e-3, atol=1e-6)
            _holds_answers(study, made.tab, (2, 4)[place], query)
        assert made.complaints == []


def _holds_answers(study: Study, tab: Any, shots: int, query: int) -> None:
    answers, labels = study.tables["answers"], study.tables["label_logprobs"]
    for setting in ("zsl", "icl", "ft"):
        (own,) = answers[
            (answers["shots"] == shots) & (answers["query"] == query) & (answers["setting"] == setting)
        ].itertuples()
        cells = tab.eval_on_selector_all(
            f"#stage .answers tr[data-setting={setting}] td",
            "(all) => all.map((e) => [e.textContent, e.className])",
        )
        assert cells[0] == [own.prediction, "right" if own.correct else "wrong"]
        likely = labels[
            (labels["shots"] == shots) & (labels["query"] == query) & (labels["setting"] == setting)
        ]["logprob"]
        np.testing.assert_allclose([_number(text) for text, _ in cells[1:]], likely, rtol=1e-3)


def test_maps_show_what_is_on_disk_where_the_pointer_is(browser: Any, compared: tuple[Study, Path]) -> None:
    study, page = compared
    kept = study.tables["kept"]
    groups = kept[kept["shots"] == 4].set_index("setting")["arrays"]
    address = "#explorer?comparison=1&query=1&layer=3&head=2&shown=scores&row=2&column=1"
    with opened(browser, page, address) as made:
        maps = {
            setting: study.arrays[groups[setting]]["map-1"][3, 2].astype(float) for setting in groups.index
        }
        before = {setting: found.shape[1] - found.shape[0] for setting, found in maps.items()}
        for row, column in ((3, 0), (2, 2), (3, 1)):
            made.tab.locator("[data-map=icl] svg").scroll_into_view_if_needed()
            spot = made.tab.evaluate(
                """([row, column]) => {
                  const box = document.querySelector("[data-map=icl] image").getBoundingClientRect();
                  return [box.x + (column + 0.5) * box.width / 4, box.y + (row + 0.5) * box.height / 4];
                }""",
                [row, column],
            )
            made.tab.mouse.move(*spot)
            said = made.tab.inner_text("#stage .readout")
            for setting, name in (("zsl", "zero-shot"), ("icl", "ICL"), ("ft", "finetuned")):
                value = maps[setting][row, before[setting] + column]
                shown = said.split(f"{name} ")[1].split(",")[0]
                assert _number(shown) == pytest.approx(value, rel=1e-3)
            shares = {s: m[row, before[s] :] / m[row, before[s] :].sum() for s, m in maps.items()}
            shown = said.split("ICL − finetuned ")[1]
            assert _number(shown) == pytest.approx((shares["icl"] - shares["ft"])[column], rel=2e-3, abs=1e-4)


def test_the_keyboard_steps_and_the_address_brings_the_state_back(
    browser: Any, compared: tuple[Study, Path]
) -> None:
    begin = "#explorer?comparison=0&query=0&layer=5&head=0&shown=scores&row=0&column=0"
    with opened(browser, compared[1], begin) as made:
        tab = made.tab
        tab.focus("#stage-view")
        before = tab.get_attribute("#stage-view", "data-shown")
        for key in ("ArrowRight", "ArrowDown", "n", "n", "j"):
            tab.keyboard.press(key)
            tab.wait_for_function(
                "(old) => document.getElementById('stage-view').dataset.shown !== old", arg=before
            )
            before = tab.get_attribute("#stage-view", "data-shown")
        assert before == "#explorer?comparison=0&query=2&layer=4&head=1&shown=scores&row=1&column=0"
        assert tab.evaluate("location.hash") == before
        assert tab.evaluate("document.activeElement.id") == "stage-view"
        values = tab.inner_text("#stage .values")
    with opened(browser, compared[1], before) as made:
        assert made.tab.inner_text("#stage .values") == values
        assert made.tab.input_value("#choose-query") == "2"
    with opened(
        browser, compared[1], "#explorer?comparison=9&query=-4&layer=99&head=x&row=1e9&shown=no"
    ) as made:
        assert made.complaints == [] and made.tab.query_selector("#stage .values td")


def test_the_map_of_one_prompt_shows_what_is_on_disk(browser: Any, attended: tuple[Study, Path]) -> None:
    study, page = attended
    last, tokens = study.arrays["last-icl"], study.tables["map_tokens"]
    own = int(((tokens["setting"] == "icl") & tokens["part"].isin(["query", "turn_tail"])).sum())
    with opened(browser, page, "#explorer?query=0&layer=2&head=1&shown=pattern&row=0&column=0") as made:
        cells = made.tab.eval_on_selector_all(
            "#stage .values td[data-of=icl]", "(all) => all.map((each) => each.textContent)"
        )
        np.testing.assert_allclose(
            [_number(each) for each in cells], last["values"][2, 1, 0, -own:], rtol=1e-3
        )
        assert "Maps are kept of layers 0, 5." in made.tab.inner_text("#stage")
        made.tab.select_option("#choose-layer", label="5")
        made.tab.wait_for_selector("[data-map=whole-icl] image", state="attached")


def test_tables_are_sorted_filtered_and_paged(browser: Any, compared: tuple[Study, Path]) -> None:
    study, page = compared
    frame = study.tables["label_logprobs"]
    with opened(browser, page) as made:
        table = made.tab.locator("details[data-table=label_logprobs]")
        table.locator("summary").click()
        place = list(frame.columns).index("logprob") + 1

        def column() -> list[float]:
            return [_number(text) for text in table.locator(f"tbody td:nth-child({place})").all_inner_texts()]

        table.get_by_role("button", name="logprob").click()
        np.testing.assert_allclose(column(), sorted(frame["logprob"])[:25], rtol=1e-3)
        assert table.locator("th[aria-sort=ascending]").inner_text().startswith("logprob")
        table.get_by_role("button", name="logprob").click()
        np.testing.assert_allclose(column(), sorted(frame["logprob"], reverse=True)[:25], rtol=1e-3)
        table.get_by_role("button", name="Next").click()
        np.testing.assert_allclose(column(), sorted(frame["logprob"], reverse=True)[25:50], rtol=1e-3)
        table.get_by_role("searchbox").fill("weather")
        expected = (frame == "weather").any(axis=1).sum()
        assert f"of {expected}" in table.get_by_role("status").inner_text()


MARK = "<script>window.hacked=1</script>"
HOSTILE = (
    f"{MARK} </script><!-- \"quotes\" 'single' & &lt;b&gt; <img src=x onerror=window.hacked=2> ]]>",
    "שלום עולם \u202emirror\u202c مرحبا",
    "e\u0301\u0308\u0323 \u0301alone \u2028 line ${window.hacked=3} {{ 7*7 }} {% raw %}",
)
LABELS = ("<img src=x onerror=window.hacked=4>", "good\" onmouseover='window.hacked=5'")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """Records, labels and the tokenizer's own tokens say what a page must not run."""
    folder = tmp_path_factory.mktemp("hostile")
    words = " ".join((*HOSTILE, "Sentence: Label: good bad"))
    checkpoint = write_checkpoint(folder / "model", words=words, begin_token=MARK)
    rows = [{"text": f"{HOSTILE[n % 3]} {n % 5}", "label": LABELS[n % 2]} for n in range(30)]
    (folder / "records").mkdir()
    for name, some in (
        ("train", rows[:20]),
        ("validation", [{**row, "text": row["text"] + " good"} for row in rows]),
    ):
        lines = [json.dumps(row) for row in some]
        (folder / "records" / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    study = iclprobe.compare(
        model=str(checkpoint),
        task="<b>own</b>",
        data=str(folder / "records"),
        template="Sentence: {text} Label:",
        label_words={LABELS[0]: "bad", LABELS[1]: "good"},
        separator="\n",
        device="cpu",
        shots=2,
        limit=6,
        learning_rate=0.1,
        resamples=20,
        null_draws=2,
    )
    return study, write_page(folder, study, {})


def test_what_records_say_is_shown_as_text_and_runs_nothing(
    browser: Any, hostile: tuple[Study, Path]
) -> None:
    study, page = hostile
    texts = list(study.tables["queries"]["text"])
    assert any(MARK in text for text in texts) and any("\u202e" in text for text in texts)
    with opened(browser, page) as made:
        tab = made.tab
        for summary in tab.query_selector_all("summary"):
            summary.click()
        for query in range(6):
            tab.select_option("#choose-query", str(query))
            tab.wait_for_function(
                "(query) => document.getElementById('stage-view').dataset.shown.includes(`query=${query}&`)",
                arg=query,
            )
            assert texts[query] in tab.evaluate("document.querySelector('#stage .query-text').textContent")
        assert tab.evaluate("window.hacked") is None
        assert made.complaints == [] and made.requests == [page.as_uri()]
        whole = tab.evaluate("document.body.textContent")
        for text in (MARK, "onerror=window.hacked=2", "{{ 7*7 }}", *LABELS, "<b>own</b>"):
            assert text in whole
        assert not tab.query_selector("main img[src=x], main b, [onmouseover], [onerror]")
        # Scripts are the page's own: data, the two libraries, and what draws.
        assert tab.evaluate("document.scripts.length") == 4
        assert tab.evaluate(
            "[...document.querySelectorAll('.query-text, .prompt')].every((each) => each.dir === 'auto')"
        )


_WIDER = """() => {
  const hides = (each) => ["auto", "scroll", "hidden"].includes(getComputedStyle(each).overflowX);
  const scrolls = (each) => each && each !== document.body && (hides(each) || scrolls(each.parentElement));
  return [...document.body.querySelectorAll("*")].filter((each) => {
    const box = each.getBoundingClientRect();
    const beyond = box.width && (box.right > innerWidth + 0.5 || box.left < -0.5);
    return beyond && !scrolls(each.parentElement) && !each.closest(".skip");
  }).map((each) => each.outerHTML.slice(0, 120));
}"""


def test_nothing_overflows_at_four_hundred_pixels(
    browser: Any, compared: tuple[Study, Path], attended: tuple[Study, Path], hostile: tuple[Study, Path]
) -> None:
    for _, page in (compared, attended, hostile):
        with opened(browser, page, width=400) as made:
            for summary in made.tab.query_selector_all("summary"):
                summary.click()
            settled(made.tab)
            assert made.tab.evaluate("document.scrollingElement.scrollWidth") <= 400
            assert made.tab.evaluate(_WIDER) == []


def test_figures_keep_the_size_of_print_at_four_hundred_pixels(
    browser: Any, compared: tuple[Study, Path]
) -> None:
    with opened(browser, compared[1], width=400) as made:
        sizes = made.tab.evaluate("[...document.images].map((each) => [each.width, each.naturalWidth])")
        assert sizes and all(drawn == own for drawn, own in sizes)


_CHARTS = """() => [...document.querySelectorAll(".plot")].map((plot) => [
  plot.clientWidth, getComputedStyle(plot).color,
  ...[...plot.querySelectorAll("image, rect, [fill]")].map((each) => each.href?.baseVal ?? each.getAttribute("fill")),
])"""


def test_paper_is_white_whatever_the_screen_is(browser: Any, compared: tuple[Study, Path]) -> None:
    printed: dict[str, Any] = {}
    for scheme in ("light", "dark"):
        with opened(browser, compared[1], scheme=scheme) as made:
            before = made.tab.evaluate(_CHARTS)
            made.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
            printed[scheme] = made.tab.evaluate(_CHARTS)
            made.tab.emulate_media(media="print", color_scheme=scheme)
            assert (
                made.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            )
            made.tab.emulate_media(media="screen", color_scheme=scheme)
            made.tab.evaluate("dispatchEvent(new Event('afterprint'))")
            assert made.tab.evaluate(_CHARTS) == before != printed[scheme]
    assert printed["dark"] == printed["light"]


def test_paper_shows_every_finding_and_every_prompt_whole(browser: Any, compared: tuple[Study, Path]) -> None:
    found = [finding for finding in compared[0].findings if finding.kind == "result"]
    with opened(browser, compared[1]) as made:
        assert made.tab.locator("#findings details tr").count(), "some are folded on the screen"
        made.tab.emulate_media(media="print")
        seen = "(all) => all.filter((each) => each.checkVisibility() && each.clientHeight + each.offsetHeight).length"
        assert made.tab.eval_on_selector_all("#findings tbody tr", seen) == len(found)
        parts = made.tab.locator("#prompt .prompt .part")
        assert parts.count() == made.tab.eval_on_selector_all("#prompt .prompt .part", seen) > 0
        cut = """(all) => all.filter((each) => each.checkVisibility() && each.scrollHeight > each.clientHeight + 1
          && getComputedStyle(each).overflowY !== "visible").length"""
        assert made.tab.eval_on_selector_all(".prompt, .query-text, .rows, pre, .wide", cut) == 0


def test_the_token_that_is_looked_at_is_in_sight(browser: Any, compared: tuple[Study, Path]) -> None:
    with opened(browser, compared[1], "#explorer?query=0&layer=0&head=0&shown=scores&row=0&column=0") as made:
        made.tab.add_style_tag(content=".rows, .values { max-height: 64px !important; }")
        made.tab.focus("#stage-view")
        made.tab.keyboard.press("k")
        made.tab.keyboard.press("k")
        made.tab.wait_for_function("!document.getElementById('stage-view').dataset.shown.includes('row=0&')")
        made.tab.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 200))")
        inside = """(box) => {
          const row = box.querySelector("[aria-current]").getBoundingClientRect();
          const [frame, head] = [box, box.querySelector("thead th")].map((each) => each.getBoundingClientRect());
          return row.bottom > head.bottom && row.top < frame.bottom && Math.abs(head.top - frame.top) < 1;
        }"""
        assert made.tab.eval_on_selector("#stage .values", inside)
        assert made.tab.eval_on_selector("#stage .rows", "(box) => box.scrollTop > 0")


def test_findings_that_span_decades_stand_on_a_logarithmic_scale(browser: Any, tmp_path: Path) -> None:
    options: Any = {"shots": 4, "seeds": (0, 1), "limit": 4, "orders": 2, "device": "cpu"}
    arms = {"one": {"preset": "shen", "epochs": 2}, "deep": {"preset": "shen_deep", "epochs": 2}}
    study = iclprobe.order(model="pocket", arms=arms, learning_rates=(1e-3,), **options)
    with opened(browser, write_page(tmp_path, study, {})) as made:
        titles = made.tab.locator("#intervals .panel-title").all_inner_texts()
        assert "Numbers, log scale, 0 at its foot" in titles and "Shares, %" in titles
        inside = """(all) => all.every((each) => {
          const [text, plot] = [each, each.closest(".plot")].map((one) => one.getBoundingClientRect());
          return text.left >= plot.left - 1 && text.right <= plot.right + 1;
        })"""
        assert made.tab.eval_on_selector_all("#intervals svg text", inside)
        # The numbers of a finding stand in columns of their own, and there alone.
        named = made.tab.locator("#findings tbody th").all_inner_texts()
        assert not [name for name in named if "±" in name] and any("ICL" in name for name in named)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Any, compared: tuple[Study, Path], attended: tuple[Study, Path], scheme: str
) -> None:
    if not AXE.is_file():
        pytest.skip("there is no axe-core: make browser")
    for _, page in (compared, attended):
        with opened(browser, page, scheme=scheme) as made:
            for summary in made.tab.query_selector_all("summary")[:8]:
                summary.click()
            made.tab.evaluate(AXE.read_text(encoding="utf-8"))
            found = made.tab.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
            serious = [
                (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"])
                for each in found["violations"]
                if each["impact"] in ("serious", "critical")
            ]
            assert found["testEngine"]["name"] == "axe-core" and serious == []
