"""Queries, keys, values, heads' own outputs and streams around the MLP: exact in every family, or refused by name."""

from __future__ import annotations

from typing import Any

import eager_oracle
import pytest
import sites_oracle
import torch
from expected_rows import EXACT, expected_of
from recorded_sites import (
    EVERY,
    NEW,
    UNLIKE,
    alone,
    build,
    close,
    first,
    full_prompts,
    ids_of,
    layers_of,
    mlp_module,
    prompts_of,
    recorded,
    refused,
)
from torch import Tensor

from iclprobe.errors import UserError
from iclprobe.hooks.capture import capture
from iclprobe.hooks.plan import SITES, CapturePlan
from iclprobe.hooks.tap import tap
from iclprobe.models.families import family_names, model_type_of
from iclprobe.tasks.prompts import PromptSet

every_model = pytest.mark.parametrize("name", list(EVERY))

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


# Read before any test runs: others add rows of their own to the table.
TABLE = set(family_names())


def test_every_type_of_the_table_is_tried() -> None:
    assert {model_type_of(build(name).config) for name in EVERY} | set(EVERY) >= TABLE


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
