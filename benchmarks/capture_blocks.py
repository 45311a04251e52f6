"""What pages say of captures: every way side by side, over shapes, and what their time goes into."""

from __future__ import annotations

from pathlib import Path

from . import record
from .markdown import Latest, is_trial, markdown, quartiles_text, where

_ENGINES = (
    *("bare_forward", "native", "native_whole", "transformer_lens", "transformer_lens_shared"),
    *("nnsight", "nnsight_shared", "reference"),
)
_GRID = ("bare_forward", "native")


def capture_block(latest: Latest) -> str:
    """Every way of recording, with its seconds, tokens and memory, and the ratios that are claimed."""
    entry = latest["capture"]
    return "\n\n".join(
        [
            where(entry) + f" {entry['result']['text']}.",
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
        [name, f"{each['median']:.2f}", quartiles_text(each), str(each["pairs"])]
        for name, each in found.items()
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
        where(entry)
        + f" {result['queries']} queries; one thing is varied at a time around the usual shape. Whole "
        f"prompts are timed on {result['whole prompts timed']} queries; peak memory is that of a process "
        "which does nothing else."
    ]
    for axis, sizes in result["axes"].items():
        rows = [
            [
                size,
                f"{each['native capture / floor']['median']:.2f} {quartiles_text(each['native capture / floor'])}",
                f"{each['bare forward / native capture']['median']:.1f} "
                f"{quartiles_text(each['bare forward / native capture'], 1)}",
                *(f"{each['prompt tokens a second'][name]:,}" for name in _GRID),
                *(f"{each['peak bytes'][name] / 1e9:.2f}" for name in _GRID if "peak bytes" in each),
            ]
            for size, each in sizes.items()
        ]
        head = [axis, "native / floor", "bare / native", "bare, tokens a second", "native, tokens a second"]
        memory = ["bare, GB", "native, GB"] if len(rows[0]) > len(head) else []
        parts.append(markdown([*head, *memory], rows))
    return "\n\n".join(parts)


def profile_block(latest: Latest) -> str:
    """What the time of a capture goes into."""
    entry = latest["profile"]
    result = entry["result"]
    ratio = result["capture / the same without a tap"]
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in result["seconds"].items())
    return "\n\n".join(
        [
            f"{where(entry)} {result['text']}: {seconds}; with the tap it takes {ratio['median']:.3f} "
            f"{quartiles_text(ratio, 3)} times the same without it.",
            *(
                markdown(
                    [name.removeprefix("share of the capture, "), "share of the capture"],
                    [[part, f"{share:.1%}"] for part, share in result[name].items()],
                )
                for name in ("share of the capture, by part", "share of the capture, by operation")
            ),
        ]
    )


def engines_block(latest: Latest) -> str:
    """The engines beside each other."""
    entry = latest["capture"]
    return f"{where(entry)} {entry['result']['text']}.\n\n{ways_table(entry, _ENGINES)}"


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
