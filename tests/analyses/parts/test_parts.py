"""Direct and inherited parts of whole draws: in every kind of family, on models whose truth is planted, and told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import tiny_decoders
import torch
from shared_material import real_model, shared
from tiny_families import VOCABULARY, build, prefix, random_ids
from transformers import AutoConfig, AutoModelForCausalLM

import iclprobe
from iclprobe.analyses.cell import Cell, prepare_cell
from iclprobe.analyses.comparison.finetuned import finetune_cell
from iclprobe.analyses.parts.config import PartsConfig
from iclprobe.analyses.parts.part_rows import part_rows
from iclprobe.analyses.parts.split_draw import SplitDraw, split_draw
from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import CapturePlan
from iclprobe.models.loading import LanguageModel, load_model
from iclprobe.probes import part_shares
from iclprobe.tasks.prompt_set import PromptSet, TaskPrompts, TrainingSequence

CONFIG = PartsConfig(learning_rate=0.05, device="cpu", resamples=50, null_draws=2)
ROTARY = "llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2 bloom falcon gptj gpt_neox"
ADDED = "gpt2 opt"
OUTPUT = CapturePlan(sites=("attention_output",))


def cell(name: str, frame: int = 1, words: int = 1) -> Cell:
    """Queries of several lengths, shorter than any window, and two to train on."""
    front = tuple(prefix(name, length=frame)) if frame else ()
    queries = tuple(tuple(random_ids(length, length)) for length in (5, 7, 5, 6))
    labels = ((5, 7)[:words], (6, 8)[:words])
    zero_shot = PromptSet(front, queries, (labels,) * 4, (0, 1, 1, 0), bos_length=min(frame, 1))
    icl = replace(zero_shot, prefix_ids=front + tuple(prefix(name, seed=3, length=20)))
    training = tuple(
        TrainingSequence(front + tuple(random_ids(6, 40 + each)) + labels[each], frame + 6, labels)
        for each in (0, 1)
    )
    return Cell(0, (), (0, 1, 2, 3), TaskPrompts(zero_shot, icl, training, 2, 2, (0, 1, 2, 3), 0, False))


def split(model: LanguageModel, drawn: Cell, config: PartsConfig = CONFIG) -> SplitDraw:
    return split_draw(config, model, None, drawn)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", f"{ROTARY} {ADDED}".split())
def test_direct_and_inherited_are_the_update_and_the_first_layer_inherits_nothing(name: str) -> None:
    model, drawn = load_model(build(name)), cell(name, frame=3 if name == "qwen3" else 1)
    draw = split(model, drawn)
    recorded = {
        setting: capture(model, prompts, OUTPUT, share_prefix=setting == "icl").attention_output
        for setting, prompts in (("zsl", drawn.prompts.zero_shot), ("icl", drawn.prompts.icl))
    }
    delta, _ = finetune_cell(CONFIG.finetuning(), model, None, drawn, 4)  # type: ignore[arg-type]
    with delta.applied(model):
        recorded["ft"] = capture(model, drawn.prompts.zero_shot, OUTPUT, share_prefix=False).attention_output
    for outputs, setting in ((draw.icl, "icl"), (draw.finetuned, "ft")):
        before, after = recorded["zsl"], recorded[setting]
        assert before is not None and after is not None
        assert torch.equal(outputs.before, before) and torch.allclose(outputs.after, after, atol=1e-4)
        direct, inherited = outputs.after - outputs.inheriting, outputs.inheriting - outputs.before
        scale = float((after - before).abs().max())
        assert float((direct + inherited - (after - before)).abs().max()) < 1e-5 * max(scale, 1.0) * 10
        # In any bit: W_K and W_V alone were trained, and tokens enter the first layer as they are.
        assert torch.equal(outputs.inheriting[:, 0], outputs.before[:, 0])
        assert float(inherited[:, 1:].norm()) > 1e-3 and float(direct.norm()) > 1e-3
        shares = part_shares(outputs)
        assert bool((shares.share("inherited")[:, 0] == 0).all())
        whole = shares.share("direct") + shares.share("inherited")
        assert torch.allclose(whole, torch.ones_like(whole), atol=1e-5)
    assert draw.holds_positions == (name in ADDED)


def test_nothing_that_finetuning_changes_is_put_down_to_the_inputs_of_a_layer_that_alone_was_trained() -> (
    None
):
    """Layer 1 alone is finetuned: its change is all direct, that of layer 2 all inherited, layer 0 has none."""
    recipe = {"parameters": r"layers\.1\.self_attn\.(q|k|v|o)_proj", "name": "one layer", "optimizer": "gd"}
    config = CONFIG.model_copy(update={"recipe": recipe})
    draw = split(load_model(build("llama")), cell("llama"), config)
    shares = part_shares(draw.finetuned)
    direct = shares.share("direct")
    assert bool(direct[:, 0].isnan().all())
    assert torch.allclose(direct[:, 1], torch.ones(4).double(), atol=1e-5)
    assert torch.allclose(direct[:, 2], torch.zeros(4).double(), atol=1e-5)
    measures, layers = part_rows(config, draw)
    by_layer = {
        (row["layer"], row["part"]): row
        for row in layers
        if (row["measure"], row["setting"]) == ("share", "ft")
    }
    assert by_layer[0, "direct"]["defined"] == 0 and math.isnan(by_layer[0, "direct"]["value"])
    assert by_layer[1, "direct"]["value"] == pytest.approx(1, abs=1e-5)
    assert by_layer[2, "inherited"]["value"] == pytest.approx(1, abs=1e-5)
    (mean,) = [
        row for row in measures if (row["measure"], row["setting"], row["part"]) == ("share", "ft", "direct")
    ]
    assert mean["value"] == pytest.approx(0.5, abs=1e-5)


def test_where_only_the_first_layer_sees_demonstrations_all_is_direct_there_and_inherited_above() -> None:
    """Layers above the first see the last four tokens alone, which are the query's."""
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "vocab_size": VOCABULARY,
        "sliding_window": 4,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma3_text", **settings)).float()
    for parameter in module.parameters():
        parameter.data.mul_(4)
    draw = split(load_model(module.eval()), cell("planted"))
    direct = part_shares(draw.icl).share("direct")
    assert bool((direct[:, 0] == 1).all())
    assert torch.allclose(direct[:, 1:], torch.zeros(4, 2).double(), atol=1e-3)


