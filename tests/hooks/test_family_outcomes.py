"""Every causal model type of the installed transformers has one outcome, and the table comes first."""

from __future__ import annotations

from collections import Counter

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from iclprobe.cli import main
from iclprobe.hooks.family_outcomes import FamilyOutcome, family_outcomes
from iclprobe.models.families import family_names

REFUSED = {
    "bert": "which holds no output projection",
    "diffllama": "layer 0 calls attention 2 times in a forward",
    "blt": "no list of as many layers",
    "hrm_text": "no list of as many layers",
    "jetmoe": "no attention module with W_Q, W_K and W_V",
    "longcat_flash": "no list of as many layers",
    "mamba": "no attention module",
    "musicgen": "holds several text models",
    "reformer": "its default configuration gives no model",
    "rwkv": "no attention module",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, FamilyOutcome]:
    found = family_outcomes()
    assert len({each.model_type for each in found}) == len(found)
    return {each.model_type: each for each in found}


def test_every_type_has_one_outcome_and_few_are_refused(outcomes: dict[str, FamilyOutcome]) -> None:
    """A type may come to have a row, and a new transformers may have more types: neither lowers these counts."""
    assert set(outcomes) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    counts = Counter(each.outcome for each in outcomes.values())
    assert counts["row"] >= 118
    assert counts["row"] + counts["derived"] >= 142
    assert set(counts) <= {"row", "derived", "refused"}


def test_the_table_comes_first(outcomes: dict[str, FamilyOutcome]) -> None:
    listed = set(family_names()) & set(outcomes)
    assert {outcomes[name].outcome for name in listed} == {"row"}
    assert outcomes["gemma3"] == FamilyOutcome("gemma3", "row", "gemma3_text")


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_refusal_says_what_was_found(name: str, outcomes: dict[str, FamilyOutcome]) -> None:
    assert outcomes[name].outcome == "refused"
    assert REFUSED[name] in outcomes[name].why


def test_every_refusal_is_one_line(outcomes: dict[str, FamilyOutcome]) -> None:
    told = [each.why for each in outcomes.values() if each.outcome == "refused"]
    assert all(0 < len(why) <= 300 and "\n" not in why for why in told)


def test_the_command_line_lists_them_by_outcome(
    outcomes: dict[str, FamilyOutcome], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("iclprobe.hooks.family_outcomes.family_outcomes", lambda: tuple(outcomes.values()))
    assert main(["families", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [head.split()[0] for head in heads] == ["row", "derived", "refused"]
    assert "if the self-check holds on the model itself" in heads[1]
    assert len(lines) == len(outcomes) + 3
    assert any(line.startswith("  mamba ") and "no attention module" in line for line in lines)


def test_without_all_the_rows_alone_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families"]) == 0
    assert capsys.readouterr().out.split() == list(family_names())
