"""The draws of a comparison as tensors, for effects that are paired over queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...study.columns import Frame

_SETTINGS = ("zsl", "icl", "ft")


@dataclass(frozen=True, eq=False)
class ComparedDraw:
    """One draw of demonstrations of one comparison; queries are in one order everywhere.

    Attributes:
        predictions: The label predicted zero-shot, in context and finetuned, ``[N]`` each.
        correct: Whether that is the right one, ``[N]`` bool each.
        gold: The right label, ``[N]``.
        drift: How far finetuning moved each matrix: ``layer``, ``matrix``, ``relative_frobenius``.
    """

    predictions: tuple[Tensor, Tensor, Tensor]
    correct: tuple[Tensor, Tensor, Tensor]
    gold: Tensor
    drift: Frame
    _similarities: Frame

    def similarity(self, name: str) -> Tensor:
        """Return a similarity by its name, ``[N, L]``."""
        values = self._similarities[name].to_numpy(dtype=float)
        return torch.tensor(values).reshape(len(self.gold), -1)


def compared_draws(study: Any) -> list[ComparedDraw]:
    """Return the draws of a study of one comparison, in their order."""
    tables = study.tables
    found = []
    for seed in tables["draws"]["seed"]:
        queries, answers, logprobs, similarities, drift = (
            tables[name][tables[name]["seed"] == seed]
            for name in ("queries", "answers", "label_logprobs", "similarities", "finetuning_drift")
        )
        places = {label: place for place, label in enumerate(dict.fromkeys(logprobs["label"]))}
        said = [answers[answers["setting"] == setting] for setting in _SETTINGS]
        zsl, icl, ft = (torch.tensor([places[label] for label in each["prediction"]]) for each in said)
        of_zsl, of_icl, of_ft = (torch.tensor(each["correct"].to_numpy(dtype=bool)) for each in said)
        gold = torch.tensor([places[label] for label in queries["gold"]])
        found.append(ComparedDraw((zsl, icl, ft), (of_zsl, of_icl, of_ft), gold, drift, similarities))
    return found