def test_a_finetuned_model_that_is_the_zero_shot_one_has_no_parts() -> None:
    config = CONFIG.model_copy(update={"learning_rate": 1e-12})
    draw = split(load_model(build("llama")), cell("llama"), config)
    _, layers = part_rows(config, draw)
    of_finetuning = [row for row in layers if row["setting"] != "icl"]
    assert of_finetuning and all(math.isnan(row["value"]) and row["defined"] == 0 for row in of_finetuning)
    assert all(row["value"] == row["value"] for row in layers if row["setting"] == "icl" and row["layer"])


@pytest.mark.parametrize("name", ["qwen3_next", "jamba", "recurrent_gemma"])
def test_hybrids_run_every_prompt_whole_and_are_divided_alike(name: str) -> None:
    model, drawn = load_model(tiny_decoders.build(name)), cell(name)
    draw = split(model, drawn)
    assert len(draw.layers) < model.n_layers
    for outputs in (draw.icl, draw.finetuned):
        shares = part_shares(outputs)
        whole = shares.share("direct") + shares.share("inherited")
        assert torch.allclose(whole[~whole.isnan()], torch.ones(()).double(), atol=1e-5)
    icl = capture(model, drawn.prompts.icl, OUTPUT).attention_output
    assert icl is not None and torch.allclose(draw.icl.after, icl, atol=1e-4)
    assert float((draw.icl.after - draw.icl.inheriting).norm()) > 1e-3


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_label_words_of_several_tokens_change_no_part(name: str) -> None:
    model = load_model(build(name))
    one, two = (split(model, cell(name, words=words)) for words in (1, 2))
    assert torch.equal(two.icl.inheriting[:, 0], two.icl.before[:, 0])
    assert torch.equal(two.finetuned.inheriting[:, 0], two.finetuned.before[:, 0])
    for part in ("before", "inheriting", "after"):
        assert torch.allclose(getattr(one.icl, part), getattr(two.icl, part), atol=1e-4)


def test_batches_make_no_difference() -> None:
    model, drawn = load_model(build("gemma3_text")), cell("gemma3_text")
    one, several = (split(model, drawn, CONFIG.model_copy(update={"batch_size": size})) for size in (1, 4))
    for name in ("icl", "finetuned"):
        for part in ("before", "inheriting", "after"):
            first, second = (getattr(getattr(each, name), part) for each in (one, several))
            assert torch.allclose(first, second, atol=1e-4)


