"""The test material itself: the tiny models hide nothing, and the oracle tells the truth about them."""

from __future__ import annotations

import functools
from typing import Any

import drawn_weights
import eager_oracle
import pytest
import tiny_families
import torch
from ablations import without
from eager_oracle import SoftmaxInput
from tiny_families import CONTEXT, FAMILIES, FEATURES, HEADS, VOCABULARY, WINDOW

every_family = pytest.mark.parametrize("name", list(FAMILIES))

_SLIDING_LAYERS: dict[str, tuple[int, ...]] = {
    "gpt_neo": (1, 3),
    "mistral": (0, 1, 2),
    "qwen2_sliding": (1, 2),
    "gemma2": (0, 2),
    "gemma3_text": (0, 2),
    "phi3": (0, 1, 2),
    "starcoder2": (0, 1, 2),
    "gpt_oss": (0, 2),
    "mixtral": (0, 1, 2),
    "olmo3": (0, 2),
    "cohere2": (0, 2),
    "exaone4": (0, 2),
}


def test_there_are_enough_families_and_each_names_its_features() -> None:
    assert set(FAMILIES) == set(FEATURES)
    assert len({FAMILIES[name]().model_type for name in FAMILIES}) >= 25
    assert {name for name in FAMILIES if "window" in FEATURES[name]} == set(_SLIDING_LAYERS)


@every_family
def test_every_weight_bias_and_norm_is_drawn_and_the_stream_stays_sane(name: str) -> None:
    model = tiny_families.build(name)
    for parameter_name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.std() > 0.05, parameter_name
        assert parameter.isfinite().all()
    assert not model.training
    ids = tiny_families.prefix(name) + tiny_families.prompts(name)[2]
    assert max(stream.abs().max().item() for stream in eager_oracle.residual_streams(model, ids)) < 100
    assert eager_oracle.logits(model, ids).std() > 0.3
    assert len(ids) + 8 < CONTEXT


@every_family
def test_scores_spread_enough_to_be_seen(name: str) -> None:
    config: Any = tiny_families.build(name).config
    for layer in _whole(name)[1]:
        assert 2.0 <= drawn_weights.row_spread(layer) <= 6.0
        if "softcap" in FEATURES[name]:
            magnitudes = layer.scores[layer.visible].abs()
            assert (magnitudes > config.attn_logit_softcapping / 2).float().mean() > 0.2


@every_family
def test_the_oracle_sees_each_layer_once_with_the_right_visible_keys(name: str) -> None:
    model = tiny_families.build(name)
    ids, layers = _whole(name)
    assert len(layers) == model.config.num_hidden_layers
    for index, layer in enumerate(layers):
        assert layer.scores.shape == layer.visible.shape == (HEADS, len(ids), len(ids))
        sliding = index in _SLIDING_LAYERS.get(name, ())
        for head in layer.visible.tolist():
            for query, row in enumerate(head):
                for key, seen in enumerate(row):
                    assert seen is (key <= query and (not sliding or query - key < WINDOW))
        assert torch.equal(layer.scores.isnan(), ~layer.visible)


@every_family
def test_eager_and_default_attention_agree(name: str) -> None:
    """Falcon with ALiBi is the known exception: transformers' eager code adds the bias a second time."""
    model = tiny_families.build(name)
    eager: Any = tiny_families.fresh(name)
    eager.set_attn_implementation("eager")
    eager.config._attn_implementation = "eager"
    ids = tiny_families.prompts(name)[1]
    default, other = eager_oracle.logits(model, ids), eager_oracle.logits(eager, ids)
    difference = (default - other).abs().max() / default.abs().max()
    assert difference > 1e-2 if name == "falcon_alibi" else difference <= 1e-4


