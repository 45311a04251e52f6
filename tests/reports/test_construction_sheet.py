"""The sheet of a study of the construction."""

from __future__ import annotations

from dataclasses import replace

from small_construction import small_study, swept

from iclprobe.reports.sheet_html import sheet_html


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line.removeprefix(name).split()


def test_the_table_says_what_was_found() -> None:
    study = small_study()
    text = study.table()
    assert str(study) == text
    cosines = study.tables["training"]["sensitivity_cosine"]
    assert row(text, "sensitivity cosine") == [f"{cosines.iloc[0]:.5f}", f"{cosines.iloc[-1]:.5f}"]
    assert len(row(text, "gradient descent, one step")) == 3
    fractions = row(text, "W_Q")
    assert fractions[0] == "88.00" and len(fractions) == 4
    assert len(row(text, "W_Kᵀ W_Q, rescaled")) == 2
    assert f"eta = {study.tables['construction']['step_size'].iloc[0]:.4g}" in text
    assert "warning" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_each_value_of_what_is_varied_has_a_row_of_losses_and_distances() -> None:
    study = small_study()
    block = next(block for block in study.sheet().blocks if block.corner == "loss by demonstrations")
    assert block.columns == ("trained layer", "gradient descent", "P built for N = 5")
    assert [value for value, _ in block.rows] == ["1", "5", "20"]
    trained, descent, _ = block.rows[0][1]
    assert trained == (f"{swept(study, 'demonstrations', 'trained layer')[0]:.3g}",)
    loss, gap = (
        swept(study, "demonstrations", "gradient descent", column)[0] for column in ("loss", "difference")
    )
    assert descent == (f"{loss:.3g}", f"Δ {gap:.3g}")


def test_html_escapes_every_text() -> None:
    study = small_study()
    zeros = study.tables["zeros"].assign(model="<b>")
    html = sheet_html(replace(study, tables={**study.tables, "zeros": zeros}).sheet(), at_most=100_000)
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert html.count("<table") == html.count("</table>") > 3