@pytest.fixture(scope="module")
def study() -> Any:
    return iclprobe.parts(
        shots=4, limit=6, device="cpu", learning_rate=0.05, seeds=(0, 1), resamples=50, null_draws=2
    )


def test_the_total_is_the_sim_aou_of_a_comparison(study: Any) -> None:
    compared = iclprobe.compare(
        shots=4, limit=6, device="cpu", learning_rate=0.05, seeds=(0, 1), resamples=50, null_draws=2
    )
    layers = compared.tables["layers"]
    wanted = layers[layers["measure"] == "SimAOU"].set_index(["seed", "layer"])["value"]
    found = study.tables["layers"]
    total = found[(found["measure"] == "similarity") & (found["part"] == "total")].set_index(
        ["seed", "layer"]
    )
    assert total["value"].to_numpy() == pytest.approx(wanted.loc[total.index].to_numpy(), abs=1e-5)
    pairs = found[found["measure"] == "contribution"].groupby(["seed", "layer"])["value"].sum()
    assert pairs.to_numpy() == pytest.approx(total["value"].sort_index().to_numpy(), abs=1e-6)


def test_tables_findings_and_sheet_tell_the_same(study: Any) -> None:
    measures = study.tables["measures"]
    shares = measures[measures["measure"] == "share"].groupby(["seed", "setting"])["value"].sum()
    assert shares.to_numpy() == pytest.approx([1.0] * 4)
    assert bool(
        (measures["low"] <= measures["value"]).all() and (measures["value"] <= measures["high"]).all()
    )
    found = {finding.name: finding for finding in study.findings}
    direct = measures[
        (measures["measure"] == "share") & (measures["setting"] == "icl") & (measures["part"] == "direct")
    ]
    assert found["direct share of ICL's update"].value == pytest.approx(direct["value"].mean())
    assert f"{direct['value'].mean():.3f}" in str(study)
    queries = study.tables["queries"]
    right = (queries[queries["seed"] == 0]["gold"] == queries[queries["seed"] == 0]["icl"]).mean()
    assert f"in context {right:.1%}" in str(study)
    assert set(study.figures()) == {"parts", "contributions"}


def test_a_chat_turn_is_divided_as_any_prompt() -> None:
    config = PartsConfig(
        shots=2, limit=3, device="cpu", learning_rate=0.05, chat_template="user_turn", resamples=20
    )
    model = iclprobe.load_model("pocket", device="cpu")
    tokenizer = model.require_tokenizer()
    before = tokenizer.chat_template
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} </{{ m['role'] }}>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant> {% endif %}"
    )
    try:
        task = replace_template(iclprobe.load_task("pocket-topic-code"))
        drawn = prepare_cell(config, model, task, 0)
        draw = split_draw(config, model, task, drawn)
    finally:
        tokenizer.chat_template = before
    assert (
        drawn.prompts.tail_ids
        and len(drawn.prompts.zero_shot.prefix_ids) > drawn.prompts.zero_shot.bos_length
    )
    own = capture(model, drawn.prompts.zero_shot, OUTPUT, share_prefix=False).attention_output
    assert own is not None and torch.equal(draw.icl.before, own)
    assert torch.equal(draw.icl.inheriting[:, 0], own[:, 0])


def replace_template(task: Any) -> Any:
    return replace(task, template=replace(task.template, chat_template="user_turn"))


@pytest.mark.parametrize("name", ["gemma3n_text", "gemma4_text"])
def test_a_model_of_several_streams_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UserError, match="read more than one residual stream"):
        split(load_model(tiny_decoders.build(name)), cell("llama"))


@pytest.mark.real
def test_gemma_reads_demonstrations_in_some_layers_and_passes_them_on_in_others() -> None:
    """Layers 5 and 11 are those without a sliding window, though none of these prompts is longer than one."""
    study = iclprobe.parts(
        model=str(real_model("gemma3-270m")),
        task="sst2",
        data=str(shared("data/sst2")),
        template="shen",
        shots=8,
        limit=6,
        device="cpu",
        dtype="float32",
        learning_rate=0.003,
        resamples=50,
        null_draws=2,
    )
    layers = study.tables["layers"]
    direct = layers[
        (layers["measure"] == "share") & (layers["setting"] == "icl") & (layers["part"] == "direct")
    ]
    share = direct.set_index("layer")["value"]
    assert share[0] == 1 and min(share[5], share[11]) > 0.4 > 0.2 > max(share[6], share[7], share[8])
