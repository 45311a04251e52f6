"""Which figures a study has: asked for with a question mark, and said where there is no such figure."""

from __future__ import annotations

from typing import Any

import pytest
from made_studies import studies_of
from made_study import study_of
from matplotlib.figure import Figure

import iclprobe
from iclprobe.study.analysis import registered_analyses
from iclprobe.study.figure_kinds import FigureKinds, NoSuchFigure, draw_figure

ALL = [(name, variant) for name in registered_analyses() for variant in studies_of(name)]


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_kind_has_a_line_that_says_what_it_shows(name: str, variant: str) -> None:
    study = studies_of(name)[variant]
    kinds = study.plot("?")
    assert list(kinds) == list(study.drawers())
    assert all(line.startswith("Draw ") and "\n" not in line and len(line) < 140 for line in kinds.values())
    assert len(set(kinds.values())) == len(kinds) and repr(kinds).count("\n") == len(kinds) - 1


def test_pictures_that_are_told_apart_by_a_setting_say_which() -> None:
    kinds: Any = studies_of("attention")["every setting"].plot("?")
    assert (
        kinds["map-zsl-layer2"]
        == "Draw every head's attention in one layer, token by token (zero-shot, layer 2)"
    )
    assert kinds["difference-icl-zsl-layer0"].endswith("on the scale of its layer (ICL, zero-shot, layer 0)")


def test_an_unknown_kind_is_told_what_there_is() -> None:
    study = studies_of("drift")["even steps"]
    with pytest.raises(NoSuchFigure) as caught:
        study.plot("pears")
    said = str(caught.value).splitlines()
    assert said[0] == "no figure 'pears' of drift: there are"
    assert [line.split()[0] for line in said[1:]] == ["gap", "layers", "pairs"]
    assert isinstance(caught.value, KeyError)


def test_a_figure_of_ones_own_has_its_own_width() -> None:
    def mine(study: Any) -> Figure:
        """Draw nothing at all."""
        return Figure(figsize=(2, 2))

    study = study_of("claims", {"claims": []})
    assert FigureKinds({"mine": mine}) == {"mine": "Draw nothing at all"}
    assert draw_figure(mine, study, None).get_size_inches().tolist() == [2, 2]
    with pytest.raises(iclprobe.UserError, match="leave width out"):
        draw_figure(mine, study, 3.3)


@pytest.mark.parametrize("width", [1.0, 200.0, float("nan")])
def test_widths_at_which_nothing_can_be_read_are_refused(width: float) -> None:
    with pytest.raises(iclprobe.UserError, match=r"2\.5 to 20 inches wide"):
        studies_of("drift")["even steps"].plot(width=width)
