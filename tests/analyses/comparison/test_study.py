"""The whole comparison against a literal one: full prompts, one at a time, plain forwards, NumPy."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_checkpoint import TEMPLATE, write_checkpoint

import iclprobe
from iclprobe import Comparison, LanguageModel, UserError
from iclprobe.analyses.comparison.cells import cells_of
from iclprobe.analyses.comparison.draw import Draw
from iclprobe.analyses.comparison.run import run_comparisons
from iclprobe.analyses.context import Context
from iclprobe.probes import bootstrap_mean, jaccard, mean_over_layers, partial_sim_aou
from iclprobe.seeds import derive_seed
from iclprobe.tasks.task import Task


def settings(checkpoint: Path, records: Path, **options: Any) -> dict[str, Any]:
    return {
        "model": str(checkpoint),
        "task": "tone",
        "template": TEMPLATE,
        "label_words": ("bad", "good"),
        "separator": "<end-of-sequence>",
        "data": str(records),
        "device": "cpu",
        "learning_rate": 0.5,
        "shots": 4,
        **options,
    }


def run(checkpoint: Path, records: Path, **options: Any) -> Comparison:
    return iclprobe.compare(**settings(checkpoint, records, **options))


def drawn(checkpoint: Path, records: Path, folder: Path | None = None, **options: Any) -> Draw:
    """The first draw itself, before it becomes rows of tables."""
    config = iclprobe.CompareConfig(**settings(checkpoint, records, **options))
    return run_comparisons(config, list(cells_of(config).values()), Context(), [folder]).draws[0][0]


def values_of(study: Comparison, name: str) -> torch.Tensor:
    """A similarity [N, L] of the first draw, from the tables."""
    rows = study.tables["similarities"]
    found = rows[rows["seed"] == rows["seed"].iloc[0]]
    return torch.tensor(found[name].to_numpy()).reshape(found["query"].nunique(), -1)


def literal_setting(
    model: LanguageModel, prefix: list[int], queries: list[list[int]], options: list[list[int]]
) -> Any:
    """Attention outputs [N][L][d], score rows [N][L][H][Q] and label scores, prompt by prompt."""
    outputs, rows, answers = [], [], []
    for query in queries:
        kept: list[np.ndarray] = []

        def keep(module: Any, args: Any, output: torch.Tensor, kept: list[np.ndarray] = kept) -> None:
            kept.append(output[0, -1].double().numpy())

        handles = [layer.self_attn.o_proj.register_forward_hook(keep) for layer in model.module.model.layers]
        ids = torch.tensor([prefix + query])
        with torch.no_grad():
            result = model.module(ids, output_hidden_states=True)
        for handle in handles:
            handle.remove()
        outputs.append(kept)
        rows.append(literal_rows(model, result.hidden_states, len(prefix)))
        answers.append([literal_label(model, prefix + query, option) for option in options])
    return np.array(outputs), rows, np.array(answers)


def literal_label(model: LanguageModel, prompt: list[int], option: list[int]) -> tuple[float, bool]:
    """Mean log-probability of an option's tokens behind a prompt, and whether each is the argmax."""
    with torch.no_grad():
        logits = model.module(torch.tensor([prompt + option])).logits[0, len(prompt) - 1 : -1].double()
    logprobs = torch.log_softmax(logits, -1)
    mean = float(np.mean([float(logprobs[step, token]) for step, token in enumerate(option)]))
    return mean, logits.argmax(-1).tolist() == option


