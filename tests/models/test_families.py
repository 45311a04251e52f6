"""The table of families: every row finds its modules, and weight rows are cut as the model itself cuts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import eager_oracle
import pytest
import tiny_families
import torch
from tiny_families import FAMILIES
from torch import Tensor

from iclprobe.errors import UserError
from iclprobe.models import families
from iclprobe.models.families import Family, family_names, register_family, resolve_family
from iclprobe.models.layer_parts import layer_parts
from iclprobe.models.loading import load_model
from iclprobe.models.projections import HeadGeometry, Projection, projection_rows

every_family = pytest.mark.parametrize("name", list(FAMILIES))


@pytest.fixture
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten behind it."""
    monkeypatch.setattr(families, "_FAMILIES", dict(families._FAMILIES))


@every_family
def test_the_row_finds_what_the_modelling_file_has(name: str) -> None:
    model = tiny_families.build(name)
    loaded, layout = load_model(model), eager_oracle.layout_of(model)
    layers = eager_oracle.decoder_layers(model)
    assert loaded.n_layers == len(layers)
    for index, (part, layer) in enumerate(zip(loaded.parts, layers, strict=True)):
        assert part.index == index
        assert part.layer is layer
        assert part.attention is layer.get_submodule(layout.attention)
        assert part.output_projection is layer.get_submodule(layout.output_projection)
        assert part.mlp_output is layer.get_submodule(layout.mlp_output or "mlp")
    assert loaded.geometry.heads == tiny_families.HEADS


@every_family
def test_selected_rows_reproduce_the_queries_keys_and_values_of_the_model(name: str) -> None:
    """Before rotary embedding and norms: the model's own split is read where it happens."""
    model: Any = tiny_families.build(name)
    loaded = load_model(model)
    layout = loaded.family.layout_of(model.config)
    rows = projection_rows(layout, loaded.geometry)
    width = loaded.geometry.head_width
    for part in loaded.parts[:2]:
        given = torch.randn(1, 7, loaded.width, generator=torch.Generator().manual_seed(part.index))
        own = _own_split(name, part, given, loaded.geometry)
        for projection, values in own.items():
            module: Any = part.projections[projection]
            weight = module.weight.T if loaded.family.transposed else module.weight
            with torch.no_grad():
                found = given @ weight[rows[projection]].T
                if getattr(module, "bias", None) is not None:
                    found = found + module.bias[rows[projection]]
            heads = found.view(1, 7, -1, width)
            assert heads.shape == values.shape
            assert (heads - values).abs().max() <= 1e-5 * values.abs().max()


def _own_split(name: str, part: Any, given: Tensor, geometry: HeadGeometry) -> dict[Projection, Tensor]:
    """Queries, keys and values `[1, S, heads, D]` by the modelling file's own words, copied literally."""
    heads, width = geometry.heads, geometry.head_width
    attention = part.attention
    with torch.no_grad():
        if hasattr(attention, "_split_heads") and name.startswith("falcon"):
            query, key, value = attention._split_heads(attention.query_key_value(given))
            if name == "falcon_grouped":
                # The modelling file repeats keys and values for every query head of their group.
                group = heads // geometry.key_value_heads
                key, value = key[:, :, ::group], value[:, :, ::group]
        elif name == "gpt2" or name == "gpt2_inverse_layer":
            split = attention.c_attn(given).split(attention.split_size, dim=2)
            query, key, value = (each.view(1, 7, -1, attention.head_dim) for each in split)
        elif name == "gpt_bigcode":
            split = attention.c_attn(given).split(
                (attention.embed_dim, attention.kv_dim, attention.kv_dim), dim=2
            )
            query, key, value = (each.view(1, 7, -1, attention.head_dim) for each in split)
        elif name == "gpt_bigcode_multi_head":
            fused = attention.c_attn(given).view(1, 7, attention.num_heads, 3 * attention.head_dim)
            query, key, value = fused.split(3 * [attention.head_dim], dim=3)
        elif name == "gpt_neox":
            fused = attention.query_key_value(given).view(1, 7, -1, 3 * attention.head_size)
            query, key, value = fused.chunk(3, dim=-1)
        elif name == "bloom":
            query, key, value = (
                each.transpose(1, 2) for each in attention._reshape(attention.query_key_value(given))
            )
        elif name == "mpt":
            split = attention.Wqkv(given).chunk(3, dim=2)
            query, key, value = (each.reshape(1, 7, heads, width) for each in split)
        elif name == "phi3":
            fused = attention.qkv_proj(given)
            end = attention.config.num_attention_heads * attention.head_dim
            middle = end + attention.num_key_value_heads * attention.head_dim
            split = (fused[..., :end], fused[..., end:middle], fused[..., middle:])
            query, key, value = (each.view(1, 7, -1, attention.head_dim) for each in split)
        elif name == "codegen":
            fused = attention.qkv_proj(given)
            shards = fused.reshape((*fused.shape[:-1], 4, -1))
            local = attention.head_dim * attention.num_attention_heads // 4
            query, value, key = torch.split(shards, local, dim=-1)
            query, key, value = (
                attention._split_heads(each, attention.num_attention_heads, attention.head_dim, mp_num=4)
                for each in (query, key, value)
            )
        else:
            query, key, value = (
                getattr(attention, each)(given).view(1, 7, -1, width)
                for each in ("q_proj", "k_proj", "v_proj")
            )
    return {"query": query, "key": key, "value": value}