@every_family
def test_the_pattern_is_the_softmax_of_the_scores(name: str) -> None:
    model = tiny_families.build(name)
    (_, layers), patterns = _whole(name), _patterns(name)
    for index, (layer, pattern) in enumerate(zip(layers, patterns, strict=True)):
        weights = layer.scores.exp().nan_to_num()
        total = weights.sum(-1, keepdim=True)
        if "sinks" in FEATURES[name]:
            attention: Any = eager_oracle.decoder_layers(model)[index].get_submodule("self_attn")
            total = total + attention.sinks.detach().exp().view(-1, 1, 1)
            assert (pattern.sum(-1) < 0.999).any()
        torch.testing.assert_close(pattern, weights / total, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "falcon_alibi"])
def test_the_pattern_is_what_transformers_itself_reports(name: str) -> None:
    model: Any = tiny_families.fresh(name)
    model.set_attn_implementation("eager")
    model.config._attn_implementation = "eager"
    ids = tiny_families.prompts(name)[1]
    with torch.no_grad():
        reported = model(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    for mine, theirs in zip(_patterns(name), reported, strict=True):
        torch.testing.assert_close(mine, theirs[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "projection"),
    [
        ("llama", "v_proj"),
        ("gemma", "v_proj"),
        ("gemma2", "v_proj"),
        ("gpt_oss", "v_proj"),
        ("gptj", "v_proj"),
        ("xglm", "v_proj"),
        ("opt", "v_proj"),
        ("gpt2", "thirds:c_attn"),
        ("mpt", "thirds:Wqkv"),
        ("bloom", "per head:query_key_value"),
        ("gpt_neox", "per head:query_key_value"),
        ("gpt_bigcode_multi_head", "per head:c_attn"),
        ("falcon_alibi", "per head:query_key_value"),
        ("falcon", "last head:query_key_value"),
        ("gpt_bigcode", "last head:c_attn"),
    ],
)
def test_pattern_values_and_output_projection_give_the_attention_output(name: str, projection: str) -> None:
    model = tiny_families.build(name)
    layout = eager_oracle.layout_of(model)
    ids = tiny_families.prompts(name)[1]
    split, _, path = projection.rpartition(":")
    projected: list[torch.Tensor] = []
    layers = eager_oracle.decoder_layers(model)
    handles = [
        layer.get_submodule(f"{layout.attention}.{path}").register_forward_hook(
            lambda module, args, output: projected.append(output[0].detach().clone())
        )
        for layer in layers
    ]
    outputs = eager_oracle.attention_outputs(model, ids)
    for handle in handles:
        handle.remove()
    patterns = _patterns(name)
    for layer, pattern, given, expected in zip(layers, patterns, projected, outputs, strict=True):
        values = _values(given, split, head_width=_head_width(model, projection))
        values = values.repeat_interleave(HEADS // len(values), dim=0)
        context = torch.einsum("hqk,hkd->qhd", pattern, values).reshape(len(ids), -1)
        with torch.no_grad():
            found = layer.get_submodule(layout.output_projection)(context[None])[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def _head_width(model: Any, projection: str) -> int:
    own = getattr(model.config, "head_dim", None)
    return own if own is not None and projection == "v_proj" else model.config.hidden_size // HEADS


def _values(projected: torch.Tensor, split: str, head_width: int) -> torch.Tensor:
    """The values [Hkv, S, D] among the S projected tokens, by the layout that `split` names."""
    length, width = projected.shape
    if split == "thirds":
        projected = projected[:, 2 * width // 3 :]
    elif split == "per head":
        projected = projected.view(length, HEADS, 3, head_width)[:, :, 2]
    elif split == "last head":
        projected = projected[:, -head_width:]
    return projected.reshape(length, -1, head_width).transpose(0, 1)


def test_blooms_attention_output_is_its_modules_output_less_the_residual() -> None:
    model = tiny_families.build("bloom")
    ids = tiny_families.prompts("bloom")[1]
    found: list[torch.Tensor] = []

    def keep(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        residual = args[1] if len(args) > 1 else kwargs["residual"]
        found.append((output[0] - residual)[0].detach())

    handles = [
        layer.get_submodule("self_attention").register_forward_hook(keep, with_kwargs=True)
        for layer in eager_oracle.decoder_layers(model)
    ]
    expected = eager_oracle.attention_outputs(model, ids)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@every_family
def test_attention_and_mlp_outputs_account_for_the_residual_stream(name: str) -> None:
    """Where no norm follows them and nothing rescales them, the two outputs are what a layer adds."""
    model = tiny_families.build(name)
    ids = tiny_families.prompts(name)[0]
    streams = eager_oracle.residual_streams(model, ids)
    attention, mlp = eager_oracle.attention_outputs(model, ids), eager_oracle.mlp_outputs(model, ids)
    added = streams[1] - streams[0]
    if name in {"gemma2", "gemma3_text", "olmo2", "olmo3", "exaone4"}:
        assert not torch.allclose(added, attention[1] + mlp[1], atol=1e-2)
    else:
        multiplier = getattr(model.config, "residual_multiplier", 1.0)
        torch.testing.assert_close(added, multiplier * (attention[1] + mlp[1]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "feature"), [(n, f) for n in FAMILIES for f in sorted(FEATURES[n])])
def test_no_feature_can_be_dropped_unseen(name: str, feature: str) -> None:
    model = tiny_families.build(name)
    ids, whole = _whole(name)
    if feature == "mask":
        assert all(not layer.visible.all() for layer in whole)
        return
    with without(name, feature) as changed:
        if feature == "sinks":
            before, after = eager_oracle.patterns(model, ids)[0], eager_oracle.patterns(changed, ids)[0]
            assert (before - after).abs().max() > 0.1
            return
        ablated = eager_oracle.softmax_inputs(changed, ids)
    if feature == "window":
        for index, (full, bare) in enumerate(zip(whole, ablated, strict=True)):
            assert torch.equal(full.visible, bare.visible) is (index not in _SLIDING_LAYERS[name])
        return
    # In the first layer the input is the same, so the feature itself is what changed the last row.
    assert _relative_change(whole[0], ablated[0]) > 0.1


@functools.cache
def _whole(name: str) -> tuple[list[int], list[SoftmaxInput]]:
    ids = tiny_families.prompts(name)[1]
    return ids, eager_oracle.softmax_inputs(tiny_families.build(name), ids)


@functools.cache
def _patterns(name: str) -> list[torch.Tensor]:
    return eager_oracle.patterns(tiny_families.build(name), _whole(name)[0])


def _relative_change(one: SoftmaxInput, other: SoftmaxInput) -> float:
    before, after = one.scores[:, -1], other.scores[:, -1]
    return ((before - after).abs().nan_to_num().max() / before.abs().nan_to_num().max()).item()


def test_building_is_reproducible_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = tiny_families.build_anew("qwen2")
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    second, other = tiny_families.build_anew("qwen2"), tiny_families.build_anew("qwen2", 1)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
        assert not torch.equal(value, other.state_dict()[key])


def test_models_are_shared_and_fresh_ones_are_not() -> None:
    shared, private = tiny_families.build("gpt2"), tiny_families.fresh("gpt2")
    assert shared is tiny_families.build("gpt2")
    with torch.no_grad():
        next(private.parameters()).zero_()
    assert next(shared.parameters()).abs().sum() > 0


def test_the_oracle_leaves_the_model_as_it_was() -> None:
    model = tiny_families.build("llama")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    eager_oracle.softmax_inputs(model, [5, 6, 7])
    eager_oracle.attention_outputs(model, [5, 6, 7])
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@every_family
def test_prompts_differ_and_outgrow_the_window(name: str) -> None:
    prompts = tiny_families.prompts(name)
    assert len({len(ids) for ids in prompts}) == len(prompts)
    assert all(WINDOW < len(ids) <= 30 for ids in prompts)
    assert all(3 <= token < VOCABULARY for ids in prompts for token in ids)
    assert prompts == tiny_families.prompts(name) != tiny_families.prompts(name, seed=1)
    assert len(tiny_families.prefix(name)) == 25
