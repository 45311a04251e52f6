"""What the record says, as text, as Markdown of pages and as a picture: ``python -m benchmarks.table`` renews them.

A page holds a block between ``<!-- speed: NAME -->`` and ``<!-- end -->``; what stands there is written here alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import record

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "speed.md", ROOT / "docs" / "engines.md")
PICTURE = ROOT / "reports" / "gallery" / "speed" / "capture.png"
_BLOCK = re.compile(r"(<!-- speed: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ENGINES = (
    *("bare_forward", "native", "native_whole", "transformer_lens", "transformer_lens_shared"),
    *("nnsight", "nnsight_shared", "reference"),
)

Latest = Mapping[str, record.Entry]
Rows = list[list[str]]


def write_pages(name: str = "cpu") -> None:
    """Write every block of every page, and the picture, from a record's latest entries."""
    latest = latest_of(record.read(name))
    for page in PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8"), latest), encoding="utf-8")
    if latest.get("capture", {}).get("options"):
        draw(latest["capture"], PICTURE)


def latest_of(entries: Mapping[str, list[record.Entry]]) -> Latest:
    """Return the last entry of each benchmark."""
    return {name: each[-1] for name, each in entries.items() if each}


def renewed(text: str, latest: Latest) -> str:
    """Return a page with its blocks as the record has them."""

    def block(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return f"{begin}{BLOCKS[name](latest)}\n{end}"

    return _BLOCK.sub(block, text)


def text_of(benchmark: str, entry: record.Entry) -> str:
    """Return an entry as text for a terminal: the tables that pages have of it, or all that was measured."""
    block = BLOCKS.get(benchmark)
    if block is None:
        return "\n".join(_lines(entry["result"]))
    return block({benchmark: entry})


def _lines(value: Any, indent: int = 0) -> list[str]:
    if not isinstance(value, dict):
        return [" " * indent + str(value)]
    lines = []
    for name, each in value.items():
        if isinstance(each, dict):
            lines += [f"{' ' * indent}{name}:", *_lines(each, indent + 2)]
        else:
            lines.append(f"{' ' * indent}{name}: {each}")
    return lines


def capture_block(latest: Latest) -> str:
    """Every way of recording, with its seconds, tokens and memory, and the ratios that are claimed."""
    entry = latest["capture"]
    return "\n\n".join(
        [
            _where(entry) + f" {entry['result']['text']}.",
            ways_table(entry, tuple(entry["result"]["ways"])),
            ratios_table(entry),
        ]
    )


def ways_table(entry: record.Entry, names: tuple[str, ...]) -> str:
    """Some ways of recording side by side, with the time of all queries."""
    result = entry["result"]
    ways = result["ways"]
    rows = []
    for name in names:
        if name not in ways:
            continue
        way = ways[name]
        ratio = way["seconds of all queries"] / ways["native"]["seconds of all queries"]
        timed = way["queries timed"]
        rows.append(
            [
                way["title"],
                f"{way['seconds of all queries']:.1f}"
                + ("" if timed == result["shape"]["queries"] else " *"),
                f"{ratio:.2f}",
                f"{way['prompt tokens a second']:,}",
                str(way["batch"]),
                f"{way['peak memory']['bytes'] / 1e9:.2f}" if "peak memory" in way else "",
            ]
        )
    head = ["way", "seconds", "of native", "prompt tokens a second", "at once", "peak memory, GB"]
    less = min(way["queries timed"] for way in ways.values())
    more = result["shape"]["queries"]
    star = (
        f"\n\n\\* timed on {less} of the {more} queries in the same rounds and taken times {more / less:g}."
        if less < more
        else ""
    )
    queries = next((way["peak memory"]["queries"] for way in ways.values() if "peak memory" in way), None)
    memory = f" Peak memory is a process's own, with {queries} queries." if queries else ""
    return markdown(head, rows) + (star + memory if star else memory and f"\n\n{memory.strip()}")


def ratios_table(entry: record.Entry) -> str:
    """What is claimed: median ratios of interleaved rounds, with quartiles."""
    result = entry["result"]
    tap = result["tap"]
    found = {
        "native capture / bare forward, the same whole prompts": tap["native capture / bare forward"],
        **result["ratios"],
    }
    rows = [
        [name, f"{each['median']:.2f}", _quartiles(each), str(each["pairs"])] for name, each in found.items()
    ]
    memory = tap.get("peak memory")
    after = (
        f"\n\nPeak memory of the native capture over whole prompts: "
        f"{memory['native capture / (bare forward + kept)']:.2f} times the bare forward's plus what is kept."
        if memory
        else ""
    )
    return markdown(["times", "median", "quartiles", "pairs"], rows) + after


def grid_block(latest: Latest) -> str:
    """Ratios, tokens and memory over prefix, query, batch and model."""
    entry = latest["grid"]
    result = entry["result"]
    parts = [
        _where(entry)
        + f" {result['queries']} queries; one thing is varied at a time around the usual shape. Whole "
        f"prompts are timed on {result['whole prompts timed']} queries."
    ]
    for axis, sizes in result["axes"].items():
        rows = [
            [
                size,
                f"{each['native capture / floor']['median']:.2f} {_quartiles(each['native capture / floor'])}",
                f"{each['bare forward / native capture']['median']:.1f} "
                f"{_quartiles(each['bare forward / native capture'], 1)}",
                *(f"{each['prompt tokens a second'][name]:,}" for name in ("bare_forward", "native")),
                *(
                    f"{each['peak bytes'][name] / 1e9:.2f}" if "peak bytes" in each else ""
                    for name in ("bare_forward", "native")
                ),
            ]
            for size, each in sizes.items()
        ]
        head = [axis, "native / floor", "bare / native", "bare, tokens a second", "native, tokens a second"]
        parts.append(markdown([*head, "bare, GB", "native, GB"], rows))
    return "\n\n".join(parts)


def profile_block(latest: Latest) -> str:
    """What the time of a capture goes into."""
    entry = latest["profile"]
    result = entry["result"]
    ratio = result["capture / the same without a tap"]
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in result["seconds"].items())
    return "\n\n".join(
        [
            f"{_where(entry)} {result['text']}: {seconds}; with the tap it takes {ratio['median']:.3f} "
            f"{_quartiles(ratio, 3)} times the same without it.",
            *(
                markdown(
                    [name.removeprefix("share of the capture, "), "share of the capture"],
                    [[part, f"{share:.1%}"] for part, share in result[name].items()],
                )
                for name in ("share of the capture, by part", "share of the capture, by operation")
            ),
        ]
    )


