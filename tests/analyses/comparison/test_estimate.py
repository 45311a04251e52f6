"""What is said before a run is what it takes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import tiny_families
import torch
from model_snapshot import sequences
from shared_material import real_model, shared

from iclprobe.analyses.cell import prepare_cell
from iclprobe.analyses.comparison import estimate, pace
from iclprobe.analyses.comparison.estimate import Estimate, estimate_comparisons, kept_of_queries
from iclprobe.analyses.comparison.pace import Pace, measure_pace
from iclprobe.analyses.configuration import CellConfig
from iclprobe.analyses.subject import load_subject
from iclprobe.analyses.weights.checkpoints import Checkpoint
from iclprobe.hooks import storage
from iclprobe.models.finetuning_memory import delta_bytes, finetuning_bytes
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.models.parameters import count_parameters, select_parameters
from iclprobe.models.recipe import Recipe, load_recipe, preset
from iclprobe.models.token_loss import loss_token_count


def model(dtype: torch.dtype = torch.float32) -> LanguageModel:
    return load_model(tiny_families.fresh("llama").to(dtype))  # type: ignore[arg-type]


def test_every_copy_of_what_is_trained_is_counted() -> None:
    fp32, training = model(), sequences(2)
    weights = sum(parameter.nbytes for parameter in fp32.module.parameters())
    whole = Recipe(optimizer="gd", parameters="all")
    assert delta_bytes(fp32, whole) == weights
    assert finetuning_bytes(fp32, whole, training) >= 2 * weights  # A copy and its gradient.
    adam = finetuning_bytes(fp32, Recipe(optimizer="adam", parameters="all", batch_size=2), training)
    assert adam > 4 * weights  # Two states, too.
    many = finetuning_bytes(fp32, whole, training * 5)
    assert many >= 3 * weights  # Of two forwards: the sum so far, too.


def test_what_is_computed_again_is_not_kept() -> None:
    fp32, whole = model(), Recipe(optimizer="gd", parameters="attn_v")
    training = sequences(2) * 4
    assert finetuning_bytes(fp32, whole, training, recompute=True) < 0.6 * finetuning_bytes(
        fp32, whole, training
    )


def test_half_precision_has_masters_in_fp32() -> None:
    training, whole = sequences(2), Recipe(optimizer="sgd", parameters="all")
    fp32, bf16 = model(), model(torch.bfloat16)
    weights = sum(parameter.nbytes for parameter in fp32.module.parameters())
    assert delta_bytes(bf16, whole) == weights // 2
    # A copy and a gradient in bf16, a master and a gradient in fp32.
    assert finetuning_bytes(bf16, whole, training) >= 3 * weights


def test_few_trained_layers_and_layer_causal_losses_keep_less() -> None:
    fp32, training = model(), sequences(2)
    last, all_layers = (Recipe(parameters=name, batch_size=2) for name in ("attn_v@-1", "attn_v"))
    causal = all_layers.model_copy(update={"schedule": "layer_causal"})
    most = finetuning_bytes(fp32, all_layers, training)
    assert finetuning_bytes(fp32, last, training) < most
    assert finetuning_bytes(fp32, causal, training) < most


def planned(config: CellConfig) -> Estimate:
    subject = load_subject(config, None, None)
    return estimate_comparisons(
        subject.model, [(prepare_cell(config, subject.model, subject.task, 0), [config])]
    )


def test_the_search_is_told_where_there_is_one() -> None:
    given = planned(CellConfig(limit=8, learning_rate=0.1))
    assert given.search_seconds == 0 and "choose" not in given.describe()
    searched = planned(CellConfig(limit=8))
    assert searched.search_seconds > 0
    assert "s of them to choose a learning rate" in searched.describe()
    assert searched.finetuning_bytes > given.finetuning_bytes


def test_a_model_finetuned_elsewhere_takes_the_memory_of_its_weights() -> None:
    given = planned(CellConfig(limit=8, finetuned=Checkpoint("somewhere")))
    assert given.finetuning_bytes == given.model_bytes < given.working_bytes
    assert given.search_seconds == 0


def test_the_line_says_what_takes_most() -> None:
    said = Estimate(10**9, 10**8, 0, 2 * 10**8, 3 * 10**9, 20.0, 0.0, 1)
    assert said.describe() == ("estimate: 4.10 GB (1.00 model, 0.10 kept, 3.00 finetuning), about 20 s")
    assert "0.20 work" in replace(said, finetuning_bytes=0).describe()
    several = replace(said, draws=3, search_seconds=10.0).describe()
    assert several.endswith("about 30 s a draw, 10 s of them to choose a learning rate")


def test_the_results_of_several_draws_are_kept() -> None:
    one = planned(CellConfig(limit=8, learning_rate=0.1))
    three = planned(CellConfig(limit=8, learning_rate=0.1, seeds=(0, 1, 2)))
    subject = load_subject(CellConfig(), None, None)
    each = delta_bytes(subject.model, preset("dai")) + kept_of_queries(subject.model, 8)
    assert three.kept_bytes - one.kept_bytes == 2 * each


def test_what_is_recorded_of_many_queries_is_told_as_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many queries take twice the disk, and memory for what each leaves alone."""
    assert planned(CellConfig(limit=8, learning_rate=0.1)).disk_bytes == 0
    monkeypatch.setattr(storage, "IN_MEMORY_BYTES", 100_000)
    few, many = (planned(CellConfig(limit=limit, learning_rate=0.1, batch_size=8)) for limit in (100, 200))
    assert few.disk_bytes > 3 * 100_000 and many.disk_bytes == pytest.approx(2 * few.disk_bytes, rel=0.1)
    subject = load_subject(CellConfig(), None, None)
    assert many.kept_bytes - few.kept_bytes == kept_of_queries(subject.model, 100)
    assert f"and {many.disk_bytes / 1e9:.2f} GB of disk while it runs" in many.describe()


