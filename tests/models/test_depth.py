"""Deep and middle layers of models of any depth (Shen et al. appendix E, R17)."""

from __future__ import annotations

import pytest
from model_snapshot import fresh, sequences

from iclprobe.models.depth import depth_candidates, draw_layers
from iclprobe.models.finetuning import finetune
from iclprobe.models.loading import load_model
from iclprobe.models.recipe import preset


def test_of_32_layers_the_papers_are_chosen():
    assert [layer + 1 for layer in depth_candidates(32, "deep")] == [29, 30, 31, 32]
    assert [layer + 1 for layer in depth_candidates(32, "middle")] == [16, 17, 18, 19, 20]


@pytest.mark.parametrize("n_layers", range(2, 60))
def test_fractions_of_depth_hold_for_every_number_of_layers(n_layers: int):
    deep = [n for n in range(1, n_layers + 1) if n / n_layers > 0.875]
    middle = [n for n in range(1, n_layers + 1) if 0.5 <= n / n_layers <= 0.625]
    assert [layer + 1 for layer in depth_candidates(n_layers, "deep")] == deep
    if middle:
        assert [layer + 1 for layer in depth_candidates(n_layers, "middle")] == middle


def test_each_candidate_comes_once_and_never_twice():
    assert draw_layers(6, "deep") == (5,)
    assert draw_layers(32, "deep", 4, seed=1) == (28, 29, 30, 31)
    drawn = {draw_layers(32, "middle", 4, seed=seed) for seed in range(20)}
    assert all(len(set(layers)) == 4 and set(layers) <= set(range(15, 20)) for layers in drawn)
    assert len(drawn) > 5
    assert draw_layers(32, "middle", 4, seed=3) == draw_layers(32, "middle", 4, seed=3)


def test_a_model_too_shallow_for_a_middle_has_the_nearest_layer_there():
    assert [depth_candidates(n, "middle") for n in (1, 2, 3, 5)] == [(0,), (0,), (1,), (2,)]


def test_a_recipe_draws_its_layer_from_the_seed():
    model = load_model(fresh("llama"))
    recipe = preset("shen_deep").model_copy(update={"epochs": 1})
    done = finetune(model, sequences(2), recipe, learning_rate=0.1, seed=0)
    assert list(done.delta.tensors) == ["model.layers.2.self_attn.v_proj.weight"]
