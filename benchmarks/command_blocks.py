"""What pages say of whole commands, and of the memory that estimates foresee."""

from __future__ import annotations

from .markdown import Latest, markdown, quartiles_text, where


def startup_block(latest: Latest) -> str:
    """The smallest comparison, beside the imports."""
    entry = latest["startup"]
    result = entry["result"]
    rows = [
        [name, f"{each['median']:.2f}", quartiles_text(each), ""] for name, each in result["seconds"].items()
    ]
    for row in rows:
        beyond = result["seconds beyond the imports"].get(row[0])
        row[3] = "" if beyond is None else f"{beyond['median']:.2f} {quartiles_text(beyond)}"
    rows[0][0] = f"`{result['imports']}`"
    rows[1][0], rows[2][0] = f"`{result['command']}`", f"`{result['command']} --no-page`"
    return f"{where(entry)}\n\n" + markdown(["process", "seconds", "quartiles", "beyond the imports"], rows)


def end_to_end_block(latest: Latest) -> str:
    """Whole commands on a real model."""
    entry = latest["end-to-end"]
    result = entry["result"]
    if "skipped" in result:
        return f"{where(entry)} Skipped: {result['skipped']}."
    commands = result["commands"]
    rows = [
        [name, f"{each['seconds']['median']:.1f}", quartiles_text(each["seconds"], 1), f"`{each['options']}`"]
        for name, each in commands.items()
    ]
    parts = list(dict.fromkeys(part for each in commands.values() for part in each["share of the time"]))
    shares = [
        [part, *(f"{each['share of the time'].get(part, 0.0):.1%}" for each in commands.values())]
        for part in parts
    ]
    blocks = [
        f"{where(entry)} {result['model']}, {result['task']}.",
        markdown(["command", "seconds", "quartiles", "options"], rows),
        markdown(["share of the time", *commands], shares),
    ]
    if "beside" in result:
        times = {name: each["beside / here"] for name, each in commands.items() if "beside / here" in each}
        before = [
            [name, f"{each['median']:.2f}", quartiles_text(each), str(each["pairs"])]
            for name, each in times.items()
        ]
        head = [f"seconds of commit {result['beside']} / of this one", "median", "quartiles", "pairs"]
        blocks.append(markdown(head, before))
    return "\n\n".join(blocks)


def memory_block(latest: Latest) -> str:
    """What estimates foresee beside the peaks of processes that do it."""
    entry = latest["memory"]
    rows = [
        [
            f"{name}, {family}",
            f"{each['foreseen_gb']:.2f}",
            f"{each['peak_gb']:.2f}",
            f"{each['foreseen_by_peak']:.2f}",
        ]
        for family, runs in entry["result"].items()
        for name, each in runs.items()
    ]
    return f"{where(entry)}\n\n" + markdown(["run", "foreseen, GB", "peak, GB", "foreseen / peak"], rows)