def test_a_pace_adds_up() -> None:
    assert Pace(0.5, 0.01, 0.1).seconds(2, 30, 4) == pytest.approx(1.7)
    measured = measure_pace(model())
    assert min(measured.forward, measured.token, measured.logits) >= 0
    assert measured.seconds(1, 1, 1) > 0


def test_a_pace_is_what_timed_forwards_have_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Pace(0.5, 0.01, 0.02)

    def timed(_: LanguageModel, shape: tuple[int, int], kept: int) -> float:
        return truth.seconds(1, shape[0] * shape[1], shape[0] * kept)

    monkeypatch.setattr(pace, "_timed", timed)
    measured = measure_pace(model())
    # One position of each row has logits in the short forwards: their time counts among that of the tokens.
    assert measured.logits == pytest.approx(truth.logits)
    for forwards, tokens, logits in ((1, 16, 1), (1, 128, 4), (1, 128, 128)):
        assert measured.seconds(forwards, tokens, logits) == pytest.approx(
            truth.seconds(forwards, tokens, logits), rel=0.1
        )


@pytest.mark.parametrize("unit", [Pace(1, 0, 0), Pace(0, 1, 0), Pace(0, 0, 1)], ids=str)
def test_the_seconds_are_those_of_the_forwards_that_are_made(
    unit: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One epoch of demonstrations one by one, its loss before and after, and three settings of eight queries."""
    monkeypatch.setattr(estimate, "measure_pace", lambda _: unit)
    recipe = load_recipe({"preset": "dai", "epochs": 1, "batch_size": 1})
    config = CellConfig(limit=8, learning_rate=0.1, batch_size=4, recipe=recipe.model_dump())
    subject = load_subject(config, None, None)
    prompts = prepare_cell(config, subject.model, subject.task, 0).prompts
    queries = [len(ids) for ids in prompts.zero_shot.query_ids]
    shown = [len(sequence.ids) for sequence in prompts.training]
    answered = [loss_token_count(sequence, recipe.loss_tokens) for sequence in prompts.training]
    forwards = unit.seconds(2, sum(queries), 8 * 4)
    prefix = unit.seconds(1, len(prompts.icl.prefix_ids), 1)
    step = unit.seconds(len(shown), sum(shown), sum(answered))
    padded = len(shown) * max(shown)
    ends = 2 * unit.seconds(1, padded, padded / sum(shown) * sum(answered))
    trained = count_parameters(
        subject.model, select_parameters(subject.model, recipe.parameters, recipe.include_bias)
    )
    updates = len(shown) * trained * 2e-9
    said = planned(config).seconds
    assert said == pytest.approx(3 * 1.2 * forwards + prefix + 3 * step + ends + updates)


def test_the_work_is_that_of_the_largest_comparison() -> None:
    """Of two numbers of shots the larger is counted, whichever stands first."""
    few, many = (CellConfig(limit=8, learning_rate=0.1, shots=shots, batch_size=8) for shots in (1, 4))
    subject = load_subject(few, None, None)
    cells = [(prepare_cell(config, subject.model, subject.task, 0), [config]) for config in (few, many)]
    both = [estimate_comparisons(subject.model, order) for order in (cells, cells[::-1])]
    alone = estimate_comparisons(subject.model, cells[1:])
    assert both[0].working_bytes == both[1].working_bytes == alone.working_bytes


RECIPES = ({"preset": "dai"}, {"preset": "shen_adam", "epochs": 1})


@pytest.mark.real
def test_memory_of_a_real_model_is_what_was_said() -> None:
    place, data = real_model("smollm2-135m-instruct"), shared("data/sst2")
    for recipe in RECIPES:
        load_recipe(recipe)
    # A process for each recipe, since the most that one ever had never falls; forked, so that imports are paid once.
    code = f"""
import os, re, torch
torch.set_num_threads(1)
import iclprobe.analyses.runner, iclprobe.analyses.comparison.measurement, pandas, pyarrow
from iclprobe import compare
def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024
def measure(recipe):
    before, said = status("VmRSS"), []
    compare(model={str(place)!r}, task="sst2", data={str(data)!r}, shots=4, limit=2, learning_rate=1e-4,
            recipe=recipe, resamples=2, say=said.append)
    estimate = next(float(re.match("estimate: ([0-9.]+) GB", line)[1]) for line in said if "GB" in line)
    print(estimate / ((status("VmHWM") - before) / 1e9), flush=True)
for recipe in {RECIPES!r}:
    child = os.fork()
    if child == 0:
        measure(recipe)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ratios = [float(line) for line in done.stdout.splitlines()]
    assert len(ratios) == len(RECIPES) and all(0.7 <= ratio <= 1.3 for ratio in ratios), ratios
