"""Imitating what ICL says: its next-token distribution behind the prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from .icl_loss import IclLoss, PromptRows


class DistillLoss(IclLoss):
    """The Kullback-Leibler divergence from ICL's next-token distribution to the model's, in nats."""

    def distances(self, rows: PromptRows) -> Tensor:
        """Return the divergence of each prompt, ``[B]``."""
        target = self._targets.logprobs
        assert target is not None
        logits = self._model.module(**rows.inputs).logits
        row = torch.arange(len(rows.place), device=logits.device)
        chosen = logits[row, rows.place.to(logits.device)]
        said = chosen.to(torch.promote_types(chosen.dtype, torch.float32)).log_softmax(-1)
        wanted = target[rows.targets].to(said)
        return torch.nn.functional.kl_div(said, wanted, reduction="none", log_target=True).sum(-1)
