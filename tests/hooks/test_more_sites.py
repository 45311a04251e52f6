"""Queries, keys, values, heads' own outputs and streams around the MLP: exact in every family, or refused by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import eager_oracle
import pytest
import sites_oracle
import tiny_decoders
import tiny_families
import torch
from drawn_weights import draw_weights
from expected_rows import EXACT, expected_of
from made_adapters import live
from torch import Tensor
from transformers import AutoModelForCausalLM, StaticCache

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import SITES, CapturePlan
from iclprobe.hooks.tap import tap
from iclprobe.models.families import family_names, model_type_of
from iclprobe.models.loading import load_model
from iclprobe.tasks.prompts import PromptSet

EVERY = dict.fromkeys(tiny_families.FAMILIES, tiny_families) | dict.fromkeys(
    tiny_decoders.DECODERS, tiny_decoders
)
every_model = pytest.mark.parametrize("name", list(EVERY))
NEW: tuple[Any, ...] = tuple(site for site in SITES if site not in ("scores", "pattern"))
OF_HEADS = ("queries", "keys", "values")

REFUSED: dict[str, str] = {
    # Attention and MLP read one stream; Gemma 3n mixes several; Nemotron-H has no MLP behind attention.
    "residual_middle": "gptj codegen gpt_neox falcon falcon_grouped phi phi_qk_norm stablelm_qk_norm cohere "
    "cohere_qk_norm cohere2 cohere2_moe gemma3n_text nemotron_h",
    "mlp_input": "nemotron_h",
    # Experts and a shared MLP beside them.
    "mlp_output": "nemotron_h granitemoeshared granitemoe_swa granitemoehybrid",
}
"""Which models refuse which site in every layer; a site that is lost fails here."""

UNLIKE: dict[str, tuple[tuple[tuple[int, ...], ...], str]] = {
    "mimo_v2_flash": (((0, 2), (1,)), "keys values"),
    "gemma4_text": (((0, 2), (1, 3)), "queries keys values"),
    "gemma4_unified_text": (((0, 1), (2,)), "queries keys values"),
}
"""Models whose layers have other head counts or widths than each other: which layers agree, and in which sites."""

BETWEEN = "bitnet laguna afmoe beam qwen3_next qwen3_5_text qwen3_5_moe_text lfm3 bailing_hybrid muse_glimmer"
"""Models with a gate or a norm between what attention gives and the output projection."""

MLP_ADDED_OTHERWISE = (
    # A norm behind the MLP.
    "gemma2 gemma3_text olmo2 olmo3 exaone4 glm4 hyperclovax kolibri1 afmoe gemma4_text gemma4_unified_text "
    "flex_olmo olmo_hybrid lfm3 glm4v glm_ocr muse_glimmer "
    # A norm behind the sum.
    "openai-gpt bart blenderbot-small marian mvp plbart trocr "
    # Factors.
    "granite granite_swa granitemoe minicpm3 granite_docling beam doge"
)
"""Models in which the stream between and the MLP's output do not simply add up to the stream after the layer."""

STREAM_AS_WRITTEN = {
    "openai-gpt": lambda layer, middle: layer.ln_2(middle),
    "doge": lambda layer, middle: layer.post_attention_residual * middle,
    **dict.fromkeys(
        ["bart", "blenderbot-small", "marian", "mvp", "plbart", "trocr"],
        lambda layer, middle: layer.final_layer_norm(middle),
    ),
}
"""What becomes of the stream behind an MLP that adds nothing, where it does not stay as it is."""


def prompts_of(name: str) -> PromptSet:
    """Queries of three lengths behind a prefix."""
    tiny: Any = EVERY[name]
    return PromptSet(tuple(tiny.prefix(name)), tuple(tuple(ids) for ids in tiny.prompts(name)[:3]), (), ())


def full_prompts(name: str) -> PromptSet:
    prompts = prompts_of(name)
    return PromptSet((), tuple(prompts.full_ids(index) for index in range(prompts.n)), (), ())


