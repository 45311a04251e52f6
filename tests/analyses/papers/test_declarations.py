"""The declared experiments: which there are, that each can be run at both scales, and what the papers published."""

from __future__ import annotations

import re

import pytest

from iclprobe.analyses.arms.config import ArmsConfig
from iclprobe.analyses.papers import barnatan, shen2024
from iclprobe.analyses.papers.catalogue import EXPERIMENTS, find_experiments
from iclprobe.analyses.papers.claim_list import CLAIM_LIST
from iclprobe.analyses.papers.declaration import Experiment, Part, Published
from iclprobe.analyses.papers.effect_names import EFFECTS
from iclprobe.analyses.papers.footnotes import FOOTNOTES, POCKET
from iclprobe.analyses.papers.kinds import configuration, study_key
from iclprobe.analyses.papers.requirements import MODEL_SIZES, RECORD_TOKENS, requirements_of
from iclprobe.analyses.papers.scales import POCKET_TASK_OF, resolve
from iclprobe.analyses.papers.views import VIEWS
from iclprobe.errors import UserError
from iclprobe.models.recipe import load_recipe, published_learning_rate
from iclprobe.reports.papers_figures import FIGURES, OF_EACH_PART
from iclprobe.tasks.catalogue import task_entry

EACH = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.key)


def test_the_list_is_every_table_and_figure_that_is_an_experiment() -> None:
    shen = [*(f"fig{number}" for number in range(2, 24)), "table1", "gd-vs-gd"]
    bar_natan = ["fig1", "fig3", "table1", "table2", "table3"]
    assert sorted(entry.name for entry in find_experiments("shen2024")) == sorted(shen)
    assert sorted(entry.name for entry in find_experiments("barnatan")) == sorted(bar_natan)
    assert (
        len({experiment.key for experiment in EXPERIMENTS}) == len(EXPERIMENTS) == len(shen) + len(bar_natan)
    )


@EACH
@pytest.mark.parametrize("scale", ["pocket", "paper"])
def test_settings_are_valid_at_both_scales(experiment: Experiment, scale) -> None:
    for part in experiment.parts:
        settings = resolve(experiment, part, scale).settings
        config = configuration(experiment.kind, settings)
        assert study_key(experiment.kind, settings) == study_key(experiment.kind, dict(settings))
        if "arms" in settings:
            assert isinstance(config, ArmsConfig)
            recipes = config.resolved_recipes()
            assert all(recipe.epochs == settings["epochs"] for recipe in recipes.values())


@EACH
def test_pocket_scale_never_cuts_seeds_orders_shots_or_arms(experiment: Experiment) -> None:
    for part in experiment.parts:
        paper = resolve(experiment, part, "paper").settings
        pocket = resolve(experiment, part, "pocket")
        for key in ("seeds", "orders", "shots", "arms", "batch_sizes"):
            assert pocket.settings.get(key) == paper.get(key)
        assert not any(line.startswith("seeds") for line in pocket.cuts)
        for key in ("limit", "epochs"):
            if paper.get(key) != pocket.settings.get(key):
                assert any(line.startswith(f"{key} {paper[key]} → ") for line in pocket.cuts)


@EACH
def test_pocket_scale_names_only_embedded_models_and_tasks(experiment: Experiment) -> None:
    for part in experiment.parts:
        settings = resolve(experiment, part, "pocket").settings
        assert settings.get("model", "pocket").startswith("pocket")
        tasks = (*settings.get("icl", ()), *([settings["task"]] if "task" in settings else []))
        assert all(task.startswith("pocket-") for task in tasks)
        assert all(checkpoint.model == "pocket" for checkpoint in settings.get("checkpoints", ()))


@EACH
def test_the_paper_scale_names_known_models_tasks_templates_and_rates(experiment: Experiment) -> None:
    for part in experiment.parts:
        settings = resolve(experiment, part, "paper").settings
        if "model" in settings:
            assert settings["model"] in MODEL_SIZES
        for task in (*settings.get("icl", ()), *([settings["task"]] if "task" in settings else [])):
            assert task in RECORD_TOKENS and task in POCKET_TASK_OF
            if settings.get("template"):
                assert settings["template"] in task_entry(task).variants
        if settings.get("learning_rate") == "published":
            for recipe in settings["recipes"]:
                assert published_learning_rate(load_recipe(recipe).name, settings["task"]) > 0


@EACH
def test_views_figures_and_footnotes_exist(experiment: Experiment) -> None:
    assert experiment.view in VIEWS and experiment.figure in {*FIGURES, *OF_EACH_PART}
    assert all(key in FOOTNOTES for key in experiment.footnotes)


def test_every_known_discrepancy_is_a_footnote_of_some_experiment() -> None:
    used = {key for experiment in EXPERIMENTS for key in experiment.footnotes}
    assert {f"D{number}" for number in range(1, 12)} <= used
    assert used == set(FOOTNOTES) - {POCKET}


def published(experiments: tuple[Experiment, ...], name: str) -> dict[tuple[str, str], float]:
    (experiment,) = (entry for entry in experiments if entry.name == name)
    return {(number.row, number.column): number.value for number in experiment.published}


