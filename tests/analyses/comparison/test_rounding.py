"""What demonstrations change only by rounding is undefined, in real models of several position schemes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from shared_material import real_model, shared
from transformers import AutoModelForCausalLM

import iclprobe
from iclprobe.analyses.comparison.rounding import ChangeFloors, RepeatedRun, change_floors, repeat_zero_shot
from iclprobe.analyses.configuration import CellConfig
from iclprobe.hooks.captured import Capture
from iclprobe.models.loading import LanguageModel
from iclprobe.probes import sim_am, sim_aou
from iclprobe.probes.rounding import Floors
from iclprobe.tasks.prompt_set import PromptSet

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def with_far(names: list[str], far: list[str]) -> pytest.MarkDecorator:
    """Every model behind two prefixes, and some behind one of 8,000 tokens, which takes long."""
    cases = [pytest.param(name, prefix, id=f"{name}-{prefix}") for name in names for prefix in (32, 1_000)]
    long = [pytest.param(name, 8_000, marks=pytest.mark.slow, id=f"{name}-8000") for name in far]
    return pytest.mark.parametrize(("name", "prefix"), [*cases, *long])


PLAN = iclprobe.CapturePlan()


def long_context(name: str, dtype: torch.dtype) -> LanguageModel:
    """The tiny model of a family with room for 9,000 tokens; rotary weights do not depend on it."""
    config: Any = tiny_families.FAMILIES[name]()
    for key in ("max_position_embeddings", "n_positions"):
        if hasattr(config, key):
            setattr(config, key, 9_000)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    own = model.state_dict()
    given = {key: value for key, value in tiny_families.build(name).state_dict().items() if key in own}
    model.load_state_dict({**own, **{k: v for k, v in given.items() if v.shape == own[k].shape}})
    return iclprobe.load_model(model.to(dtype))


def queries(vocabulary: int, shortest: int = 4, count: int = 16) -> tuple[tuple[int, ...], ...]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(shortest, 36, (count,), generator=generator).tolist()
    return tuple(
        tuple(torch.randint(5, vocabulary, (length,), generator=generator).tolist()) for length in lengths
    )


def two_settings(
    model: LanguageModel, prefix: int, asked: tuple[tuple[int, ...], ...]
) -> tuple[Capture, Capture, ChangeFloors]:
    """Zero-shot and behind a prefix, and the floors between them."""
    vocabulary = model.module.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(prefix)
    shown = tuple(torch.randint(5, vocabulary, (prefix,), generator=generator).tolist())
    zero_shot, icl = (
        iclprobe.capture(model, PromptSet(ids, asked), PLAN, batch_size=8) for ids in ((), shown)
    )
    return zero_shot, icl, change_floors(zero_shot, icl, None)


def delta(zero_shot: Capture, icl: torch.Tensor, floors: ChangeFloors) -> torch.Tensor:
    """SimAM of the changes against a genuine change of every score, `[N, L, H]`."""
    assert zero_shot.scores is not None
    noise = torch.randn(zero_shot.scores.shape, generator=torch.Generator().manual_seed(0))
    moved = zero_shot.scores + zero_shot.scores.std() * noise
    compared = sim_am(
        moved,
        icl,
        zero_shot.columns,
        variant="delta",
        zero_shot=zero_shot.scores,
        visible=zero_shot.visible,
        floors=floors.scores,
    )
    return compared.values


@DTYPES
@with_far(["llama", "qwen2", "gemma3_text", "gptj", "gpt_neox", "phi"], far=["llama", "gptj"])
def test_layer_0_of_relative_positions_changes_by_rounding_alone(
    name: str, dtype: torch.dtype, prefix: int
) -> None:
    model = long_context(name, dtype)
    zero_shot, icl, floors = two_settings(model, prefix, queries(tiny_families.VOCABULARY))
    assert zero_shot.scores is not None and icl.scores is not None
    values = delta(zero_shot, icl.scores, floors)
    assert values[:, 0].isnan().all()
    assert not values[:, 2].isnan().any()
    # A genuine change of ten times the floor, on top of the rounding, has a direction.
    assert isinstance(floors.scores.icl, torch.Tensor)
    direction = torch.randn(icl.scores.shape, generator=torch.Generator().manual_seed(2)).double()
    direction = direction.masked_fill(~zero_shot.columns[:, None, None], 0.0)
    size = direction.square().sum(-1, keepdim=True) / zero_shot.columns.sum(-1)[:, None, None, None]
    genuine = icl.scores + 10 * floors.scores.icl[..., None] * direction / size.sqrt()
    assert not delta(zero_shot, genuine, floors)[:, 0].isnan().any()


@DTYPES
@with_far(["mistral", "gemma2"], far=["mistral"])
def test_outputs_whose_window_ends_before_the_demonstrations_do_not_change(
    name: str, dtype: torch.dtype, prefix: int
) -> None:
    model = long_context(name, dtype)
    asked = queries(tiny_families.VOCABULARY, shortest=2 * tiny_families.WINDOW)
    zero_shot, icl, floors = two_settings(model, prefix, asked)
    before, after = zero_shot.attention_output, icl.attention_output
    assert before is not None and after is not None and not torch.equal(before, after)
    moved = before + torch.randn(before.shape, generator=torch.Generator().manual_seed(0))
    values = sim_aou(before, after, moved, floors=floors.outputs).values
    assert values[:, 0].isnan().all()
    direction = torch.randn(before.shape, generator=torch.Generator().manual_seed(3))
    direction /= direction.norm(dim=-1, keepdim=True)
    assert isinstance(floors.outputs.icl, float)
    genuine = after + 15 * floors.outputs.icl * before.norm(dim=-1, keepdim=True) * direction
    values = sim_aou(before, genuine, moved, floors=floors.outputs).values
    assert not values[:, 0].isnan().any()


def test_learned_positions_change_layer_0_and_its_direction_is_kept() -> None:
    model = iclprobe.load_model(copy.deepcopy(tiny_families.build("gpt2")))
    zero_shot, icl, floors = two_settings(model, 32, queries(tiny_families.VOCABULARY))
    assert icl.scores is not None
    assert not delta(zero_shot, icl.scores, floors).isnan().any()


def test_finetuning_moves_no_token_so_its_floor_does_not_grow_with_the_prefix() -> None:
    model = long_context("llama", torch.float32)
    _, _, near = two_settings(model, 32, queries(tiny_families.VOCABULARY))
    _, _, far = two_settings(model, 1_000, queries(tiny_families.VOCABULARY))
    assert near.outputs.ft == far.outputs.ft < near.outputs.icl < far.outputs.icl
    longest = max(map(len, queries(tiny_families.VOCABULARY)))
    assert near.outputs == Floors.of(torch.float32, 32 + longest)
    zero_shot, _, same = two_settings(model, 0, queries(tiny_families.VOCABULARY))
    assert same.outputs.icl == same.outputs.ft == near.outputs.ft
    assert zero_shot.manifest["dtype"] == "float32"


def test_what_repeating_the_run_changes_is_the_floor_where_it_is_more() -> None:
    model = long_context("llama", torch.bfloat16)
    asked = queries(tiny_families.VOCABULARY)
    zero_shot, icl, alone = two_settings(model, 32, asked)
    config = CellConfig()
    repeated = repeat_zero_shot(config, model, PromptSet((), asked), zero_shot)
    assert repeated is not None and repeated.outputs.shape == (3,)
    assert repeated.scores.shape == (3, 4)
    assert (
        repeat_zero_shot(config, long_context("llama", torch.float32), PromptSet((), asked), zero_shot)
        is None
    )
    large = RepeatedRun(
        torch.tensor([0.0, 9.0, 0.0], dtype=torch.float64), 0 * repeated.scores + torch.tensor([0, 0, 9, 0])
    )
    floors = change_floors(zero_shot, icl, large)
    assert isinstance(floors.outputs.icl, torch.Tensor) and isinstance(floors.scores.icl, torch.Tensor)
    assert isinstance(alone.scores.icl, torch.Tensor)
    assert floors.outputs.icl.tolist() == pytest.approx([alone.outputs.icl, 9.0, alone.outputs.icl])
    assert floors.scores.icl[:, 2].tolist() == [9.0] * 3
    assert torch.equal(floors.scores.icl[:, :2], alone.scores.icl[:, :2])


def test_the_run_is_repeated_on_the_first_queries_though_others_are_longer() -> None:
    model = long_context("llama", torch.bfloat16)
    asked = queries(tiny_families.VOCABULARY, count=32)
    alone, among = (
        repeat_zero_shot(CellConfig(), model, PromptSet((), these), capture)
        for these in (asked, (*asked, tuple(range(5, 60))))
        for capture in [iclprobe.capture(model, PromptSet((), these), PLAN, batch_size=1)]
    )
    assert alone is not None and among is not None
    # Both ran one by one: repeating changes nothing, however wide the longest query makes the scores.
    assert not alone.scores.any() and not among.scores.any() and not among.outputs.any()


def test_a_comparison_leaves_layer_0_out_and_says_so() -> None:
    made = iclprobe.compare(model="pocket", task="pocket-topic-code", limit=20, learning_rate=0.1)
    layers = made.tables["layers"]
    delta = layers[layers["measure"] == "SimAM of the changes (delta)"]
    assert (delta["of"] - delta["defined"]).tolist() == [80, 0, 0, 0, 0, 0]
    headline = delta["value"].iloc[1:].mean()
    assert made["SimAM of the changes (delta)"] == pytest.approx(float(headline))
    said = " ".join(made.table().split())
    assert "SimAM of the changes (delta) is undefined in 1 of 6 layers" in said
    null = layers[layers["measure"] == "SimAM of the changes (delta), null shared_baseline"]
    assert null["defined"].tolist() == delta["defined"].tolist()
    before = layers[layers["measure"] == "SimAM before finetuning"]
    assert before["defined"].tolist() == before["of"].tolist()


@pytest.mark.real
@DTYPES
@with_far(["smollm2-135m-instruct", "gemma3-270m"], far=["smollm2-135m-instruct"])
def test_layer_0_of_real_models_changes_by_rounding_alone(name: str, dtype: torch.dtype, prefix: int) -> None:
    module: Any = AutoModelForCausalLM.from_pretrained(real_model(name), dtype=torch.float32)
    module.model.layers = module.model.layers[:1]
    module.config.num_hidden_layers = 1
    if getattr(module.config, "layer_types", None):
        module.config.layer_types = module.config.layer_types[:1]
    model = iclprobe.load_model(module.to(dtype).eval())
    zero_shot, icl, floors = two_settings(model, prefix, queries(module.config.vocab_size))
    assert icl.scores is not None
    assert delta(zero_shot, icl.scores, floors).isnan().all()


@pytest.mark.real
@pytest.mark.slow
def test_gemma_has_more_in_common_than_chance_and_less_than_sim_aou_says() -> None:
    place: Path = real_model("gemma3-270m")
    made = iclprobe.compare(
        model=str(place),
        task="sst2",
        template="shen",
        data=str(shared("data/sst2")),
        shots=8,
        limit=24,
        learning_rate=3e-3,
        resamples=20,
        keep_rows=0,
        keep_maps=0,
    )
    own, permuted, baseline, partial = (
        made[name]
        for name in (
            "SimAOU",
            "SimAOU, null permuted_pairs",
            "SimAOU, null shared_baseline",
            "SimAOU partial",
        )
    )
    assert permuted < own < baseline
    assert 0.03 < partial < own
    assert made["SimAOU partial, null permuted_pairs"] == pytest.approx(0.0, abs=0.01)
