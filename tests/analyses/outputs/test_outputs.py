"""Outputs against literal ones; what does not fit, diverges or has no other order is said and left undefined."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import arms_oracle
import numpy as np
import pytest
import tiny_checkpoint
import torch
from arms_oracle import rows_of

import iclprobe
from iclprobe import OutputsStudy, load_study
from iclprobe.analyses.outputs.config import OutputsConfig
from iclprobe.analyses.outputs.findings import shots_without_icl
from iclprobe.analyses.outputs.kept_tokens import GROUP, kept_tokens
from iclprobe.analyses.outputs.registration import outputs
from iclprobe.cli import main
from iclprobe.errors import UserError
from iclprobe.models.loading import load_model
from iclprobe.models.partial_forward import PartialForward
from iclprobe.probes.distributions import TopTokens
from iclprobe.study.run_directory import is_complete
from iclprobe.study.series import series_of
from iclprobe.tasks.orders import distinct_orders

SHORT = {"epochs": 4, "evaluation_epochs": 2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers, so that one of them lies in the middle."""
    return tiny_checkpoint.write_checkpoint(tmp_path_factory.mktemp("tiny") / "four", layers=4)


def run(checkpoint: Path, records: Path, **options: Any) -> OutputsStudy:
    given = {"shots": 4, "seeds": 0, "limit": 6, "learning_rates": 0.05, **SHORT}
    return outputs(**{**arms_oracle.settings(checkpoint, records), **given, **options})


@pytest.fixture(scope="module")
def study(checkpoint: Path, records: Path) -> OutputsStudy:
    return run(
        checkpoint,
        records,
        shots=(1, 4),
        seeds=(0, 1),
        arms=("shen", "shen_middle"),
        learning_rates=(0.05, 0.2),
    )


def top_of(study: OutputsStudy, row: Any) -> TopTokens:
    return kept_tokens(study.arrays[GROUP], row.tokens, row.queries)