def test_published_numbers_of_bar_natan_are_those_of_the_reference() -> None:
    table = published(barnatan.EXPERIMENTS, "table1")
    columns = ("CB", "SST2", "SST5", "Subj", "MR", "AGNews")
    literal = {
        "ZSL accuracy": "37.5 70.5 39.3 72.6 65.9 46.2",
        "FT accuracy": "57.1 74 39.4 77.8 72.6 66.7",
        "ICL accuracy": "50 92.7 45.0 90.0 89.1 79.2",
        "Jaccard": "80.0 16.4 3.4 36.2 34.0 48.0",
        "Jaccard, correct": "91.7 19.8 3.2 48.0 40.2 63.5",
        "Jaccard, incorrect": "66.7 1.8 3.5 10.2 17.7 19.2",
    }
    for row, text in literal.items():
        assert [table[row, column] for column in columns] == [float(number) for number in text.split()]
    table = published(barnatan.EXPERIMENTS, "table2")
    columns = ("SST2", "SST5", "MR", "Subj", "AGNews", "CB", "Average")
    literal = {
        "SimAOU (random)": ".0016 .0025 .0008 .0022 .0021 .0037 .0021",
        "SimAOU (FT)": ".1091 .113 .2190 .1932 .3053 .2013 .1901",
        "SimAOU (layer-causal FT)": ".2297 .1065 .3299 .3439 .3213 .3435 .2791",
        "SimAM (ZSL)": ".5546 .3913 .3979 .3786 .1518 .1524 .3377",
        "SimAM (FT)": ".5850 .4047 .4980 .4870 .4944 .1875 .4427",
        "SimAM (layer-causal FT)": ".5774 .4039 .2919 .2844 .1201 .0293 .2845",
    }
    for row, text in literal.items():
        values = [table[row, column] for column in columns]
        assert values == [float(number) for number in text.split()]
        # The published averages are those of the published columns, up to their rounding.
        if row != "SimAM (ZSL)":
            assert sum(values[:-1]) / 6 == pytest.approx(values[-1], abs=6e-4)
    table = published(barnatan.EXPERIMENTS, "table3")
    assert list(table.values()) == [0.1932, 0.3480, 0.3786, 0.4870, 0.4227]


def test_published_numbers_of_shen_are_those_of_the_reference() -> None:
    table = published(shen2024.EXPERIMENTS, "table1")
    literal = {"AGNews": (0.42, 0.69), "CB": (0.39, 0.72), "SST-2": (0.49, 0.75), "RTE": (0.36, 0.65)}
    for row, values in literal.items():
        assert (table[row, "8 demonstrations"], table[row, "512 demonstrations"]) == values
    assert published(shen2024.EXPERIMENTS, "fig4")["ICL", "Sen"] == 0.10
    assert published(shen2024.EXPERIMENTS, "fig2")["W_V, LLaMA-7B", "constructed"] == 75.0


def test_experiments_that_show_the_same_studies_share_them() -> None:
    def keys(name: str) -> set[str]:
        (experiment,) = find_experiments("shen2024", name)
        return {
            study_key(experiment.kind, resolve(experiment, part, "pocket").settings)
            for part in experiment.parts
        }

    assert keys("fig4") == keys("fig6")
    assert keys("fig3") == keys("fig9")
    assert keys("fig2") <= keys("fig10")
    assert keys("fig5") == keys("fig11") == keys("fig15") == keys("fig19")
    assert len(keys("fig11") | keys("fig12") | keys("fig13") | keys("fig14")) == 4


def test_claims_name_effects_and_experiments_that_exist() -> None:
    names = {experiment.key for experiment in EXPERIMENTS}
    assert len(CLAIM_LIST) >= 25
    for claim in CLAIM_LIST:
        assert claim.effect in EFFECTS
        assert claim.experiments and set(claim.experiments) <= names
        assert re.search(r"\w", claim.quote) and claim.section and claim.measured_as
        assert claim.above is not None or claim.below is not None
    assert set(EFFECTS) == {claim.effect for claim in CLAIM_LIST}


def test_what_the_paper_scale_takes_grows_with_what_is_run() -> None:
    (small,) = find_experiments("shen2024", "fig5")
    (large,) = find_experiments("shen2024", "fig6")

    def needs(experiment: Experiment):
        return requirements_of(experiment, [resolve(experiment, part, "paper") for part in experiment.parts])

    # fp16 weights of 6.74e9 parameters alone take 13.5 GB; finetuning all of them takes more.
    assert needs(small).gpu_bytes > 13.5e9 and needs(large).gpu_bytes > needs(small).gpu_bytes
    assert needs(large).gpu_hours > needs(small).gpu_hours > 1
    assert needs(find_experiments("shen2024", "fig2")[0]).gpu_hours == 0
    assert "GPU hours" in needs(large).describe()


def test_unknown_papers_and_experiments_are_told_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no experiment 'fig99': there are fig2, .*gd-vs-gd"):
        find_experiments("shen2024", "fig99")
    with pytest.raises(UserError, match="shen2024, barnatan"):
        find_experiments("dai2023")


def test_a_declaration_with_two_numbers_or_parts_in_one_place_is_refused() -> None:
    def make(parts: tuple[Part, ...], numbers: tuple[Published, ...]) -> Experiment:
        return Experiment("barnatan", "x", "x", "sparsity", {}, parts, "v", "f", published=numbers)

    with pytest.raises(ValueError, match="different labels"):
        make((Part("a"), Part("a")), ())
    with pytest.raises(ValueError, match="two numbers"):
        make((Part("a"),), (Published("r", "c", 1.0), Published("r", "c", 2.0)))