@torch.no_grad()
def literal_rows(model: LanguageModel, hidden_states: Any, start: int) -> list[np.ndarray]:
    """Scores of the last token over the query's tokens, from the projections and the rotary embedding."""
    config, body = model.module.config, model.module.model
    heads, shared, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    length = hidden_states[0].shape[1]
    cos, sin = body.rotary_emb(hidden_states[0], torch.arange(length)[None])
    rows = []
    for layer, hidden in zip(body.layers, hidden_states, strict=False):
        normed = layer.input_layernorm(hidden)[0]
        query = rotate(layer.self_attn.q_proj(normed).view(length, heads, width), cos[0], sin[0])
        key = rotate(layer.self_attn.k_proj(normed).view(length, shared, width), cos[0], sin[0])
        row = [
            [float(query[-1, h] @ key[t, h // (heads // shared)]) / width**0.5 for t in range(start, length)]
            for h in range(heads)
        ]
        rows.append(np.array(row))
    return rows


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = states.chunk(2, dim=-1)
    return states * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def literal_sgd(model: LanguageModel, demonstrations: list[list[int]], rate: float) -> None:
    """One pass of SGD on W_K and W_V, batch 1, mean loss over all tokens, straight on the module."""
    trained = [
        parameter
        for name, parameter in model.module.named_parameters()
        if "k_proj" in name or "v_proj" in name
    ]
    for ids in demonstrations:
        tokens = torch.tensor([ids])
        logits = model.module(tokens).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:])
        gradients = torch.autograd.grad(loss, trained)
        with torch.no_grad():
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter -= rate * gradient


@pytest.fixture(scope="module")
def task(records: Path) -> Task:
    return iclprobe.load_task("tone", template=TEMPLATE, label_words=("bad", "good"), data=str(records))


def test_every_number_equals_a_literal_comparison(checkpoint: Path, records: Path, task: Task) -> None:
    result = run(checkpoint, records)
    draw = drawn(checkpoint, records)
    model = iclprobe.load_model(checkpoint, device="cpu")
    tokenizer = model.require_tokenizer()

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[return-value]

    bos, eos = encode("<s>"), encode("</s>")
    shown = iclprobe.draw_demonstrations(task, 4, 0)
    texts = [TEMPLATE.format(text=r.fields["text"]) + " " + ("bad", "good")[r.label] for r in shown]
    prefix = bos + [token for text in texts for token in encode(text) + eos]
    queries = [encode(TEMPLATE.format(text=r.fields["text"])) for r in task.validation]
    gold = np.array([record.label for record in task.validation])
    options = [encode(" bad"), encode(" good")]

    zsl = literal_setting(model, bos, queries, options)
    icl = literal_setting(model, prefix, queries, options)
    literal_sgd(model, [bos + encode(text) for text in texts], 0.5)
    ft = literal_setting(model, bos, queries, options)

    unit = [setting[0] / np.linalg.norm(setting[0], axis=-1, keepdims=True) for setting in (zsl, icl, ft)]
    before, after = (np.zeros((len(queries), 3, 4)) for _ in range(2))
    for i in range(len(queries)):
        for layer in range(3):
            expected = cosine(unit[1][i, layer] - unit[0][i, layer], unit[2][i, layer] - unit[0][i, layer])
            assert float(draw.sim_aou.values[i, layer]) == pytest.approx(expected, abs=2e-4)
            assert float(values_of(result, "SimAOU")[i, layer]) == float(draw.sim_aou.values[i, layer])
            for head in range(4):
                rows = [setting[1][i][layer][head] for setting in (zsl, icl, ft)]
                before[i, layer, head] = cosine(rows[1], rows[0])
                after[i, layer, head] = cosine(rows[1], rows[2])
    for found, literal in ((draw.sim_am_before, before), (draw.sim_am_after, after)):
        np.testing.assert_allclose(found.per_example.numpy(), literal.mean(2), atol=1e-4)
        np.testing.assert_allclose(found.head_profile.numpy(), literal.mean(0), atol=1e-4)
    for name, setting in (("zsl", zsl), ("icl", icl), ("ft", ft)):
        answers = draw.answers[name]  # type: ignore[index]
        np.testing.assert_allclose(answers.label_logprobs.numpy(), setting[2][:, :, 0], atol=1e-4)
        predicted = setting[2][:, :, 0].argmax(1)
        assert answers.prediction.tolist() == predicted.tolist()
        assert answers.correct.tolist() == (predicted == gold).tolist()
        expected = [bool(setting[2][i, label, 1]) for i, label in enumerate(gold)]
        assert answers.correct_vocabulary.tolist() == expected
    assert result["SimAOU"] == pytest.approx(
        float(np.mean([[float(v) for v in row] for row in draw.sim_aou.values.numpy()])), abs=1e-6
    )


def test_layers_that_finetuning_cannot_reach_change_by_exactly_zero(checkpoint: Path, records: Path) -> None:
    recipe = {"preset": "dai", "parameters": "attn_v@-1"}
    draw = drawn(checkpoint, records, recipe=recipe)
    assert draw.sim_aou.update_norms_ft[:, :2].count_nonzero() == 0
    assert bool(draw.sim_aou.values[:, :2].isnan().all())
    assert draw.sim_aou.undefined.tolist() == [12, 12, 0]
    assert bool((draw.sim_aou.update_norms_ft[:, 2] > 0).all())


@pytest.mark.parametrize("parameters", ["attn_kv", "attn_v@-1"])
def test_evaluations_along_the_way_end_with_what_the_finetuned_setting_answers(
    checkpoint: Path, records: Path, parameters: str
) -> None:
    recipe = {"preset": "dai", "parameters": parameters, "epochs": 4, "evaluation_epochs": 2}
    draw = drawn(checkpoint, records, recipe=recipe, batch_size=5)
    first, last = draw.finetuned.evaluations
    answers = draw.answers["ft"]
    gold = answers.label_logprobs.gather(1, draw.gold[:, None])
    assert (first.epoch, last.epoch) == (2, 4)
    assert last.accuracy == pytest.approx(100 * float(answers.correct.double().mean()))
    assert last.gold_logprob == pytest.approx(float(gold.mean()), abs=1e-5)
    shorter = drawn(checkpoint, records, recipe={**recipe, "epochs": 2}, batch_size=5)
    assert shorter.finetuned.evaluations[-1].gold_logprob == pytest.approx(first.gold_logprob, abs=1e-5)


def test_a_chosen_rate_is_evaluated_along_the_way_as_a_given_one_is(checkpoint: Path, records: Path) -> None:
    recipe = {"preset": "dai", "epochs": 2, "evaluation_epochs": 1}
    searched = drawn(checkpoint, records, recipe=recipe, learning_rate="auto", held_out=2).finetuned
    assert searched.choice is not None and searched.finetuning is not None
    given = drawn(checkpoint, records, recipe=recipe, learning_rate=searched.finetuning.learning_rate)
    assert len(searched.evaluations) == 2
    assert searched.evaluations == given.finetuned.evaluations


def test_the_provenance_says_how_captures_were_made(checkpoint: Path, records: Path) -> None:
    provenance = run(checkpoint, records).provenance
    (captures,) = provenance["captures"].values()
    assert captures["0"]["zsl"]["score_space"] == iclprobe.CompareConfig().plan.score_space
    assert provenance["score_space"] == iclprobe.CompareConfig().plan.score_space
    assert captures["0"]["zsl"]["dtype"] == "float32"
    assert provenance["self_check"]["held"]


def test_batches_change_nothing(checkpoint: Path, records: Path) -> None:
    one, five = (run(checkpoint, records, batch_size=size) for size in (1, 5))
    assert torch.allclose(values_of(one, "SimAOU"), values_of(five, "SimAOU"), atol=1e-3)
    assert one["SimAOU, null gaussian"] == pytest.approx(five["SimAOU, null gaussian"], abs=1e-4)
    assert one["SimAOU, null permuted_pairs"] == pytest.approx(five["SimAOU, null permuted_pairs"], abs=1e-4)


def test_the_same_comparison_gives_the_same_numbers_whatever_the_global_state(
    checkpoint: Path, records: Path
) -> None:
    torch.manual_seed(1)
    first = run(checkpoint, records)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = run(checkpoint, records)
    assert torch.equal(state, torch.get_rng_state())
    for name, frame in first.tables.items():
        assert frame.equals(second.tables[name]), name


def test_several_seeds_give_mean_and_standard_deviation(checkpoint: Path, records: Path) -> None:
    both = run(checkpoint, records, seeds=(0, 1))
    alone = [run(checkpoint, records, seeds=seed)["SimAOU"] for seed in (0, 1)]
    measure = both.tables["over_draws"].set_index("measure").loc["SimAOU"]
    assert alone[0] != alone[1]
    assert measure["mean"] == pytest.approx(np.mean(alone), abs=1e-9)
    assert measure["std"] == pytest.approx(np.std(alone, ddof=1), abs=1e-9)
    assert "±" in both.table()


def test_the_model_is_left_as_it_was(checkpoint: Path, records: Path, task: Task) -> None:
    model = iclprobe.load_model(checkpoint, device="cpu")
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    iclprobe.compare(model=model, task=task, shots=4, learning_rate=0.5, limit=4)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.module.state_dict().items())