def literal_overlap(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Token overlap and OCS (Eq. 6, K - |O| inside the root) of one query, as written."""
    top = [list(np.argsort(-values, kind="stable")[:10]) for values in (first, second)]
    shared = [token for token in top[0] if token in top[1]]
    if not shared:
        return 0.0, 0.0
    product = sum(first[token] * second[token] for token in shared)
    squares = [sum(values[token] ** 2 for token in shared) for values in (first, second)]
    missing = max(1, 10 - len(shared))
    return len(shared) / 10, float(product / math.sqrt(squares[0] * squares[1] * missing))


def test_the_study_is_a_literal_comparison(study: OutputsStudy, checkpoint: Path, records: Path) -> None:
    model, task = load_model(str(checkpoint), device="cpu"), arms_oracle.tiny_task(records)
    prompts = arms_oracle.prompts_in_order(model, task, 4, 1, range(4), 6)
    other = arms_oracle.prompts_in_order(model, task, 4, 1, distinct_orders(4, 2, 1)[1], 6)
    icl = arms_oracle.literal(model, prompts.icl)

    def check(row: Any, said: arms_oracle.Literal, against: arms_oracle.Literal) -> None:
        pairs = [
            literal_overlap(*both) for both in zip(said.probabilities, against.probabilities, strict=True)
        ]
        overlaps, cosines = np.array(pairs).T
        assert row.token_overlap == pytest.approx(overlaps.mean(), abs=1e-5)
        assert row.token_overlap_std == pytest.approx(overlaps.std(), abs=1e-5)
        assert row.ocs == pytest.approx(cosines.mean(), abs=1e-5)
        assert row.ocs_std == pytest.approx(cosines.std(), abs=1e-5)
        assert row.accuracy_labels == pytest.approx(said.right_labels.mean())
        assert row.accuracy_vocabulary == pytest.approx(said.right_vocabulary.mean())

    (row,) = rows_of(study, "ICL", shots=4, seed=1)
    check(row, icl, arms_oracle.literal(model, other.icl))
    (row,) = rows_of(study, "zero-shot", shots=4, seed=1)
    check(row, arms_oracle.literal(model, prompts.zero_shot), icl)
    for arm, recipe in {
        "GD": {"preset": "shen", **SHORT},
        "GD, middle layer": {"preset": "shen_middle", "parameters": "attn_v@1", **SHORT},
    }.items():
        said = arms_oracle.literal_finetuned(model, prompts, recipe, 0.2, 1)
        found = rows_of(study, arm, shots=4, seed=1, learning_rate=0.2)
        assert [row.epoch for row in found] == [2, 4]
        for row in found:
            assert row.epoch is not None
            check(row, said[row.epoch], icl)


def test_every_arm_rate_epoch_shots_and_draw_has_a_row(study: OutputsStudy) -> None:
    assert len(study.to_pandas()) == 2 * 2 * (2 + 2 * 2 * 2)
    assert {row.layer for row in rows_of(study, "GD, middle layer")} == {1}
    series = {(one.arm, one.shots, one.learning_rates) for one in series_of(study.tables["rows"], "ocs")}
    assert ("GD", 4, (0.2,)) in series and ("ICL", 1, ()) in series
    assert "a single demonstration has no other order" in study.table()
    assert all(math.isnan(row.ocs) for row in rows_of(study, "ICL", shots=1))


def test_checkpoints_are_compared_with_each_other(study: OutputsStudy) -> None:
    for measure in ("token_overlap", "ocs"):
        pairs = study.pairwise("GD", measure)
        assert pairs.labels == ("0.05, epoch 2", "0.05, epoch 4", "0.2, epoch 2", "0.2, epoch 4")
        assert torch.equal(pairs.values, pairs.values.T)
        assert torch.allclose(pairs.values.diagonal(), torch.ones(4, dtype=torch.float64))
        assert float(pairs.values.min()) < 1
    found = rows_of(study, "GD", shots=4, seed=0)
    tops = [top_of(study, row) for row in (found[0], found[3])]
    shared = [
        len({*one} & {*two}) / 10 for one, two in zip(tops[0].ids.tolist(), tops[1].ids.tolist(), strict=True)
    ]
    assert float(study.pairwise("GD").values[0, 3]) == pytest.approx(np.mean(shared))
    across = study.pairwise("GD", seeds=(0, 1), epochs=(4,), shots=1)
    assert across.labels == tuple(
        f"seed {seed}, {rate:g}, epoch 4" for seed in (0, 1) for rate in (0.05, 0.2)
    )
    with pytest.raises(UserError, match="no arm is called 'Adam'"):
        study.pairwise("Adam")
    with pytest.raises(UserError, match="with 3 shots"):
        study.pairwise("GD", shots=3)
    with pytest.raises(UserError, match=r"epochs \(3,\)"):
        study.pairwise("GD", epochs=(3,))
    with pytest.raises(UserError, match="token_overlap or ocs"):
        study.pairwise("GD", "cosine")  # type: ignore[arg-type]


def test_agreement_with_icl_follows_from_the_top_tokens_that_were_kept(study: OutputsStudy) -> None:
    (icl,) = rows_of(study, "ICL", shots=4, seed=1)
    for row in (*rows_of(study, "zero-shot", shots=4, seed=1), *rows_of(study, "GD", shots=4, seed=1)):
        both = zip(top_of(study, row).ids.tolist(), top_of(study, icl).ids.tolist(), strict=True)
        shared = [len({*one} & {*other}) / 10 for one, other in both]
        assert row.token_overlap == pytest.approx(np.mean(shared))
    # Zero-shot answers are the same for every draw and number of shots.
    assert len({row.tokens for row in rows_of(study, "zero-shot")}) == 1


def test_answers_of_the_pretrained_model_are_given_once_for_all_arms(checkpoint: Path, records: Path) -> None:
    model = load_model(str(checkpoint), device="cpu")
    # Its layers are looked at once, with one token.
    PartialForward(model)
    calls: list[int] = []
    handle = model.module.register_forward_hook(lambda *_: calls.append(1))
    rates = {"learning_rates": 0.05, "epochs": 1, "evaluation_epochs": 1, "model": model}
    counts = []
    for arms in (("shen",), ("shen", "shen_adam")):
        calls.clear()
        run(checkpoint, records, arms=arms, shots=(2, 4), seeds=(0, 1), **rates)
        counts.append(len(calls))
    calls.clear()
    run(checkpoint, records, arms=("shen_adam",), shots=(2, 4), seeds=(0, 1), **rates)
    handle.remove()
    # A batch is three forwards: the prompts, and the second token of both label words. Zero-shot comes once, and
    # two orders of the demonstrations for each of two numbers of shots and two draws.
    assert counts[0] + len(calls) - counts[1] == 3 * (1 + 2 * 2 * 2)


def test_demonstrations_that_do_not_fit_are_finetuned_on_without_icl(checkpoint: Path, records: Path) -> None:
    model = load_model(str(checkpoint), device="cpu")
    model.module.config.max_position_embeddings = 70
    given = {"model": model, "arms": "shen_deep", "shots": (2, 8, 20)}
    study = run(checkpoint, records, **given)
    assert {row.shots for row in rows_of(study, "ICL")} == {2}
    assert {row.shots for row in rows_of(study, "GD, deep layer")} == {2, 8, 20}
    many = rows_of(study, "GD, deep layer", shots=20)
    assert all(math.isnan(row.ocs) and 0 <= row.accuracy_labels <= 1 for row in many)
    assert shots_without_icl(study.tables["rows"]) == ((model.name, 8), (model.name, 20))
    assert "no ICL with 20 demonstrations" in study.table()
    with pytest.raises(UserError, match="do not fit"):
        run(checkpoint, records, **given, strict_shots=True)


def test_all_demonstrations_train_where_icl_is_left_out(checkpoint: Path, records: Path) -> None:
    whole = load_model(str(checkpoint), device="cpu")
    short = load_model(str(checkpoint), device="cpu")
    short.module.config.max_position_embeddings = 70
    studies = [run(checkpoint, records, model=model, arms="shen_deep", shots=8) for model in (whole, short)]
    tops = [top_of(study, rows_of(study, "GD, deep layer")[-1]) for study in studies]
    assert torch.allclose(tops[0].logprobs, tops[1].logprobs, atol=1e-6)


def test_a_rate_that_diverges_is_kept_undefined(checkpoint: Path, records: Path) -> None:
    study = run(checkpoint, records, arms={"by one": "shen_sgd"}, learning_rates=(0.05, 1e8))
    lost = rows_of(study, "by one", learning_rate=1e8)
    assert [row.epoch for row in lost] == [2, 4]
    assert all(math.isnan(row.accuracy_labels) and math.isnan(row.ocs) and row.tokens is None for row in lost)
    assert all(row.tokens is not None for row in rows_of(study, "by one", learning_rate=0.05))
    assert "diverged and left out: by one at 1e+08" in study.table()
    assert study.pairwise("by one").labels == ("0.05, epoch 2", "0.05, epoch 4")
    with pytest.raises(UserError, match="diverged with every learning rate"):
        run(checkpoint, records, arms="shen_sgd", learning_rates=1e8)


def test_a_run_directory_is_complete_and_runs_again(
    checkpoint: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_checkpoint.write_checkpoint(tmp_path / "other", seed=5, layers=4)
    arguments = ["outputs", "--models", f"{checkpoint},{other}", "--task", "tone", "--data", str(records)]
    arguments += ["--template", tiny_checkpoint.TEMPLATE, "--label-words", "bad,good", "--device", "cpu"]
    arguments += [
        "--shots",
        "1,2",
        "--seeds",
        "0,1",
        "--limit",
        "4",
        "--epochs",
        "2",
        "--evaluation-epochs",
        "1",
    ]
    arguments += ["--arms", "shen,shen_deep", "--lr", "GD=0.1,0.2;GD, deep layer=0.5", "--icl-orders", "2"]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    printed = capsys.readouterr().out
    assert "token overlap" in printed and "OCS" in printed and str(other) in printed
    assert is_complete(tmp_path / "one")
    figures = {"epochs", "shots", "models", "pairs"}
    assert {path.stem for path in (tmp_path / "one").glob("*.png")} == figures
    study = load_study(tmp_path / "one")
    assert isinstance(study, OutputsStudy)
    assert set(study.tables["pairs"]["arm"]) == {"GD", "GD, deep layer"}
    assert len(study.tables["rows"]) == 2 * 2 * 2 * (2 + 3 * 2)
    for measure in ("token_overlap", "ocs"):
        square = study.tables["pairs"].query("arm == 'GD'")[measure].to_numpy().reshape(4, 4)
        assert square.tolist() == study.pairwise("GD", measure).values.tolist()
    assert (
        main(["outputs", "--config", str(tmp_path / "one" / "config.yaml"), "--out", str(tmp_path / "two")])
        == 0
    )
    assert capsys.readouterr().out == printed


def test_the_defaults_are_public_and_the_papers_arms() -> None:
    assert iclprobe.outputs is outputs and iclprobe.OutputsConfig is OutputsConfig
    config = OutputsConfig()
    assert list(config.resolved_recipes()) == ["GD", "GD, deep layer", "GD, middle layer"]
    assert (config.shots, config.seeds, config.top_k) == ((1, 2, 4, 8), (0, 1, 2), 10)
    assert config.run_name == ("outputs", "pocket", "pocket-topic-code", "1-2-4-8shots-seeds0-1-2")


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--arms", "nothing"], "no recipe 'nothing'"),
        (["--top-k", "4000"], "top_k=4000"),
        (["--shots", "400"], "400 demonstrations"),
        (["--shots", "few"], "shots"),
        (["--overlap-norm", "root"], "--overlap-norm"),
        (["--lr", "1e8", "--arms", "shen_sgd", "--shots", "4"], "diverged"),
    ],
)
def test_mistakes_are_one_sentence(
    checkpoint: Path,
    records: Path,
    tmp_path: Path,
    extra: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["outputs", "--model", str(checkpoint), "--task", "tone", "--data", str(records)]
    arguments += ["--template", tiny_checkpoint.TEMPLATE, "--label-words", "bad,good", "--device", "cpu"]
    arguments += ["--shots", "2", "--seeds", "0", "--limit", "3", "--epochs", "1", "--lr", "0.1"]
    assert main([*arguments, *extra, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("iclprobe: ") and named in said and not (tmp_path / "run").exists()
