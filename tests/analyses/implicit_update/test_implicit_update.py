"""In-context learning as a change of weights, of whole draws: in kinds of families, on planted truths, and told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_families import build, prefix, random_ids
from torch import Tensor

import iclprobe
from iclprobe.analyses.cell import Cell
from iclprobe.analyses.implicit_update.config import ImplicitUpdateConfig
from iclprobe.analyses.implicit_update.draw import ImplicitDraw, draw_updates
from iclprobe.analyses.implicit_update.judged import CONDITIONS, judge
from iclprobe.analyses.implicit_update.rows import implicit_rows
from iclprobe.errors import UserError
from iclprobe.hooks.last_token import RowWrite, last_token
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.tasks.prompt_set import PromptSet, TaskPrompts, TrainingSequence

CONFIG = ImplicitUpdateConfig(learning_rate=0.01, device="cpu", resamples=50, null_draws=2)
QUERIES = 8
FAMILIES = ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt2", "opt", "bloom", "olmo2"]


def cell(name: str, *, same: bool = False, words: int = 1) -> Cell:
    """Queries behind a begin of sequence, or behind demonstrations too; two demonstrations to train on."""
    front = tuple(prefix(name, length=1))
    queries = tuple(
        tuple(random_ids(7 if same else 5 + each % 3, 1 if same else each)) for each in range(QUERIES)
    )
    labels = ((5, 7)[:words], (6, 8)[:words])
    zero_shot = PromptSet(front, queries, (labels,) * QUERIES, (0, 1) * (QUERIES // 2), bos_length=1)
    icl = replace(zero_shot, prefix_ids=front + tuple(prefix(name, seed=3, length=20)))
    training = tuple(
        TrainingSequence(front + tuple(random_ids(6, 40 + each)) + labels[each], 7, labels) for each in (0, 1)
    )
    places = tuple(range(QUERIES))
    return Cell(0, (), places, TaskPrompts(zero_shot, icl, training, 2, 2, places, 0, False))


def made(model: LanguageModel, drawn: Cell, config: ImplicitUpdateConfig = CONFIG) -> ImplicitDraw:
    return draw_updates(config, model, None, drawn)  # type: ignore[arg-type]


def behind(model: LanguageModel, draw: ImplicitDraw, query: int, place: int) -> Tensor:
    """What is answered where the stream behind a layer is set to what it is in context."""
    prompts, residual = draw.cell.prompts.zero_shot, draw.icl.residual
    assert residual is not None
    write = RowWrite(
        "residual", draw.layers[place].maps.layer, torch.tensor([0]), residual[query, place][None]
    )
    with last_token(model, prompts.full_ids(query), prompts.label_ids[query]) as token:
        said = token.run(1, [write]).label_logprobs
    assert said is not None
    return said[0].double()


@pytest.mark.parametrize(
    "name", ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt2", "opt", "bloom", "olmo2"]
)
def test_a_querys_own_update_with_the_skip_path_is_the_stream_in_context_behind_that_layer(name: str) -> None:
    """The weights alone are not: what attention changed reaches the stream past the MLP."""
    model = load_model(build(name))
    draw = made(model, cell(name))
    given = judge(CONFIG, model, draw)
    own, alone = CONDITIONS.index("own"), CONDITIONS.index("own, MLP alone")
    for place in range(len(draw.layers)):
        for query in (0, 3):
            wanted = behind(model, draw, query, place)
            assert torch.allclose(given[query, place, own], wanted, atol=1e-4)
            assert not torch.allclose(given[query, place, alone], wanted, atol=1e-2)
    # Behind the last layer nothing is left to differ.
    answered = draw.answers["icl"].label_logprobs.double()
    assert torch.allclose(given[:, -1, own], answered, atol=1e-4)


def test_label_words_of_several_tokens_are_answered_behind_what_is_given() -> None:
    model, drawn = load_model(build("llama")), cell("llama", words=2)
    draw = made(model, drawn)
    given = judge(CONFIG, model, draw)
    for query in (0, 5):
        assert torch.allclose(given[query, 1, 0], behind(model, draw, query, 1), atol=1e-4)


def test_queries_that_are_one_have_one_update() -> None:
    model = load_model(build("llama"))
    draw = made(model, cell("llama", same=True))
    given = judge(CONFIG, model, draw)
    measures, layers = implicit_rows(CONFIG, draw, given)
    values = {(row["measure"], row["condition"]): row["value"] for row in measures}
    assert values["effective rank", "own"] == pytest.approx(1, abs=1e-4)
    for condition in ("shared", "mean", "permuted"):
        assert values["explained", condition] == pytest.approx(1, abs=1e-4)
    closed = {(row["layer"], row["condition"]): row["value"] for row in layers if row["measure"] == "closed"}
    for layer in range(3):
        for condition in ("shared", "other", "mean"):
            assert closed[layer, condition] == pytest.approx(closed[layer, "own"], abs=1e-3)
    assert closed[2, "own"] == pytest.approx(1, abs=1e-4)
    assert closed[2, "own, MLP alone"] < 0.99


def test_a_recipe_that_trains_attention_alone_leaves_the_alignment_undefined_and_says_so() -> None:
    found = iclprobe.implicit_update(
        shots=2, limit=8, device="cpu", learning_rate=0.01, recipe="dai", resamples=20, judged=False
    )
    layers = found.tables["layers"]
    alignment = layers[layers["measure"].str.startswith("alignment")]
    assert len(alignment) and bool(alignment["value"].isna().all()) and set(alignment["defined"]) == {0}
    (told,) = [each for each in found.findings if each.name == "alignment with finetuning"]
    assert told.kind == "warning" and "dai trained no first map of an MLP" in told.sentence
    assert not bool((layers["measure"] == "closed").any())


def test_an_update_that_finetuning_made_itself_is_found_in_it() -> None:
    """What finetuning added is set to the implicit update of one query: its cosine with that is 1."""
    draw = made(load_model(build("llama")), cell("llama"))
    layers = tuple(replace(each, finetuned=each.updates.matrix(2)) for each in draw.layers)
    _, rows = implicit_rows(CONFIG, replace(draw, layers=layers), None)
    from iclprobe.probes.implicit_update import update_alignment

    for each in layers:
        assert each.finetuned is not None
        assert float(update_alignment(each.updates, each.finetuned).weights[2]) == pytest.approx(1)
    means = [row["value"] for row in rows if row["measure"] == "alignment of weights"]
    assert all(1 / QUERIES - 0.2 < value < 1 for value in means)


def test_parallel_layers_have_no_skip_path_to_give_anything_to() -> None:
    draw = made(load_model(build("gpt_neox")), cell("gpt_neox"))
    assert all(each.skip is None for each in draw.layers)
    # The MLP of layer 0 reads the token alone, which demonstrations do not change.
    measures, layers = implicit_rows(CONFIG, draw, None)
    of_first = [row for row in layers if row["layer"] == 0 and row["measure"] in ("length", "explained")]
    assert of_first and all(row["defined"] == 0 and math.isnan(row["value"]) for row in of_first)
    assert all(row["value"] == row["value"] for row in measures if row["measure"] == "length")


def test_too_few_queries_are_refused() -> None:
    with pytest.raises(UserError, match=r"4 queries are too few .*at least 8"):
        iclprobe.implicit_update(shots=2, limit=4, device="cpu", learning_rate=0.01)


@pytest.fixture(scope="module")
def study() -> Any:
    return iclprobe.implicit_update(
        shots=4, limit=12, device="cpu", learning_rate=0.05, seeds=(0, 1), resamples=50, null_draws=2
    )


def test_tables_findings_and_sheet_tell_the_same(study: Any) -> None:
    layers, measures = study.tables["layers"], study.tables["measures"]
    explained = layers[(layers["measure"] == "explained") & (layers["condition"] == "shared")]
    mean = measures[(measures["measure"] == "explained") & (measures["condition"] == "shared")]
    assert explained.groupby("seed")["value"].mean().to_numpy() == pytest.approx(mean["value"].to_numpy())
    found = {finding.name: finding for finding in study.findings}
    assert found["explained by one update for all"].value == pytest.approx(mean["value"].mean())
    best = found["closed by one update for all"]
    rows = layers[
        (layers["measure"] == "closed")
        & (layers["condition"] == "shared")
        & (layers["layer"] == best.where["layer"])
    ]
    assert best.value == pytest.approx(rows["value"].mean())
    own = layers[(layers["measure"] == "closed") & (layers["condition"] == "own") & (layers["layer"] == 5)]
    assert own["value"].to_numpy() == pytest.approx([1.0, 1.0], abs=1e-6)
    closed = layers[layers["measure"] == "closed"].set_index(["seed", "layer", "condition"])["value"]
    closed = closed.unstack()
    beyond = (closed["shared"] - closed["mean"]).to_numpy()
    assert closed["shared beyond mean"].to_numpy() == pytest.approx(beyond)
    assert set(study.figures()) == {"updates", "closed"} and "closed, by layer" in str(study)