def startup_block(latest: Latest) -> str:
    """The smallest comparison, beside the imports."""
    entry = latest["startup"]
    result = entry["result"]
    rows = [[name, f"{each['median']:.2f}", _quartiles(each), ""] for name, each in result["seconds"].items()]
    for row in rows:
        beyond = result["seconds beyond the imports"].get(row[0])
        row[3] = "" if beyond is None else f"{beyond['median']:.2f} {_quartiles(beyond)}"
    rows[0][0] = f"`{result['imports']}`"
    rows[1][0], rows[2][0] = f"`{result['command']}`", f"`{result['command']} --no-page`"
    return f"{_where(entry)}\n\n" + markdown(["process", "seconds", "quartiles", "beyond the imports"], rows)


def end_to_end_block(latest: Latest) -> str:
    """Whole commands on a real model."""
    entry = latest["end-to-end"]
    result = entry["result"]
    if "skipped" in result:
        return f"{_where(entry)} Skipped: {result['skipped']}."
    commands = result["commands"]
    rows = [
        [name, f"{each['seconds']['median']:.1f}", _quartiles(each["seconds"], 1), f"`{each['options']}`"]
        for name, each in commands.items()
    ]
    parts = list(dict.fromkeys(part for each in commands.values() for part in each["share of the time"]))
    shares = [
        [part, *(f"{each['share of the time'].get(part, 0.0):.1%}" for each in commands.values())]
        for part in parts
    ]
    blocks = [
        f"{_where(entry)} {result['model']}, {result['task']}.",
        markdown(["command", "seconds", "quartiles", "options"], rows),
        markdown(["share of the time", *commands], shares),
    ]
    if "beside" in result:
        times = {name: each["beside / here"] for name, each in commands.items()}
        before = [
            [name, f"{each['median']:.2f}", _quartiles(each), str(each["pairs"])]
            for name, each in times.items()
        ]
        head = [f"seconds of commit {result['beside']} / of this one", "median", "quartiles", "pairs"]
        blocks.append(markdown(head, before))
    return "\n\n".join(blocks)


def engines_block(latest: Latest) -> str:
    """The engines beside each other."""
    entry = latest["capture"]
    return f"{_where(entry)} {entry['result']['text']}.\n\n{ways_table(entry, _ENGINES)}"


