"""Measuring how much answers depend on the order of demonstrations, shown in context or trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError, shown
from ...hooks.next_token import NextToken, stream_next_token
from ...hooks.storage import scratch_zeros
from ...probes import correct_over_labels, correct_over_vocabulary
from ...probes.demonstration_order import OrderMoments, order_sensitivity
from ...progress import Progress, progressing
from ...study.columns import Frame
from ...study.finding import Finding
from ...study.names import ICL
from ...study.series import series_of
from ...tasks.orders import distinct_orders
from ..arms.finetuning import (
    Arm,
    AskedQueries,
    LearningRates,
    arms_of,
    finetuning_bar,
    require_some_rate,
    run_arm,
)
from ..arms.fitting_cell import icl_prompts
from ..arms.rows import (
    arm_facts,
    arm_key,
    diverged_warnings,
    named_config,
    series_finding,
    what_varies,
)
from ..cell import Cell, prepare_cell
from ..configuration import SubjectConfig
from ..context import Context, Measured
from ..prompt import PromptView, view_prompt
from ..prompt_table import prompt_rows, prompt_warnings
from ..subject import Subject
from .config import OrderConfig
from .registration import ROWS


class Tally:
    """What is kept of the answers to all queries over all orders: running moments and counts.

    The moments of many queries, or of a large vocabulary, lie on disk.
    """

    def __init__(self, gold: Tensor) -> None:
        """Begin with no order.

        Args:
            gold: The right options, ``[N]``.
        """
        self._gold = gold
        self._moments: OrderMoments | None = None
        self._right_labels = self._right_vocabulary = 0

    def add(self, batches: Iterable[tuple[Tensor, NextToken]]) -> None:
        """Add the answers to all queries behind one more order."""
        for indices, said in batches:
            if self._moments is None:
                zeros = partial(scratch_zeros, dtype=torch.float64)
                self._moments = OrderMoments(len(self._gold), said.logprobs.shape[1], zeros)
            self._moments.update(indices, said.logprobs)
            assert said.label_is_argmax is not None
            gold = self._gold[indices]
            self._right_labels += int(correct_over_labels(said.prediction.cpu(), gold).sum())
            self._right_vocabulary += int(correct_over_vocabulary(said.label_is_argmax.cpu(), gold).sum())

    def numbers(self, config: OrderConfig) -> dict[str, float]:
        """Return the fields of a row that are measured."""
        assert self._moments is not None
        values = order_sensitivity(self._moments, config.aggregate, config.ddof, config.top_k)
        asked = self._moments.orders * len(self._gold)
        return {
            "sensitivity": float(values.mean()),
            "sensitivity_std": float(values.std(correction=0)),
            "accuracy_labels": self._right_labels / asked,
            "accuracy_vocabulary": self._right_vocabulary / asked,
        }


_DIVERGED: dict[str, float] = dict.fromkeys(
    ["sensitivity", "sensitivity_std", "accuracy_labels", "accuracy_vocabulary"], math.nan
)


def measure_order(config: OrderConfig, context: Context) -> Measured:
    """Measure in-context learning and every arm of each model (R13).

    Args:
        config: What is asked.
        context: The models and the task.

    Raises:
        UserError: If there are not two demonstrations in use, an arm cannot be run, or all of them diverge.
    """
    rows: list[dict[str, Any]] = []
    views: list[PromptView] = []
    named = config
    for of_model, subject in context.subjects(config):
        measured, view = _measure_model(of_model, subject)
        rows += measured
        views.append(view)
        named = named_config(named, subject, context)
    frame = ROWS.frame(rows)
    facts = arm_facts(named, frame, _demonstrations(frame), views)
    return Measured(
        named,
        {"rows": frame, "prompts": prompt_rows(views), "facts": facts},
        (*order_findings(frame), *prompt_warnings(views)),
    )


def order_findings(rows: Frame) -> tuple[Finding, ...]:
    """Return Sen and accuracy of every arm and learning rate after the last epoch, and what diverged.

    Args:
        rows: One row a model, draw, arm, drawn layer, learning rate and epoch.
    """
    several, sensitivity = what_varies(rows), series_of(rows, "sensitivity")
    found = [series_finding(entry, several, "Sen", null=0.0) for entry in sensitivity]
    found += [
        series_finding(replace(entry, values=entry.most[:, None]), several, "most Sen over epochs", null=0.0)
        for entry in sensitivity
        if entry.learning_rates
    ]
    for measure, name in (
        ("accuracy_labels", "accuracy"),
        ("accuracy_vocabulary", "accuracy over the vocabulary"),
    ):
        found += [series_finding(entry, several, name, "%", 100.0) for entry in series_of(rows, measure)]
    return (*found, *diverged_warnings(sensitivity))


def _demonstrations(rows: Frame) -> str:
    """Return how many demonstrations were shown and trained on, in how many orders."""
    asked = int(rows["shots"].iloc[0])
    used, orders = (sorted(set(rows[name])) for name in ("demonstrations", "orders"))
    shown = (
        f"{asked} shots" if used == [asked] else f"{_range(used)} of {asked} shots (the others do not fit)"
    )
    return f"{shown} in {_range(orders)} orders"


def _range(values: list[int]) -> str:
    return "–".join(map(str, dict.fromkeys((values[0], values[-1]))))


def _measure_model(config: OrderConfig, subject: Subject) -> tuple[list[dict[str, Any]], PromptView]:
    """Measure one model, draw by draw; return its first prompt too."""
    model = subject.model
    settings = config.subject(model.name, config.shots)
    arms = arms_of(config, model)
    rates = LearningRates(config, settings, model, subject.task)
    queries = AskedQueries(settings, model)
    rows: list[dict[str, Any]] = []
    prompts: list[PromptView] = []
    with finetuning_bar(len(config.seeds) * len(arms) * config.orders, f"orders of {model.name}") as bar:
        for seed in config.seeds:
            cell = prepare_cell(settings, model, subject.task, seed)
            measured = _Draw(config, subject, settings, cell)
            prompts.append(view_prompt(model, subject.task, cell))
            rows.append(measured.in_context())
            tried: dict[tuple[str, float], bool] = {}
            for arm in arms:
                for rate in rates.of(arm, cell):
                    found = measured.finetuned(arm, rate, queries, bar)
                    tried[arm.name, rate] = not math.isnan(found[-1]["sensitivity"])
                    rows.extend(found)
            require_some_rate(tried)
    return rows, prompts[0]


class _Draw:
    """One draw of demonstrations in all of its orders."""

    def __init__(self, config: OrderConfig, subject: Subject, settings: SubjectConfig, cell: Cell) -> None:
        self._config, self._subject, self._settings, self._cell = config, subject, settings, cell
        self._used = cell.prompts.demonstrations_used
        if self._used < 2 <= settings.shots:
            raise UserError(
                f"only {self._used} of {settings.shots} demonstrations fit the context window of "
                f"{shown(subject.model.name)}, and one has no second order: leave out long records with "
                "--max-record-tokens"
            )
        self._orders = distinct_orders(self._used, config.orders, cell.seed)
        self._gold = torch.tensor(cell.prompts.zero_shot.gold)

    def in_context(self) -> dict[str, Any]:
        """Show the demonstrations in every order."""
        tally = Tally(self._gold)
        for order in progressing(self._orders, "in context", "orders", leave=False):
            tally.add(
                stream_next_token(
                    self._subject.model,
                    icl_prompts(self._cell, self._subject, order),
                    batch_size=self._settings.batch_size,
                    scoring=self._settings.scoring,
                )
            )
        return self._row(ICL, None, None, None, tally.numbers(self._config))

    def finetuned(self, arm: Arm, rate: float, queries: AskedQueries, bar: Progress) -> list[dict[str, Any]]:
        """Finetune on the demonstrations in every order; evaluate the same epochs of each."""
        asked = queries.of(self._cell.prompts.zero_shot, arm.recipe)
        tallies = {epoch: Tally(self._gold) for epoch in arm.epochs()}
        bar.note(f"{arm.name}, {rate:g}")
        training = self._cell.prompts.training
        well = True
        for order in self._orders:
            ordered = [training[place] for place in order]
            well = well and run_arm(
                self._subject.model,
                ordered,
                arm,
                rate,
                self._cell.seed,
                lambda epoch: tallies[epoch].add(asked.ask()),
            )
            bar.update()
        return [
            self._row(arm.name, arm, rate, epoch, tally.numbers(self._config) if well else _DIVERGED)
            for epoch, tally in tallies.items()
        ]

    def _row(
        self, name: str, arm: Arm | None, rate: float | None, epoch: int | None, measured: dict[str, float]
    ) -> dict[str, Any]:
        return {
            **arm_key(self._subject, self._settings.shots, self._cell.seed, name, arm, rate, epoch),
            "orders": len(self._orders),
            "queries": len(self._gold),
            "demonstrations": self._used,
            **measured,
        }