def test_a_finetuning_that_changes_no_prediction_is_said_first(checkpoint: Path, records: Path) -> None:
    table = run(checkpoint, records, learning_rate=1e-9).table()
    assert table.splitlines()[0].startswith("finetuning changed no prediction")


def test_the_learning_rate_is_chosen_on_training_records_alone(
    checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    chosen = drawn(checkpoint, records, learning_rate="auto").finetuned.choice
    assert chosen is not None
    other = tmp_path / "records"
    other.mkdir()
    (other / "train.jsonl").write_text((records / "train.jsonl").read_text())
    lines = (records / "validation.jsonl").read_text().splitlines()
    flipped = [{**json.loads(line), "label": 1 - json.loads(line)["label"]} for line in lines]
    (other / "validation.jsonl").write_text("\n".join(map(json.dumps, flipped)))
    again = drawn(checkpoint, other, learning_rate="auto").finetuned.choice
    assert again == chosen


def test_a_model_somebody_else_finetuned_takes_the_recipes_place(
    checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    by_recipe = drawn(checkpoint, records)
    finetuning = by_recipe.finetuned.finetuning
    assert finetuning is not None
    model = iclprobe.load_model(checkpoint, device="cpu")
    with finetuning.delta.applied(model):
        model.module.save_pretrained(tmp_path / "finetuned")
    model.require_tokenizer().save_pretrained(tmp_path / "finetuned")
    given = run(checkpoint, records, finetuned=str(tmp_path / "finetuned"))
    assert torch.equal(values_of(given, "SimAOU"), by_recipe.sim_aou.values)
    assert given.cells == (("finetuned", 4),)
    assert "finetuned elsewhere" in given.table()


def test_a_run_directory_holds_everything_and_runs_again(
    checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    made = run(checkpoint, records, out=tmp_path / "run", save_captures=True)
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.*")}
    assert names >= {
        *("config.yaml", "manifest.json", "tables/measures.parquet", "layers.csv", "heads.csv"),
        *("layer_profile.png", "heads.png", "finetuning_drift.png", "answers.csv", "table.txt"),
        *(f"captures/{setting}.safetensors" for setting in ("zsl", "icl", "ft")),
    }
    captured = iclprobe.Capture.load(tmp_path / "run" / "captures" / "ft.safetensors")
    assert captured.scores is not None and captured.scores.shape[:3] == (12, 3, 4)
    assert captured.prediction is not None and captured.prediction.shape == (12,)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config.pop("analysis")
    again = iclprobe.compare(iclprobe.CompareConfig(**config), out=tmp_path / "again")
    loaded = iclprobe.load_study(tmp_path / "run")
    assert isinstance(loaded, Comparison)
    for name, frame in made.tables.items():
        assert frame.equals(loaded.tables[name]) and frame.equals(again.tables[name]), name
    assert loaded.table() == made.table() == (tmp_path / "run" / "table.txt").read_text().rstrip("\n")
    assert loaded["SimAOU"] == made["SimAOU"]
    assert loaded["dai", 4].table() == made.table()


def test_every_interval_can_be_made_again_of_what_is_on_disk(
    checkpoint: Path, records: Path, tmp_path: Path
) -> None:
    run(checkpoint, records, out=tmp_path / "run", resamples=200, level=0.9)
    study = iclprobe.load_study(tmp_path / "run")
    measures = study.tables["measures"].set_index("measure")
    assert isinstance(study, Comparison)
    how = {"resamples": study.config.resamples, "level": study.config.level}
    for name in ("SimAOU", "SimAOU, null gaussian", "SimAM of the changes (delta)"):
        seed = derive_seed("bootstrap", name)
        again = bootstrap_mean(values_of(study, name), seed=seed, statistic=mean_over_layers, **how)
        told = measures.loc[name]
        assert (told["value"], told["low"], told["high"]) == tuple(
            map(float, (again.estimate, again.low, again.high))
        )
        by_layer = bootstrap_mean(values_of(study, name), seed=seed, **how)
        layers = study.tables["layers"].query("measure == @name")
        # A layer that changes by rounding alone has no interval.
        assert repr(layers["low"].tolist()) == repr(by_layer.low.tolist())
    answers = study.tables["answers"].pivot(index="query", columns="setting", values="prediction")
    codes = {label: place for place, label in enumerate(sorted(set(study.tables["label_logprobs"]["label"])))}
    zsl, icl, ft = (torch.tensor([codes[label] for label in answers[s]]) for s in ("zsl", "icl", "ft"))
    gold = torch.tensor([codes[label] for label in study.tables["queries"]["gold"]])
    ratio = jaccard(zsl, icl, ft, gold, study.config.agreement).all
    interval = ratio.interval(seed=derive_seed("bootstrap", "Jaccard, all changes"), **how)
    told = measures.loc["Jaccard, all changes"]
    assert (told["value"], told["low"], told["high"]) == (
        ratio.percent,
        float(interval.low),
        float(interval.high),
    )


def test_captures_on_disk_give_the_same_numbers(checkpoint: Path, records: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    one = drawn(checkpoint, records, tmp_path / "run", save_captures=True, batch_size=5)
    other = drawn(checkpoint, records, batch_size=5)
    same = partial(torch.testing.assert_close, rtol=0, atol=1e-12, equal_nan=True)
    for name in ("sim_aou", "sim_aou_partial"):
        same(getattr(one, name).values, getattr(other, name).values)
    for name in ("sim_am_after", "sim_am_delta", "sim_am_delta_null"):
        same(getattr(one, name).per_example, getattr(other, name).per_example)
        same(getattr(one, name).head_profile, getattr(other, name).head_profile)
    for kind, null in one.nulls.items():
        assert torch.equal(null.values, other.nulls[kind].values)
        assert torch.equal(null.draw_profiles, other.nulls[kind].draw_profiles)
    assert torch.equal(one.sim_aou_partial_null.draws, other.sim_aou_partial_null.draws)
    folder = tmp_path / "run" / "captures"
    captured = [iclprobe.Capture.load(folder / f"{setting}.safetensors") for setting in ("zsl", "icl", "ft")]
    outputs = [capture.attention_output for capture in captured]
    zsl, icl, ft = (output for output in outputs if output is not None)
    torch.testing.assert_close(
        partial_sim_aou(zsl, icl, ft).values, other.sim_aou_partial.values, rtol=0, atol=1e-12
    )


def test_half_precision_carries_its_noise_floor(checkpoint: Path, records: Path) -> None:
    draw = drawn(checkpoint, records, dtype="bfloat16", learning_rate=1e-6)
    assert draw.noise is not None
    assert bool((draw.noise.floor >= 0).all())
    # A step this small is below the resolution of bfloat16: every update is noise, and said to be.
    assert draw.noise.ft_below.tolist() == [1.0, 1.0, 1.0]
    assert bool((draw.noise.icl_below < 1).all())


def test_the_reference_position_is_the_first_options_label_token(checkpoint: Path, records: Path) -> None:
    default = run(checkpoint, records)
    reference = run(checkpoint, records, plan={"positions": "first_label_token"})
    said = [
        each.tables["answers"].query("setting == 'icl'")["prediction"].tolist()
        for each in (default, reference)
    ]
    assert said[0] == said[1]
    assert reference["SimAOU"] != default["SimAOU"]


def test_one_query_is_enough(checkpoint: Path, records: Path) -> None:
    result = run(checkpoint, records, limit=1)
    for name in (
        "SimAOU, null permuted_pairs",
        "SimAOU, null shared_baseline",
        "SimAOU partial",
        "SimAOU partial, null permuted_pairs",
        "SimAM of the changes (delta), null shared_baseline",
    ):
        assert np.isnan(result[name])
    assert not np.isnan(result["SimAOU"])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"plan": {"sites": ("scores",)}}, "attention_output"),
        ({"plan": {"positions": "all"}}, "last_prompt_token"),
        ({"plan": {"columns": "all"}}, "leave columns out"),
        ({"save_captures": True}, "out=DIR"),
        ({"shots": 25}, "25"),
        ({"recipe": "shen_adam", "learning_rate": 1e18}, "diverged"),
        ({"colour": "red"}, "colour"),
        ({"shots": 0}, "shots"),
        ({"scoring": "loudest"}, "scoring"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(
    checkpoint: Path, records: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        run(checkpoint, records, **options)


def test_prompts_that_are_not_whole_tokens_of_the_context_are_left_out_and_said(
    records: Path, tmp_path: Path
) -> None:
    short = write_checkpoint(tmp_path / "short", layers=2)
    config = json.loads((short / "config.json").read_text())
    config["max_position_embeddings"] = 40
    (short / "config.json").write_text(json.dumps(config))
    result = run(short, records, shots=8)
    used = int(result.tables["draws"]["demonstrations_used"].item())
    assert 0 < used < 8
    assert f"{used} of 8" in result.table()
    with pytest.raises(UserError, match="fit"):
        run(short, records, shots=8, strict_shots=True)