def readme_block(latest: Latest) -> str:
    """One sentence with the numbers that matter; a trial claims nothing."""
    entry = latest["capture"]
    if is_trial(entry):
        return "How fast stands in [docs/speed.md](docs/speed.md)."
    ratios = entry["result"]["ratios"]
    tap = entry["result"]["tap"]["native capture / bare forward"]["median"]
    beside = [
        f"{ratios[f'{name} / native capture']['median']:.0f} times as fast as {said}"
        for name, said in (
            ("bare forward", "running every prompt whole and recording nothing"),
            ("reference procedure", "the papers' procedure"),
            ("TransformerLens", "TransformerLens, which runs every prompt whole"),
            ("nnsight", "nnsight, which does too"),
        )
        if f"{name} / native capture" in ratios
    ]
    return (
        f"A capture of {entry['result']['shape']['queries']} queries of {entry['result']['shape']['query']} tokens "
        f"behind {entry['result']['shape']['prefix']:,} is {', '.join(beside[:-1])} and {beside[-1]}; it takes "
        f"{ratios['native capture / floor']['median']:.2f} times the least that is possible, and a "
        f"forward under the tap takes {tap:.2f} times the bare one ([how it was measured](docs/speed.md))."
    )


BLOCKS: Mapping[str, Callable[[Latest], str]] = {
    "capture": lambda latest: _or_nothing(latest, "capture", capture_block),
    "grid": lambda latest: _or_nothing(latest, "grid", grid_block),
    "profile": lambda latest: _or_nothing(latest, "profile", profile_block),
    "startup": lambda latest: _or_nothing(latest, "startup", startup_block),
    "end-to-end": lambda latest: _or_nothing(latest, "end-to-end", end_to_end_block),
    "engines": lambda latest: _or_nothing(latest, "capture", engines_block),
    "readme": lambda latest: _or_nothing(latest, "capture", readme_block),
}


def _or_nothing(latest: Latest, needed: str, block: Callable[[Latest], str]) -> str:
    if needed not in latest or not latest[needed]["options"]:
        return f"Nothing is recorded yet: `python -m benchmarks {needed}`."
    return block(latest)


def markdown(head: list[str], rows: Rows) -> str:
    """Return a table; what stands in the first column is text, all else numbers."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def is_trial(entry: record.Entry) -> bool:
    """Tell whether an entry is too unsure to be claimed: fewer than three rounds, or others were computing."""
    machine = entry["machine"]
    # The benchmark before this one keeps all cores busy by itself.
    return entry["options"].get("pairs", 0) < 3 or machine["load"] > machine["cores"] + 1


def _where(entry: record.Entry) -> str:
    machine, versions = entry["machine"], entry["versions"]
    said = [
        f"{name} {versions.get(name, 'unknown')}"
        for name in ("torch", "transformers", "transformer-lens", "nnsight")
    ]
    trial = (
        "**A trial, of few rounds or on a busy machine, and nothing to rely on.** " if is_trial(entry) else ""
    )
    return (
        f"{trial}{entry['date'][:10]}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, load {machine['load']} as it began, "
        f"{', '.join(said)}, commit {entry['commit']}."
    )


def _quartiles(each: Mapping[str, Any], digits: int = 2) -> str:
    low, high = each["quartiles"]
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def draw(entry: record.Entry, place: Path) -> None:
    """Draw how long each way takes for one query, on a logarithmic axis."""
    from iclprobe.reports.style import figure_style, new_figure, png_bytes

    result = entry["result"]
    ways = {name: way for name, way in result["ways"].items() if not name.endswith("_shared")}
    ways = dict(sorted(ways.items(), key=lambda item: -item[1]["seconds of all queries"]))
    seconds = [way["seconds of all queries"] for way in ways.values()]
    with figure_style():
        figure = new_figure(6.9, 0.32 * len(ways) + 0.9)
        axes = figure.subplots()
        colours = ["#0072b2" if name.startswith("native") else "#6e6e6e" for name in ways]
        axes.barh(range(len(ways)), seconds, color=colours, height=0.65)
        for row, value in enumerate(seconds):
            axes.text(value * 1.05, row, f"{value:,.0f} s", va="center", fontsize=7)
        axes.set_yticks(range(len(ways)), [way["title"] for way in ways.values()])
        axes.set_xscale("log")
        axes.set_xlim(min(seconds) / 2, max(seconds) * 2)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"seconds, {result['text'].rpartition('; ')[2]}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png_bytes(figure))


if __name__ == "__main__":
    write_pages(*sys.argv[1:])
