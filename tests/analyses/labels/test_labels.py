"""What other labels do: models set by hand that copy labels or ignore them are told apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from label_readers import label_reader, shape_task

import iclprobe
from iclprobe import LanguageModel, Study, UserError
from iclprobe.analyses.cell import prepare_cell
from iclprobe.analyses.labels.config import LabelsConfig
from iclprobe.analyses.labels.pairs import COSINE, FOLLOWS, PARTIAL_COSINE
from iclprobe.analyses.labels.relabelled import (
    at_chance,
    flipped,
    right_labels,
    variant_cell,
    variant_subject,
)
from iclprobe.analyses.subject import Subject
from iclprobe.probes import sim_aou

ASKED: dict[str, Any] = {
    "recipe": {"preset": "dai", "learning_rate": 1e-3},
    "shots": 12,
    "seeds": (0, 1),
    "limit": 10,
    "null_draws": 2,
    "resamples": 100,
    "balanced": True,
}


@pytest.fixture(scope="module")
def copying() -> LanguageModel:
    return label_reader("copies")


@pytest.fixture(scope="module")
def learner(copying: LanguageModel) -> Study:
    return iclprobe.labels(model=copying, task=shape_task(), **ASKED)


@pytest.fixture(scope="module")
def recogniser() -> Study:
    return iclprobe.labels(model=label_reader("ignores"), task=shape_task(), **ASKED)


def accuracy(study: Study, variant: str, name: str = "accuracy, ICL") -> float:
    effects = study.tables["effects"]
    return float(effects[(effects["variant"] == variant) & (effects["measure"] == name)]["value"].iloc[0])


def verdicts(study: Study) -> dict[str, Any]:
    return {one.name: one for one in study.findings if one.name.startswith("recognition or learning")}


def test_a_model_that_copies_labels_learns(learner: Study) -> None:
    assert accuracy(learner, "gold") == 100 and accuracy(learner, "flipped") == 0
    assert accuracy(learner, "abstract") == 100, "words that mean nothing are copied as well"
    for name, found in verdicts(learner).items():
        assert "learning" in found.sentence.split(":", 1)[1].split(";")[0], name
        assert found.value == 100 and found.null == 50
    effects = learner.tables["effects"].set_index(["variant", "measure"])
    assert effects.loc[("flipped", "accuracy, ICL"), "change"] == -100
    assert effects.loc[("gold", "accuracy, ICL"), "change"] == 0


def test_a_model_that_ignores_labels_recognises(recogniser: Study) -> None:
    for variant in ("gold", "random", "flipped"):
        assert accuracy(recogniser, variant) == 100
        assert accuracy(recogniser, variant, "accuracy, zero-shot") == 100
    for found in verdicts(recogniser).values():
        assert "recognition" in found.sentence.split(":", 1)[1].split(";")[0]
        assert found.value == 0
    # It knows nothing of other words.
    assert accuracy(recogniser, "abstract") < 100


def test_where_labels_change_nothing_inside_updates_are_the_same(recogniser: Study) -> None:
    pairs = recogniser.tables["pairs"].set_index(["variant", "other", "measure"])
    assert pairs.loc[("gold", "flipped", "predictions agree"), "value"] == 100
    assert pairs.loc[("gold", "flipped", COSINE), "value"] == pytest.approx(1, abs=1e-3) or torch.isnan(
        torch.tensor(pairs.loc[("gold", "flipped", COSINE), "value"])
    )


def test_random_labels_are_at_chance_and_flipped_ones_never_right(learner: Study) -> None:
    counts = learner.tables["demonstration_labels"].set_index(["variant", "seed"])
    for seed in (0, 1):
        right = [
            int(counts.loc[(variant, seed), "right"]) for variant in ("gold", "random", "flipped", "abstract")
        ]
        assert right == [12, 6, 0, 12]
    assert counts.loc[("abstract", 0), "words"] == "A, B"


@pytest.mark.parametrize("options", [2, 3, 5])
def test_labels_at_chance_are_what_redrawing_gives(options: int) -> None:
    from iclprobe import Record

    records = [Record({"text": str(place)}, place % options) for place in range(10)]
    want = round(10 / options)
    seen: Counter[tuple[int, int]] = Counter()
    for seed in range(400):
        drawn = at_chance(records, options, seed)
        assert sum(one.label == other.label for one, other in zip(records, drawn, strict=True)) == want
        seen.update((place, one.label) for place, one in enumerate(drawn))
    share = (1 - want / 10) / (options - 1)
    for place in range(10):
        for label in range(options):
            expected = want / 10 if label == place % options else share
            assert seen[place, label] / 400 == pytest.approx(expected, abs=0.12)
    assert [flipped(label, options) for label in range(options)] == [*range(1, options), 0]


def test_variants_have_the_same_records_and_queries(copying: LanguageModel) -> None:
    config = LabelsConfig(**ASKED)
    subject = Subject(copying, shape_task(), (0, 0))
    gold = prepare_cell(config, copying, subject.task, 0)
    for variant in ("random", "flipped", "abstract"):
        asked = variant_subject(config, subject, variant)
        cell = variant_cell(config, asked, gold, variant)
        assert cell.queries == gold.queries
        assert [one.texts for one in cell.demonstrations] == [one.texts for one in gold.demonstrations]
        assert cell.prompts.zero_shot.query_ids == gold.prompts.zero_shot.query_ids
        assert (cell.prompts.zero_shot.label_ids == gold.prompts.zero_shot.label_ids) is (
            variant != "abstract"
        )
        # Finetuning learns what is shown.
        words = asked.task.template.label_words
        said = [
            str(copying.require_tokenizer().decode(list(one.ids[one.label_start :])))
            for one in cell.prompts.training
        ]
        assert [text.strip() for text in said] == [words[one.label] for one in cell.demonstrations]
    assert right_labels(gold, gold) == 12


def test_cosines_of_updates_are_those_of_captures(learner: Study, copying: LanguageModel) -> None:
    plan = iclprobe.CapturePlan(sites=("attention_output",))
    config = LabelsConfig(**ASKED)
    subject = Subject(copying, shape_task(), (0, 0))
    values = []
    for seed in (0, 1):
        gold = prepare_cell(config, copying, subject.task, seed)
        other = variant_cell(config, subject, gold, "flipped")
        captures = [
            iclprobe.capture(copying, prompts, plan).attention_output
            for prompts in (gold.prompts.zero_shot, gold.prompts.icl, other.prompts.icl)
        ]
        values.append(sim_aou(*captures).values.nanmean(0).nanmean())  # type: ignore[arg-type]
    pairs = learner.tables["pairs"].set_index(["variant", "other", "measure"])
    assert pairs.loc[("gold", "flipped", COSINE), "value"] == pytest.approx(
        float(torch.stack(values).nanmean()), abs=1e-3
    )
    # What is copied is the opposite with flipped labels, and has nothing to do with words that stand elsewhere.
    assert pairs.loc[("gold", "flipped", PARTIAL_COSINE), "value"] == pytest.approx(-1, abs=1e-3)
    assert pairs.loc[("gold", "abstract", PARTIAL_COSINE), "value"] == pytest.approx(0, abs=1e-3)
    assert set(pairs.reset_index()["measure"]) >= {*FOLLOWS.values(), PARTIAL_COSINE}
    assert pairs.loc[("gold", "flipped", COSINE), "queries"] == 10


def test_the_sheet_and_the_figure_show_every_variant(learner: Study, tmp_path: Path) -> None:
    text = str(learner)
    assert "flipped labels: ICL is not better" not in text
    for word in ("turn with flipped labels", "gold, flipped", "abstract", "ICL less gold"):
        assert word in text
    figure = learner.plot("labels")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        "gold",
        "random",
        "flipped",
        "abstract",
    ]
    figure.savefig(tmp_path / "labels.png")


def test_a_study_on_disk_is_the_same(copying: LanguageModel, tmp_path: Path) -> None:
    asked = {**ASKED, "seeds": (0,), "variants": "gold,flipped", "limit": 4}
    made = iclprobe.labels(model=copying, task=shape_task(), out=tmp_path / "run", page=False, **asked)
    read = iclprobe.load_study(tmp_path / "run")
    assert str(read.tables["pairs"]) == str(made.tables["pairs"])
    assert (tmp_path / "run" / "labels.png").is_file()


def test_mistakes_are_one_sentence(copying: LanguageModel) -> None:
    with pytest.raises(UserError, match="name gold among the variants"):
        iclprobe.labels(model=copying, task=shape_task(), variants=("random", "flipped"))
    with pytest.raises(UserError, match="3 abstract words"):
        iclprobe.labels(model=copying, task=shape_task(), **{**ASKED, "abstract_words": "A,B,C"})
    with pytest.raises(UserError, match="same tokens"):
        iclprobe.labels(model=copying, task=shape_task(), **{**ASKED, "abstract_words": ("Q", "R")})