def refused(name: str) -> set[str]:
    return {site for site, names in REFUSED.items() if name in names.split()}


Recorded = dict[tuple[str, int], Tensor]


def recorded(name: str, model: Any, prompts: PromptSet, **options: Any) -> list[Recorded]:
    """Every new site of every layer, `[tokens, …]`, of each prompt."""
    sites = [site for site in NEW if site not in refused(name)]
    groups, unlike = UNLIKE.get(name, ((None,), ""))
    plans: list[Any] = [(None, [site for site in sites if site not in unlike.split()])]
    plans += [(group, unlike.split()) for group in groups if group]
    found: list[Recorded] = [{} for _ in range(prompts.n)]
    for layers, asked in plans:
        plan = CapturePlan(sites=tuple(asked), layers=layers, positions="all")
        got: Any = capture(model, prompts, plan, batch_size=3, **options)
        for index, record in enumerate(found):
            for site in asked:
                for place, layer in enumerate(got.layers):
                    record[site, layer] = getattr(got, site)[index, place, got.rows[index]]
    return found


@functools.cache
def alone(name: str) -> Recorded:
    """The first full prompt of a family's shared tiny model, by itself."""
    return recorded(name, build(name), first(name))[0]


def first(name: str) -> PromptSet:
    return PromptSet((), full_prompts(name).query_ids[:1], (), ())


def ids_of(name: str) -> tuple[int, ...]:
    return first(name).query_ids[0]


def build(name: str) -> Any:
    tiny: Any = EVERY[name]
    return tiny.build(name)


def close(got: Tensor, want: Tensor, tolerance: float = EXACT) -> bool:
    """Equal relative to the largest entry of each token (or head's) vector."""
    assert got.shape == want.shape
    size = want.abs().amax(dim=-1, keepdim=True).clamp(min=1e-3 * want.abs().max())
    return bool(((got - want).abs() <= tolerance * size).all())


def layers_of(name: str, model: Any) -> list[tuple[int, int, Any]]:
    """Place among the layers with attention, number among all, and the layer."""
    numbers = eager_oracle.attending(model)
    layers = eager_oracle.attention_layers(model)
    return [(place, *pair) for place, pair in enumerate(zip(numbers, layers, strict=True))]


def test_every_type_of_the_table_is_tried() -> None:
    assert {model_type_of(build(name).config) for name in EVERY} | set(EVERY) >= set(family_names())


@every_model
def test_a_site_is_recorded_or_refused_by_name(name: str) -> None:
    model, prompts = build(name), first(name)
    unlike = UNLIKE.get(name, ((), ""))[1].split()
    for site in NEW:
        plan = CapturePlan(sites=(site,))
        if site in refused(name) or site in unlike:
            with pytest.raises(UserError, match=site) as caught:
                capture(model, prompts, plan)
            assert len(str(caught.value)) <= 300
        else:
            assert getattr(capture(model, prompts, plan), site) is not None


