"""Recipes: the papers' presets, files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from iclprobe.errors import UserError
from iclprobe.models.recipe import Recipe, load_recipe, preset, preset_names, published_learning_rate


def test_the_preset_dai_is_one_pass_of_sgd_on_keys_and_values_in_order():
    recipe = preset("dai")
    assert (recipe.optimizer, recipe.epochs, recipe.batch_size_of(32), recipe.steps(32)) == ("sgd", 1, 1, 32)
    assert (recipe.parameters, recipe.include_bias, recipe.loss_tokens) == ("attn_kv", True, "all")
    assert (recipe.shuffle, recipe.weight_decay) == (False, 0.0)


def test_the_preset_shen_is_200_epochs_of_gd_on_labels_evaluated_every_20():
    recipe = preset("shen")
    assert (recipe.optimizer, recipe.epochs, recipe.batch_size_of(8), recipe.steps(8)) == ("gd", 200, 8, 200)
    assert (recipe.parameters, recipe.loss_tokens) == ("all", "label")
    assert [epoch for epoch in range(1, 201) if recipe.is_evaluated(epoch)] == list(range(20, 201, 20))


def test_presets_leave_the_learning_rate_to_be_chosen():
    of_papers = [preset(name) for name in preset_names() if preset(name).objective == "text"]
    assert {recipe.learning_rate for recipe in of_papers} == {"auto"} and len(of_papers) == 7


def test_the_presets_that_imitate_icl_take_forty_steps_of_adam_at_a_rate_of_their_own():
    for name in ("match_icl", "distill_icl"):
        recipe = preset(name)
        assert (recipe.objective, recipe.optimizer, recipe.parameters) == (name, "adam", "attn_kv")
        assert recipe.steps(recipe.target_records) == 40 and isinstance(recipe.learning_rate, float)
    assert "imitating ICL's attention outputs on 80 records not shown" in preset("match_icl").describe()


def test_the_last_epoch_is_always_evaluated():
    assert [epoch for epoch in range(1, 6) if Recipe(epochs=5).is_evaluated(epoch)] == [5]
    recipe = Recipe(epochs=5, evaluation_epochs=2)
    assert [epoch for epoch in range(1, 6) if recipe.is_evaluated(epoch)] == [2, 4, 5]


def test_a_batch_is_never_larger_than_the_demonstrations():
    recipe = Recipe(batch_size=8, epochs=2)
    assert (recipe.batch_size_of(3), recipe.steps(3), recipe.steps(17)) == (3, 2, 6)


def test_a_recipe_loads_from_yaml(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("optimizer: adam\nlearning_rate: 1e-3\nepochs: 3\nparameters: attn_v@-1\n")
    assert load_recipe(str(path)) == Recipe(
        optimizer="adam", learning_rate=1e-3, epochs=3, parameters="attn_v@-1"
    )


def test_a_file_may_start_from_a_preset(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("preset: shen\nepochs: 7\n")
    recipe = load_recipe(path)
    assert recipe == preset("shen").model_copy(update={"epochs": 7})
    assert load_recipe({"preset": "dai", "optimizer": "gd"}).batch_size_of(9) == 9


def test_a_recipe_survives_being_written_and_read():
    for name in preset_names():
        assert load_recipe(preset(name).model_dump()) == preset(name)
    assert load_recipe(preset("dai")) is preset("dai")


def test_an_unknown_key_is_named_with_those_allowed(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("optimiser: adam\n")
    with pytest.raises(UserError, match=r"recipe\.yaml.*unknown key 'optimiser'.*optimizer"):
        load_recipe(path)
    with pytest.raises(ValidationError):
        Recipe(optimiser="adam")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", -1.0),
        ("learning_rate", "fast"),
        ("learning_rate", float("inf")),
        ("epochs", 0),
        ("lora_rank", 0),
        ("lora_rank", 70_000),
        ("batch_size", 0),
        ("optimizer", "lion"),
        ("loss_tokens", "input"),
        ("evaluation_epochs", 0),
        ("weight_decay", -0.1),
        ("parameters", "(unclosed"),
        ("parameters", ""),
        ("parameters", "w" * 1001),
    ],
)
def test_an_impossible_value_is_named_with_its_field(field: str, value: object):
    with pytest.raises(UserError) as caught:
        load_recipe({field: value})
    quoted = repr(value) if len(repr(value)) < 60 else repr(value)[:20]
    assert f"{field} cannot be {quoted}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_longest_choice_of_parameters_is_taken():
    assert load_recipe({"parameters": "w" * 1000}).parameters == "w" * 1000


def test_gd_refuses_a_batch_size():
    with pytest.raises(UserError, match="gd takes all demonstrations at once"):
        load_recipe({"optimizer": "gd", "batch_size": 4})


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no recipe 'dia': take dai, barnatan_lcft, shen"):
        load_recipe("dia")
    with pytest.raises(UserError, match="no recipe 'dia'"):
        preset("dia")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(UserError, match="cannot read recipe"):
        load_recipe(broken)
    broken.write_text("- sgd\n")
    with pytest.raises(UserError, match="no keys and values"):
        load_recipe(broken)


def test_published_learning_rates_are_those_of_the_public_code():
    rates = {"sst2": 5e-4, "sst5": 1.6e-4, "mr": 3e-3, "subj": 3e-3, "agnews": 0.2, "cb": 0.08}
    assert {task: published_learning_rate("dai", task) for task in rates} == rates
    assert published_learning_rate("dai", "SST2") == 5e-4


def test_a_learning_rate_that_was_never_published_is_refused():
    with pytest.raises(UserError, match="'rte', only for sst2, sst5, mr, subj, agnews, cb"):
        published_learning_rate("dai", "rte")
    with pytest.raises(UserError, match=r"only which were tried \(1e-05, 5e-05, 0\.0001"):
        published_learning_rate("shen", "sst2")
    with pytest.raises(
        UserError, match="'custom' has no published learning rates, only dai and barnatan_lcft have"
    ):
        published_learning_rate("custom", "sst2")


def test_a_recipe_says_in_a_line_what_it_does_and_which_clipping_is_whose():
    assert load_recipe("dai").describe() == "sgd, 1 epoch, loss on all tokens"
    clipped = load_recipe({"preset": "barnatan_lcft", "clip": "global_l2", "clip_value": 12})
    assert clipped.describe() == (
        "sgd, 1 epoch, layer-causal (simultaneous, sum over layers), gradients clipped: joint L2 norm of all layers "
        "(the paper's code; its text says l_inf) at most 12, loss on all tokens"
    )
    assert "1 epoch" not in load_recipe("shen").describe()