@pytest.mark.parametrize(
    ("layout", "geometry"),
    [
        ("thirds", HeadGeometry(4, 4, 2)),
        ("thirds", HeadGeometry(4, 1, 2)),
        ("per_head", HeadGeometry(3, 3, 2)),
        ("grouped", HeadGeometry(6, 2, 2)),
        ("codegen", HeadGeometry(4, 4, 2)),
        ("codegen", HeadGeometry(8, 8, 3)),
    ],
)
def test_every_row_of_a_fused_weight_belongs_to_one_projection(layout: Any, geometry: HeadGeometry) -> None:
    rows = projection_rows(layout, geometry)
    everything = torch.cat(list(rows.values()))
    assert everything.sort().values.tolist() == list(range(len(everything)))
    assert len(rows["query"]) == geometry.heads * geometry.head_width
    assert len(rows["key"]) == len(rows["value"]) == geometry.key_value_heads * geometry.head_width


def test_rows_of_small_layouts_by_hand() -> None:
    """Two heads of width 2; and two key heads that serve two query heads of width 1 each."""
    rows = projection_rows("per_head", HeadGeometry(2, 2, 2))
    assert rows["query"].tolist() == [0, 1, 6, 7]
    assert rows["key"].tolist() == [2, 3, 8, 9]
    assert rows["value"].tolist() == [4, 5, 10, 11]
    rows = projection_rows("grouped", HeadGeometry(4, 2, 1))
    assert rows["query"].tolist() == [0, 1, 4, 5]
    assert rows["key"].tolist() == [2, 6]
    assert rows["value"].tolist() == [3, 7]
    rows = projection_rows("codegen", HeadGeometry(4, 4, 1))
    assert rows["query"].tolist() == [0, 3, 6, 9]
    assert rows["value"].tolist() == [1, 4, 7, 10]
    assert rows["key"].tolist() == [2, 5, 8, 11]


def test_an_unknown_family_is_named_with_the_way_out(own_table: None) -> None:
    model: Any = tiny_families.fresh("llama")
    model.config.model_type = "ours"
    for layer in model.model.layers:
        layer.self_attn.back_into_the_stream = layer.self_attn.o_proj
        del layer.self_attn.o_proj
    with pytest.raises(UserError, match=r"'ours' has no row .*holds no output projection.*register_family"):
        load_model(model)
    row = resolve_family(tiny_families.build("llama").config)
    register_family(replace(row, name="ours", output_projection="back_into_the_stream"))
    assert "ours" in family_names()
    assert load_model(model).family.name == "ours"
    assert load_model(model).n_layers == 3


def test_a_user_can_describe_a_family_without_touching_the_package(own_table: None) -> None:
    from iclprobe.hooks.capture import capture

    model: Any = tiny_families.fresh("gpt_neox")
    model.config.model_type = "ours"
    register_family(
        Family(
            "ours",
            layers=("gpt_neox.layers",),
            attention="attention",
            output_projection="dense",
            mlp_output="mlp.dense_4h_to_h",
            projections=("query_key_value",),
            layout="per_head",
        )
    )
    ids = tiny_families.prompts("gpt_neox")
    ours, known = capture(model, ids), capture(tiny_families.build("gpt_neox"), ids)
    assert ours.scores is not None and known.scores is not None
    assert torch.equal(ours.scores, known.scores)
    assert ours.manifest["family"] == "ours"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": ("transformer.h", "nowhere")}, r"no layers at transformer.h or nowhere"),
        ({"attention": "attn"}, r"layer 0 of .* does not match the row of family 'llama'"),
        ({"output_projection": "dense"}, r"does not match .*dense"),
        ({"mlp_output": "mlp.fc2"}, r"does not match .*fc2"),
        ({"projections": ("qkv_proj",)}, r"does not match .*qkv_proj"),
    ],
)
def test_a_wrong_row_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    model = tiny_families.build("llama")
    family = replace(resolve_family(model.config), **wrong)
    with pytest.raises(UserError, match=message):
        layer_parts(model, family)
    with pytest.raises(UserError, match="register_family"):
        layer_parts(model, family)