@every_model
def test_queries_and_keys_give_the_scores_of_the_softmax(name: str) -> None:
    model, got = build(name), alone(name)
    want = expected_of(model, ids_of(name))
    for place, layer, module in layers_of(name, model):
        query, key = (got[site, layer].double() for site in ("queries", "keys"))
        attention: Any = module.get_submodule(eager_oracle.layout_of(model).attention)
        scores, visible = want.scores[place].double(), want.visible[place]
        # These scale their queries before.
        before = name in ("opt", "xglm", "mvp", "trocr")
        scaling = 1.0 if before else getattr(attention, "scaling", None)
        softcap = getattr(model.config, "attn_logit_softcapping", None)
        tolerance = EXACT
        if softcap is not None:
            # Where the softcap bends scores most its inverse has no digits.
            visible = visible & (scores.abs() < 0.9 * softcap).all(dim=0)
            scores, tolerance = softcap * torch.atanh(scores / softcap), 10 * EXACT
        group = query.shape[1] // key.shape[1]
        for head in range(query.shape[1]):
            products = query[:, head] @ key[:, head // group].T
            factor, error = fitted(products, scores[head], visible, added_by_key(name, len(query)))
            assert error <= tolerance, (layer, head)
            if scaling is not None:
                assert factor == pytest.approx(scaling, rel=1e-4)


def fitted(products: Tensor, scores: Tensor, visible: Tensor, added: list[Tensor]) -> tuple[float, float]:
    """The factor with which products give the visible scores, and the worst error relative to the largest score."""
    features = torch.stack([each.expand(visible.shape)[visible] for each in (products, *added)], dim=1)
    wanted = scores[visible]
    factors = torch.linalg.lstsq(features, wanted[:, None]).solution[:, 0]
    return factors[0].item(), ((features @ factors - wanted).abs().max() / wanted.abs().max()).item()


def added_by_key(name: str, length: int) -> list[Tensor]:
    """What may be added to a score for the place of its key: nothing, a slope, or with Doge any number."""
    columns = torch.arange(length, dtype=torch.float64)
    if name in ("bloom", "mpt", "falcon_alibi"):
        return [columns, torch.ones_like(columns)]
    return list(torch.eye(length, dtype=torch.float64)) if name == "doge" else []


@every_model
def test_the_pattern_over_the_values_is_what_the_output_projection_is_given(name: str) -> None:
    model, ids, got = build(name), ids_of(name), alone(name)
    patterns = expected_of(model, ids).pattern
    given = sites_oracle.given_to_projection(model, ids)
    results = sites_oracle.attention_results(model, ids) if name in BETWEEN.split() else []
    for place, layer, module in layers_of(name, model):
        values = got["values", layer]
        group = patterns.shape[1] // values.shape[1]
        mixed = torch.stack(
            [patterns[place, head] @ values[:, head // group] for head in range(patterns.shape[1])]
        )
        concatenated = torch.cat(list(mixed), dim=-1)
        if name in BETWEEN.split():
            assert close(mixed, results[place])
            assert not close(concatenated, given[place])
            continue
        assert close(concatenated, given[place])
        projection = module.get_submodule(eager_oracle.layout_of(model).output_projection)
        output = projection(concatenated).detach() + own_bias(model, module)
        assert close(output, got["attention_output", layer])


def own_bias(model: Any, layer: Any) -> Any:
    """A bias of the output projection that is a parameter by itself."""
    path = eager_oracle.layout_of(model).output_bias
    if path is None:
        return 0.0
    module, _, name = path.rpartition(".")
    bias = getattr(layer.get_submodule(module), name)
    return 0.0 if bias is None else bias.detach()


@every_model
def test_what_heads_add_is_what_the_projection_makes_of_each_alone(name: str) -> None:
    model, ids, got = build(name), ids_of(name), alone(name)
    given = sites_oracle.given_to_projection(model, ids)
    outputs = eager_oracle.attention_outputs(model, ids)
    for place, layer, module in layers_of(name, model):
        projection: Any = module.get_submodule(eager_oracle.layout_of(model).output_projection)
        heads = got["head_output", layer]
        assert close(heads, sites_oracle.head_by_head(projection, given[place], heads.shape[1]))
        bias = getattr(projection, "bias", None)
        total = heads.sum(dim=1) + (0.0 if bias is None else bias.detach()) + own_bias(model, module)
        assert close(total, outputs[place])


@every_model
def test_what_enters_a_layer_is_what_the_layer_below_returned(name: str) -> None:
    """And what enters the first is the embedding, as the model hands it out."""
    model, ids, got = build(name), ids_of(name), alone(name)
    inputs = sites_oracle.layer_inputs(model, ids)
    for place, layer, _ in layers_of(name, model):
        assert close(got["residual_before", layer], inputs[place])
        if ("residual", layer - 1) in got:
            assert torch.equal(got["residual_before", layer], got["residual", layer - 1])


@pytest.mark.parametrize(
    "name", ["llama", "mixtral", "gptj", "falcon", "gpt_neox", "stablelm", "deepseek_v3"]
)
def test_what_enters_the_first_layer_is_the_output_of_the_embedding(name: str) -> None:
    embedding = build(name).get_input_embeddings()
    assert torch.equal(alone(name)["residual_before", 0], embedding(torch.tensor(ids_of(name))).detach())


@every_model
def test_the_stream_between_is_what_a_silent_mlp_leaves(name: str) -> None:
    model, ids, got = build(name), ids_of(name), alone(name)
    mlp = eager_oracle.layout_of(model).mlp_output
    for place, layer, module in layers_of(name, model):
        if name == "nemotron_h":
            continue
        whole = mlp_module(name, mlp)
        parallel = "residual_middle" in refused(name) and name != "gemma3n_text"
        assert sites_oracle.mlp_feels_attention(model, ids, place, whole) is not parallel
        if "residual_middle" in refused(name):
            continue
        middle = got["residual_middle", layer]
        silent = [mlp] if mlp is not None else ["block_sparse_moe", "shared_mlp"]
        if name == "gemma4_text":
            silent.append("post_per_layer_input_norm")
        left = sites_oracle.layer_with_silent(model, ids, place, silent)
        written = STREAM_AS_WRITTEN.get(name)
        with torch.no_grad():
            kept = middle if written is None else written(module, middle)
        if name == "beam":
            # The stream shrinks by a factor that grows with depth.
            kept = kept * (left.norm() / kept.norm())
        assert close(left, kept)
        if mlp is not None:
            added = middle + got["mlp_output", layer]
            assert close(added, got["residual", layer]) is (name not in MLP_ADDED_OTHERWISE.split())


def mlp_module(name: str, mlp: str | None) -> str:
    """The module that is given the MLP's input, by the path of the one that gives its output."""
    if mlp is None:
        return "shared_mlp"
    block, _, last = mlp.rpartition(".")
    return block or {"fc2": "fc1"}.get(last, last)


@every_model
def test_the_mlp_makes_its_output_of_its_input(name: str) -> None:
    model, got = build(name), alone(name)
    if "mlp_input" in refused(name):
        return
    path = eager_oracle.layout_of(model).mlp_output
    for _, layer, module in layers_of(name, model):
        with torch.no_grad():
            output = run_mlp(name, module, path, got["mlp_input", layer][None])[0]
        if path is not None:
            assert close(output, got["mlp_output", layer])
        else:
            factor = 1.0 if (found := getattr(module, "residual_multiplier", None)) is None else found
            assert close(got["residual_middle", layer] + factor * output, got["residual", layer])


def run_mlp(name: str, layer: Any, path: str | None, given: Tensor) -> Tensor:
    if path is None:
        routed = layer.block_sparse_moe(given)
        return (routed[0] if isinstance(routed, tuple) else routed) + layer.shared_mlp(given)
    if path == "fc2":
        return layer.fc2(layer.activation_fn(layer.fc1(given)))
    mlp = layer.get_submodule(mlp_module(name, path))
    # Two families add the residual stream inside.
    output = mlp(given, torch.zeros_like(given)) if name in ("bloom", "mpt") else mlp(given)
    output = output[0] if isinstance(output, tuple) else output
    return output.view(given.shape)


@every_model
@pytest.mark.parametrize("shared", [True, False], ids=["shared-prefix", "full-prompts"])
def test_padding_and_a_shared_prefix_change_no_row(name: str, shared: bool) -> None:
    model, prompts = build(name), prompts_of(name)
    start = len(prompts.prefix_ids)
    together = recorded(name, model, prompts, share_prefix=shared)
    for index, ids in enumerate(full_prompts(name).query_ids):
        one = PromptSet((), (ids,), (), ())
        by_itself = alone(name) if index == 0 else recorded(name, model, one)[0]
        for (site, layer), rows in together[index].items():
            want = by_itself[site, layer][start:]
            if site == "head_output":
                # One head's part may nearly cancel: it is judged by the largest.
                rows, want = rows.flatten(1), want.flatten(1)
            # Each of the two may be that far from the truth.
            assert close(rows, want, 2 * EXACT), (site, layer, index)


@every_model
def test_recording_every_site_changes_no_bit_of_the_output(name: str) -> None:
    model = build(name)
    unlike = UNLIKE.get(name, ((), ""))[1].split()
    sites: Any = tuple(site for site in SITES if site not in refused(name) and site not in unlike)
    tokens = torch.tensor([ids_of(name)])
    with torch.no_grad():
        without = model(input_ids=tokens, use_cache=False).logits
        with tap(model, CapturePlan(sites=sites, positions="all")) as recorder:
            logits = model(input_ids=tokens, use_cache=False).logits
    assert torch.equal(without, logits)
    assert set(recorder.recordings[0]) >= set(sites)


def variant(name: str, **changes: Any) -> Any:
    """A tiny model whose configuration is changed."""
    config = tiny_families.FAMILIES[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    draw_weights(model, torch.Generator().manual_seed(17), tiny_families.VOCABULARY)
    return model


SEQUENTIAL: list[tuple[str, dict[str, Any], Callable[[Any, Tensor], Tensor]]] = [
    ("gpt_neox", {"use_parallel_residual": False}, lambda layer, middle: middle),
    (
        "bloom",
        {"apply_residual_connection_post_layernorm": True},
        lambda layer, middle: middle,
    ),
    ("opt", {"do_layer_norm_before": False}, lambda layer, middle: layer.final_layer_norm(middle)),
]


@pytest.mark.parametrize(("name", "changes", "written"), SEQUENTIAL, ids=[each[0] for each in SEQUENTIAL])
def test_a_configuration_decides_where_the_stream_between_is(name: str, changes: Any, written: Any) -> None:
    model, ids = variant(name, **changes), ids_of(name)
    plan = CapturePlan(sites=("residual_middle", "mlp_input"), positions="all")
    got: Any = capture(model, first(name), plan)
    path: Any = eager_oracle.layout_of(model).mlp_output
    for place, _, module in layers_of(name, model):
        left = sites_oracle.layer_with_silent(model, ids, place, [path])
        with torch.no_grad():
            assert close(left, written(module, got.residual_middle[0, place]))
        assert sites_oracle.mlp_feels_attention(model, ids, place, mlp_module(name, path))


@pytest.mark.parametrize("name", ["falcon", "falcon_alibi", "llama", "gpt2", "gpt_bigcode", "mistral"])
def test_eager_attention_gives_what_the_default_gives(name: str) -> None:
    """Falcon's own product of queries and keys, where by default it calls dot-product attention."""
    model: Any = EVERY[name].fresh(name)
    model.set_attn_implementation("eager")
    got = recorded(name, model, first(name))[0]
    for site in OF_HEADS:
        # Falcon adds its position bias otherwise where it is eager: layers above see other streams.
        for layer in (0,) if name == "falcon_alibi" else (0, 1, 2):
            assert close(got[site, layer], alone(name)[site, layer])


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt_oss", "gptj", "bloom", "xglm", "falcon"])
def test_a_forward_behind_a_cache_gives_its_own_tokens(name: str) -> None:
    model, ids = build(name), ids_of(name)
    plan = CapturePlan(sites=(*OF_HEADS, "head_output", "residual_before"), positions="all")
    with tap(model, plan) as recorder, torch.no_grad():
        cache = model(input_ids=torch.tensor([ids[:-3]]), use_cache=True).past_key_values
        for token in ids[-3:]:
            model(
                input_ids=torch.tensor([[token]]),
                past_key_values=cache,
                attention_mask=torch.ones(1, cache.get_seq_length() + 1, dtype=torch.long),
            )
    whole = alone(name)
    for step, recording in enumerate(recorder.recordings[1:]):
        for site in plan.sites:
            for layer in range(len(eager_oracle.attending(model))):
                row = len(ids) - 3 + step
                assert close(recording[site][0, layer], whole[site, layer][row : row + 1]), (site, layer)


def test_a_cache_of_fixed_size_gives_the_keys_of_the_tokens_and_not_of_its_room() -> None:
    model, ids = build("llama"), ids_of("llama")
    plan = CapturePlan(sites=OF_HEADS, positions="all")
    with tap(model, plan) as recorder, torch.no_grad():
        model(input_ids=torch.tensor([ids]), past_key_values=StaticCache(model.config, max_cache_len=80))
    for site in OF_HEADS:
        for layer in range(3):
            assert close(recorder.recordings[0][site][0, layer], alone("llama")[site, layer])


def test_positions_and_layers_are_those_asked_for() -> None:
    model, prompts = build("qwen2"), prompts_of("qwen2")
    whole = recorded("qwen2", model, prompts)
    asked: list[tuple[Any, list[int]]] = [("last_prompt_token", [-1]), ((0, 4, -1), [0, 4, -1])]
    for positions, rows in asked:
        got: Any = capture(model, prompts, CapturePlan(sites=NEW, layers=(2, 0), positions=positions))
        for site in NEW:
            for index in range(prompts.n):
                for place, layer in enumerate((2, 0)):
                    found = getattr(got, site)[index, place].reshape(len(rows), -1)
                    wanted = whole[index][site, layer][rows].reshape(len(rows), -1)
                    assert close(found, wanted), (site, positions)


def test_heads_add_up_under_an_adapter_that_acts_on_the_output_projection() -> None:
    from peft import LoraConfig

    module: Any = live(tiny_families.fresh("llama"), LoraConfig(r=2, target_modules=["o_proj"]))
    inner = module.get_base_model()
    plan = CapturePlan(sites=("head_output", "attention_output"), positions="all")
    got: Any = capture(module, first("llama"), plan)
    assert close(got.head_output.sum(dim=3), got.attention_output)
    with module.disable_adapter():
        without: Any = capture(inner, first("llama"), plan)
    assert close(without.head_output.sum(dim=3), without.attention_output)
    assert not close(without.attention_output, got.attention_output)


def test_heads_add_up_in_half_precision_as_far_as_that_goes() -> None:
    model: Any = tiny_families.fresh("gpt2")
    model.bfloat16()
    got: Any = capture(model, first("gpt2"), CapturePlan(sites=("head_output", "attention_output")))
    biases = torch.stack([block.attn.c_proj.bias for block in model.transformer.h]).detach().float()
    error = (got.head_output.sum(dim=2) + biases - got.attention_output).abs().max()
    assert error <= 1e-2 * got.attention_output.abs().max()


def test_a_projection_that_rounds_its_input_is_refused_by_name() -> None:
    class Rounding(torch.nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input.round(decimals=1))

    model: Any = tiny_families.fresh("llama")
    model.model.layers[1].self_attn.o_proj.__class__ = Rounding
    with pytest.raises(UserError, match=r"output projection of layer 1 \(Rounding\) is no plain linear map"):
        capture(model, first("llama"), CapturePlan(sites=("head_output",)))


def test_a_row_that_does_not_name_the_norm_refuses_the_stream_between() -> None:
    model = load_model(tiny_families.fresh("llama"))
    silent = replace(model, family=replace(model.family, before_mlp=""))
    with pytest.raises(UserError, match=r"row of family 'llama' does not say .*before_mlp"):
        capture(silent, first("llama"), CapturePlan(sites=("residual_middle",)))


def test_every_token_of_a_prompt_has_its_queries_keys_and_values() -> None:
    """Those of the prefix too, and of a shorter prompt as many as it has."""
    model, ids = build("llama"), ids_of("llama")
    plan = CapturePlan(sites=OF_HEADS, positions="prompt")
    got: Any = capture(model, PromptSet(ids[:7], (ids[7:], ids[7:-4]), (), ()), plan)
    assert got.rows.sum(dim=1).tolist() == [len(ids), len(ids) - 4]
    for site in OF_HEADS:
        for layer in range(3):
            assert close(getattr(got, site)[0, layer], alone("llama")[site, layer])
            assert close(getattr(got, site)[1, layer, : len(ids) - 4], alone("llama")[site, layer][:-4])
