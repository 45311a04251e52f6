"""Gradient norms by layer and demonstration, against plain backward passes (Bar Natan et al. Fig. 3, R11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from model_snapshot import assert_as_it_was, one_by_one_nll, snapshot

from iclprobe import Study, UserError, gradients, load_model, load_study
from iclprobe.analyses.cell import prepare_cell
from iclprobe.analyses.gradients.config import GradientsConfig
from iclprobe.analyses.subject import load_subject
from iclprobe.cli import main
from iclprobe.reports.gradients import norms_by_step

RATE = 0.05


def _study(**options: Any) -> Study:
    return gradients(shots=3, learning_rate=RATE, device="cpu", **options)


def _norms(study: Study, recipe: str = "dai") -> torch.Tensor:
    return torch.tensor(norms_by_step(study.tables["norms"], recipe).to_numpy())


def _literal(**wanted: Any) -> torch.Tensor:
    """Backward passes of one demonstration after another; norms of W_K and W_V, or of whole layers, ``[S, L]``.

    With `accumulate` gradients of everything but W_K and W_V are never cleared.
    """
    config = GradientsConfig(shots=3, limit=1, device="cpu")
    subject = load_subject(config)
    module: Any = subject.model.module
    training = prepare_cell(config, subject.model, subject.task, 0).prompts.training
    norms = []
    for sequence in training:
        for name, parameter in module.named_parameters():
            if not wanted.get("accumulate") or "k_proj" in name or "v_proj" in name:
                parameter.grad = None
        total, count = one_by_one_nll(module, [sequence], "all")
        (total / (1 if wanted.get("token_sum") else count)).backward()
        row = []
        for layer in module.model.layers:
            chosen = [
                parameter.grad
                for name, parameter in layer.named_parameters()
                if wanted.get("layer_all") or "k_proj" in name or "v_proj" in name
            ]
            row.append(sum(float(gradient.double().square().sum()) for gradient in chosen) ** 0.5)
        norms.append(row)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "k_proj" in name or "v_proj" in name:
                    scale = count if wanted.get("token_sum") else 1
                    parameter -= RATE * parameter.grad / scale
    return torch.tensor(norms, dtype=torch.float64)


def test_norms_are_those_of_plain_backward_passes():
    study = _study(recipes=("dai",))
    torch.testing.assert_close(_norms(study), _literal(), rtol=1e-4, atol=1e-6)
    norms = study.tables["norms"]
    assert sorted(set(norms["layer"])) == [0, 1, 2, 3, 4, 5] and sorted(set(norms["step"])) == [1, 2, 3]


def test_the_references_numbers_can_be_had_with_their_artefacts():
    everything = _study(recipes=("dai",), parameters="layer_all")
    torch.testing.assert_close(_norms(everything), _literal(layer_all=True), rtol=1e-4, atol=1e-6)
    artefact = _study(
        recipes=("dai",), parameters="layer_all", reduction="token_sum", accumulate=True, loss_scale=4
    )
    want = 4 * _literal(layer_all=True, accumulate=True, token_sum=True)
    torch.testing.assert_close(_norms(artefact), want, rtol=1e-3, atol=1e-5)
    assert "artefact D10" in artefact.table()


def test_recipes_stand_side_by_side_and_the_model_is_as_it_was():
    model = load_model("pocket", device="cpu")
    before = snapshot(model.module)
    study = gradients(model=model, shots=3, learning_rate=RATE, seeds=(0, 1))
    assert_as_it_was(model.module, before)
    recipes = ("dai", "barnatan_lcft")
    frame = study.to_pandas()
    assert len(frame) == 2 * 2 * 3 * 6
    assert (frame.norm > 0).all()
    joint, causal = (_norms(study, recipe) for recipe in recipes)
    # The last layer's own loss is the model's loss, so at the first step its gradient is the same.
    torch.testing.assert_close(joint[0, -1], causal[0, -1], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(joint[0, :-1], causal[0, :-1], rtol=0.01)


def test_a_run_directory_is_written_whole(tmp_path: Path):
    out = tmp_path / "run"
    assert main(["gradients", "--shots", "2", "--lr", "0.1", "--out", str(out), "--device", "cpu"]) == 0
    assert {path.name for path in out.iterdir()} == {
        *("config.yaml", "manifest.json", "table.txt", "page.html", "tables", "gradients.png"),
        *(f"{name}.csv" for name in ("norms", "steps", "runs", "prompts", "facts", "findings")),
    }
    assert list(load_study(out).to_pandas("runs")["recipe"]) == ["dai", "barnatan_lcft"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accumulate"], "give parameters=layer_all with it"),
        (["--recipe", "dia"], "no recipe 'dia'"),
        (["--lr", "1e18"], "diverged"),
        (["--shots", "100000"], "ask for fewer"),
        (["--parameters", "some"], "--parameters cannot be 'some'"),
    ],
)
def test_mistakes_are_one_sentence(options: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    shots = [] if "--shots" in options else ["--shots", "2"]
    lr = [] if "--lr" in options else ["--lr", "0.1"]
    assert main(["gradients", "--device", "cpu", *shots, *lr, *options]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]


def test_adapters_have_no_gradients_of_their_own_names():
    with pytest.raises(UserError, match="take attn_kv in place of adapters"):
        _study(recipes=({"parameters": "lora_qv"},))
