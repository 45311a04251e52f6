"""Small draws whose probe results are real results on random tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from iclprobe.analyses.comparison.cells import cells_of
from iclprobe.analyses.comparison.comparison import Comparison
from iclprobe.analyses.comparison.config import CompareConfig
from iclprobe.analyses.comparison.draw import (
    SETTINGS,
    Answers,
    Draw,
    Evaluation,
    FinetunedSetting,
    NoiseFloor,
)
from iclprobe.analyses.comparison.finetuning_drift import FinetuningDrift
from iclprobe.analyses.comparison.measurement import measured_of
from iclprobe.analyses.comparison.registration import COMPARE
from iclprobe.models.delta import Delta
from iclprobe.models.finetuning import Finetuning
from iclprobe.models.learning_rate import LearningRateChoice
from iclprobe.models.recipe import preset
from iclprobe.probes import (
    SimAM,
    below_noise,
    correct_over_labels,
    correct_over_vocabulary,
    delta_shared_baseline,
    derangement,
    noise_floor,
    partial_permuted_pairs,
    partial_sim_aou,
    sim_am,
    sim_aou,
    sim_aou_null,
    weight_drift,
)
from iclprobe.study.study import make_study


def answers(logprobs: torch.Tensor, gold: torch.Tensor, reached: torch.Tensor) -> Answers:
    """What one setting answered.

    Args:
        logprobs: `[N, C]`.
        gold: `[N]`.
        reached: `[N]` bool, whether the predicted option is the argmax of the whole vocabulary too.
    """
    prediction = logprobs.argmax(1)
    is_argmax = torch.nn.functional.one_hot(prediction, logprobs.shape[1]).bool() & reached[:, None]
    return Answers(
        prediction=prediction,
        label_logprobs=logprobs,
        correct=correct_over_labels(prediction, gold),
        correct_vocabulary=correct_over_vocabulary(is_argmax, gold),
    )


def made_draw(
    seed: int = 0,
    *,
    n: int = 12,
    layers: tuple[int, ...] = (0, 1, 2),
    heads: int = 2,
    labels: tuple[str, ...] = ("negative", "positive"),
    finetuning_changes: bool = True,
    frozen_layers: int = 0,
    half_precision: bool = False,
    searched: bool = True,
    somebody_elses: bool = False,
    used: int = 8,
    icl_learns: bool = True,
    final_loss: float = 2.0,
) -> Draw:
    """A consistent draw of random tensors.

    Args:
        seed: Seed of the draw and of its tensors.
        n: Queries.
        layers: Layers recorded.
        heads: Heads.
        labels: Label names.
        finetuning_changes: Whether finetuning changes any prediction.
        frozen_layers: How many of the first layers finetuning leaves exactly as they are.
        half_precision: Whether there is a noise floor.
        searched: Whether the learning rate was chosen by search.
        somebody_elses: Whether the finetuned weights came without a run.
        used: Demonstrations used of 8.
        icl_learns: Whether ICL answers otherwise than zero-shot, and mostly right.
        final_loss: The training loss after finetuning; before it, it was 2.5.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    depth, width, columns = len(layers), 8, 5
    shared = normal(n, depth, width)
    output = {"zsl": normal(n, depth, width)}
    output["icl"] = output["zsl"] + 0.5 * (shared + normal(n, depth, width))
    output["ft"] = output["zsl"] + 0.1 * (shared + normal(n, depth, width))
    scores = {"zsl": normal(n, depth, heads, columns)}
    scores["icl"] = scores["zsl"] + normal(n, depth, heads, columns)
    scores["ft"] = scores["zsl"] + 0.3 * normal(n, depth, heads, columns)
    for values in (output, scores):
        values["ft"][:, :frozen_layers] = values["zsl"][:, :frozen_layers]
    mask = torch.ones(n, columns, dtype=torch.bool)

    gold = torch.randint(len(labels), (n,), generator=generator)
    logits = {setting: normal(n, len(labels)) for setting in ("zsl", "icl", "ft")}
    logits["icl"] += 3 * torch.nn.functional.one_hot(gold, len(labels))
    if not icl_learns:
        logits["icl"] = logits["zsl"]
    if not finetuning_changes:
        logits["ft"] = logits["zsl"]
    reached = torch.rand(n, generator=generator) < 0.7
    recipe = preset("dai")
    run = Finetuning(
        delta=Delta({}),
        losses=(2.5, 2.25),
        final_loss=final_loss,
        epochs=1,
        steps=2,
        learning_rate=0.01,
        recipe=recipe,
        trained_parameters=1234,
        evaluations=(1,),
    )
    choice = LearningRateChoice((0.001, 0.01, 1.0), (0.7, 0.6, float("inf")), 0.75, 0.01)
    similarity = sim_aou(output["zsl"], output["icl"], output["ft"])
    noise = None
    if half_precision:
        floor = noise_floor(output["zsl"], output["zsl"] + 0.05 * normal(n, depth, width))
        below = [
            below_noise(norms, floor).double().mean(0)
            for norms in (similarity.update_norms_icl, similarity.update_norms_ft)
        ]
        noise = NoiseFloor(floor, *below)
    delta_null = SimAM("delta", torch.full((n, depth, heads), torch.nan, dtype=torch.float64))
    if n > 1:
        delta_null = delta_shared_baseline(
            scores["ft"], scores["icl"], mask, zero_shot=scores["zsl"], partner=derangement(n, seed)
        )
    return Draw(
        seed=seed,
        layers=layers,
        label_names=labels,
        query_indices=tuple(range(10, 10 + n)),
        queries=tuple(f"query {index}, with <b>markup</b>" for index in range(n)),
        gold=gold,
        answers={setting: answers(logits[setting].log_softmax(1), gold, reached) for setting in SETTINGS},
        sim_aou=similarity,
        nulls={
            kind: sim_aou_null(output["zsl"], output["icl"], output["ft"], kind, seed=seed, draws=3).means()
            for kind in ("gaussian", "permuted_pairs", "shared_baseline")
        },
        sim_aou_partial=partial_sim_aou(*(output[setting] for setting in SETTINGS)),
        sim_aou_partial_null=partial_permuted_pairs(*(output[setting] for setting in SETTINGS)),
        sim_am_before=sim_am(scores["zsl"], scores["icl"], mask).means(),
        sim_am_after=sim_am(scores["ft"], scores["icl"], mask).means(),
        sim_am_delta=sim_am(
            scores["ft"], scores["icl"], mask, variant="delta", zero_shot=scores["zsl"]
        ).means(),
        sim_am_delta_null=delta_null.means(),
        noise=noise,
        finetuned=FinetunedSetting(
            source="somewhere/finetuned" if somebody_elses else "dai",
            trained_parameters=1234,
            finetuning=None if somebody_elses else run,
            choice=choice if searched and not somebody_elses else None,
            evaluations=(Evaluation(1, 50.0, -0.7),),
            drift=tuple(
                FinetuningDrift(layer, "key", weight_drift(torch.ones(2, 2), torch.full((2, 2), 1.5 + layer)))
                for layer in sorted(layers)
            ),
        ),
        demonstrations_used=used,
        demonstrations_asked=8,
        queries_skipped=2,
        records_left_out=(3, 1),
        separator_unknown=False,
        manifest={
            setting: {
                "dtype": "bfloat16" if half_precision else "float32",
                "device": "cpu",
                "prompts_sha256": f"{setting}{seed}",
            }
            for setting in ("zsl", "icl")
        },
    )


def made_comparison(
    draws: Mapping[tuple[str, int], Sequence[Draw]] | Sequence[Draw], **options: Any
) -> Comparison:
    """A study of draws, as a measurement makes one.

    Args:
        draws: Of each recipe and number of shots; or of one comparison.
        options: Fields of its configuration.
    """
    cells = draws if isinstance(draws, Mapping) else {("dai", 8): draws}
    recipes, shots = (tuple(dict.fromkeys(part)) for part in zip(*cells, strict=True))
    seeds = tuple(draw.seed for draw in next(iter(cells.values())))
    settings: dict[str, Any] = {"model": "pocket", "task": "sst2", "resamples": 50, **options}
    named = tuple({"preset": "dai", "name": recipe} for recipe in recipes)
    config = CompareConfig(**{"shots": shots, "seeds": seeds, "recipes": named, **settings})
    asked = {(recipe, count): one for (recipe, count), one in cells_of(config).items()}
    made = [(key, asked[key], found) for key, found in cells.items()]
    measured = measured_of(config, made, {})
    study = make_study(COMPARE, measured.config, measured.tables, measured.findings, measured.provenance)
    assert isinstance(study, Comparison)
    return study
