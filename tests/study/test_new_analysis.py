"""Somebody's own analysis, about thirty lines: all else comes for nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint
from matplotlib.figure import Figure

import iclprobe
from iclprobe.analyses.cell import prepare_cell
from iclprobe.cli import main
from iclprobe.study import analysis as registry


# What a user writes: from here …
class SurenessConfig(iclprobe.SubjectConfig):
    """How sure a model is of its answers in context.

    Attributes:
        digits: Decimals that are kept.
    """

    digits: int = 3


def measure(config: SurenessConfig, context: iclprobe.Context) -> iclprobe.Measured:
    subject = context.subject(config)
    answers, losses = [], []
    for seed in config.seeds:
        prompts = prepare_cell(config, subject.model, subject.task, seed).prompts.icl
        for indices, said in iclprobe.stream_next_token(subject.model, prompts):
            assert said.label_logprobs is not None
            sure = said.label_logprobs.max(dim=1).values.exp().tolist()
            key = {"seed": seed}
            answers += [
                {**key, "query": q, "sure": round(p, config.digits)}
                for q, p in zip(indices.tolist(), sure, strict=True)
            ]
        losses.append({"seed": seed, "queries": len(prompts.query_ids)})
    mean = sum(row["sure"] for row in answers) / len(answers)
    found = iclprobe.Finding("sureness", f"The model is {mean:.0%} sure on average.", value=mean)
    return iclprobe.Measured(subject.named(config), {"answers": answers, "draws": losses}, (found,))


def histogram(study: iclprobe.Study) -> Figure:
    figure = Figure()
    figure.subplots().hist(study.to_pandas("answers")["sure"])
    return figure


SEED = iclprobe.Column("seed", "integer", "the draw of demonstrations")
QUERY = iclprobe.Column("query", "integer", "place of the query")
ANSWERS = iclprobe.Table(
    "answers",
    "one answer",
    (SEED, QUERY, iclprobe.Column("sure", "number", "largest probability of a label")),
)
DRAWS = iclprobe.Table("draws", "one draw", (SEED, iclprobe.Column("queries", "integer", "queries asked")))
SURENESS = iclprobe.Analysis(
    "sureness",
    "Say how sure a model is.",
    SurenessConfig,
    measure,
    (ANSWERS, DRAWS),
    {"histogram": histogram},
)
# … to here.


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    iclprobe.register(SURENESS)


def test_a_registered_analysis_has_all_that_others_have(
    checkpoint: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    on = ["--model", str(checkpoint), "--task", "tone", "--data", str(records), "--label-words", "bad,good"]
    on += ["--template", tiny_checkpoint.TEMPLATE, "--shots", "2", "--device", "cpu", "--seeds", "0,1"]
    assert main(["sureness", *on, "--digits", "2", "--out", out]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"The model is \d+% sure on average", printed) and "answers" not in printed.split()[0]
    study = iclprobe.load_study(out)
    assert study.config.digits == 2 and list(study.tables) == ["answers", "draws"]
    sure: Any = study.to_pandas()["sure"]
    assert (sure.round(2) == sure).all()
    assert study.findings[0].value == pytest.approx(study.to_pandas()["sure"].mean())
    assert str(study) == printed.rstrip("\n") and "sure on average" in study._repr_html_()
    assert len(study.plot().axes) == 1 and (tmp_path / "run" / "histogram.png").is_file()
    assert main(["sureness", "--config", f"{out}/config.yaml", "--json", "-q"]) == 0
    again: Any = json.loads(capsys.readouterr().out)
    assert len(again["tables"]["answers"]) == len(study.to_pandas())
    assert main(["validate", f"{out}/config.yaml"]) == 0 and "digits: 2" in capsys.readouterr().out
    assert main(["show", out]) == 0 and main(["sureness", "-h"]) == 0
    assert "Decimals that are kept. [default: 3]" in " ".join(capsys.readouterr().out.split())
    assert main(["sureness", *on, "--digits", "many", "--out", str(tmp_path / "other")]) == 2
    assert "--digits cannot be 'many'" in capsys.readouterr().err and not (tmp_path / "other").exists()
