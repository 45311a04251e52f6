"""Searching for a learning rate: from coarse to fine, every candidate only as long as it may still win.

A candidate stops when it diverges; when, after its last epoch, the first held-out records leave no doubt that it is
behind; and in long runs after a tenth of the epochs, when its training loss is above its first or it is behind a
smaller rate that was better by then.

In one epoch, and with Adam, candidates about a decade apart come first, then those beside the best. In several epochs
of gradient descent rates go from large to small, and a smaller one is not tried where a larger one, which has passed
the same way faster, says that it would not be better. (Adam's first steps have the size of the rate whatever the
gradient, so a large one does not pass where small ones do.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..tasks.prompt_set import TrainingSequence
from .finetuning import finetune, training_loss
from .held_out import HeldOut
from .loading import LanguageModel
from .rate_trial import Trial, lead, mean
from .recipe import Recipe
from .stepper import FinetuningDiverged

Progress = Callable[[int, int, float | None], None]

# Held-out records that are looked at first, and on the way.
_FIRST_RECORDS, _RECORDS_ON_THE_WAY = 8, 16
# So many standard errors of the paired difference leave no doubt.
_NO_DOUBT = 4.0
# Long runs are looked at after a tenth of their epochs, but never before so many: unstable ones may recover.
_SHARE_OF_EPOCHS, _FEWEST_EPOCHS = 0.1, 20
# A smaller rate is tried if it promises more than this share of what the best one gained.
_SHARE_OF_GAIN = 0.05
# Coarse candidates lie about a decade apart. One that gains less than this share of what the best gained, on the side
# of smaller rates, has all smaller ones below it.
_APART, _TAIL = 9.0, 0.7
# The search begins here among the candidates; so few are all tried.
_BEGIN, _BEGIN_OF_ADAM, _FEW = 0.7, 0.4, 3


@dataclass(frozen=True)
class SearchCost:
    """What a search usually takes.

    Attributes:
        finetunings: As many as so many whole ones.
        looks: Looks at all held-out records, the one before finetuning among them.
        keeps_best: Whether the best candidate's tensors have to be kept beside those of the next.
    """

    finetunings: float
    looks: float
    keeps_best: bool


def expected_cost(recipe: Recipe, n_training: int, n_held_out: int) -> SearchCost:
    """Return what a search among `CANDIDATES` usually takes; seen on the pocket tasks and on a model of 135M.

    Args:
        recipe: How to finetune.
        n_training: Demonstrations.
        n_held_out: Held-out records.
    """
    if _look_costs_less(recipe, n_training, n_held_out):
        return SearchCost(2.0 if recipe.epochs > _FEWEST_EPOCHS else 3.5, 5.0, False)
    return SearchCost(3.5, 3.0, True)


def _look_costs_less(recipe: Recipe, n_training: int, n_held_out: int) -> bool:
    """Return whether looking at every held-out record takes less than the training before it."""
    return 3 * recipe.epochs * n_training >= n_held_out


class _Behind(Exception):
    """Ends the finetuning of a candidate that cannot win any more."""


class RateSearch:
    """Candidates that are tried one after another and compared on the same held-out records.

    Attributes:
        trials: What was tried, by rate.
        best: The best of them so far.
    """

    def __init__(
        self,
        model: LanguageModel,
        training: Sequence[TrainingSequence],
        held_out: HeldOut,
        before: Sequence[float],
        recipe: Recipe,
        seed: int,
        candidates: Sequence[float],
        progress: Progress | None = None,
        *,
        keep: bool = False,
    ) -> None:
        """Prepare; arguments as in `search_learning_rate`, and the held-out NLL of each record before finetuning."""
        self._model, self._training, self._held_out, self._before = model, training, held_out, before
        self._recipe, self._seed, self._progress = recipe, seed, progress
        self._candidates, self._keep = sorted(candidates), keep
        self._steps_an_epoch = recipe.steps(len(training)) // recipe.epochs
        self._first_loss: float | None = None
        if recipe.epochs > 1 and self._steps_an_epoch > 1:
            self._first_loss = training_loss(model, training, recipe, seed)
        self.trials: dict[float, Trial] = {}
        self.best: Trial | None = None
        # Where training takes longer than looking at every record, looking at a part saves little.
        cheap = _look_costs_less(recipe, len(training), len(held_out))
        self._first = len(held_out) if cheap else min(_FIRST_RECORDS, len(held_out))

    def run(self) -> None:
        """Try what may be the best, and look at every held-out record of the one that is."""
        adam = self._recipe.optimizer in ("adam", "adamw")
        if len(self._candidates) <= _FEW:
            for rate in self._candidates:
                self._try(rate)
        elif self._recipe.epochs > 1 and not adam:
            self._from_large_to_small()
        else:
            self._from_coarse_to_fine(_BEGIN_OF_ADAM if adam else _BEGIN)
        if self.best is not None:
            self._look(self.best, len(self._held_out))
            if mean(self.best.nll) >= mean(self._before):
                self._try_stopped_again()

    def _try_stopped_again(self) -> None:
        """Look at every record of the candidates that were stopped: the lead of one that gains nothing was none."""
        self._first = len(self._held_out)
        for rate in [trial.rate for trial in self.trials.values() if trial.outcome == "stopped"]:
            self._try(rate)

    def _from_large_to_small(self) -> None:
        begin = int(_BEGIN * (len(self._candidates) - 1))
        for rate in self._candidates[begin:]:
            self._try(rate)
        for rate in reversed(self._candidates[:begin]):
            if self._promises(rate):
                self._try(rate)

    def _from_coarse_to_fine(self, begin: float) -> None:
        rungs = self._far_apart()
        first = int(begin * (len(rungs) - 1))
        for rate in rungs[first:]:
            self._try(rate)
        # The one just below comes first, for the best one's neighbours are tried anyway.
        below = self._candidates[max(0, self._candidates.index(rungs[first]) - 1)]
        for rate in dict.fromkeys([below, *reversed(rungs[:first])]):
            if rate not in self.trials:
                self._try(rate)
            if self._is_tail(self.trials[rate]):
                break
        for rate in reversed(self._beside([t.rate for t in self.trials.values() if self._is_open(t)])):
            self._try(rate)
        while self.best is not None and (beside := self._beside([self.best.rate])):
            for rate in reversed(beside):
                self._try(rate)

    def _far_apart(self) -> list[float]:
        chosen: list[float] = []
        for rate in reversed(self._candidates):
            if not chosen or rate * _APART <= chosen[-1]:
                chosen.append(rate)
        return chosen[::-1]

    def _beside(self, rates: Sequence[float]) -> list[float]:
        """Return the candidates next to these that were not tried yet."""
        places = [self._candidates.index(rate) for rate in rates]
        near = {place + side for place in places for side in (-1, 1)}
        return [
            rate for place, rate in enumerate(self._candidates) if place in near and rate not in self.trials
        ]

    def _try(self, rate: float) -> None:
        """Finetune with a candidate, as far as it may still win, and compare it with the best one."""
        trial = Trial(rate, self._steps_an_epoch, self._first_loss)
        self._tell()
        self.trials[rate] = trial
        try:
            finished = finetune(
                self._model,
                self._training,
                self._recipe,
                learning_rate=rate,
                seed=self._seed,
                progress=lambda step, steps, loss: self._watch(trial, step, steps, loss),
            )
        except FinetuningDiverged:
            trial.outcome = "diverged"
        except _Behind:
            trial.outcome = "stopped"
        else:
            trial.finetuning = finished
            self._compare(trial)
        self._tell()

    def _watch(self, trial: Trial, step: int, steps: int, loss: float) -> None:
        """Look at a candidate while the model holds what it has learned so far.

        Raises:
            _Behind: If it cannot win any more.
            FinetuningDiverged: If it finds a held-out label impossible.
        """
        self._tell()
        trial.losses.append(loss)
        if step == steps:
            trial.nll = self._held_out.nll(0, self._first)
            if not all(map(math.isfinite, trial.nll)):
                raise FinetuningDiverged("a held-out label is impossible", step, math.inf, trial.rate)
            some_left = self._first < len(self._held_out)
            if some_left and self.best is not None and self._is_behind(trial.nll, self.best.nll):
                raise _Behind
            return
        epoch, rest = divmod(step, trial.steps_an_epoch)
        if rest == 0 and epoch in self._epochs_on_the_way(trial.rate):
            checked = epoch == self._checked_epoch
            trial.seen[epoch] = self._held_out.nll(0, None if checked else _RECORDS_ON_THE_WAY)
            if checked and self._cannot_recover(trial):
                raise _Behind

    @property
    def _checked_epoch(self) -> int:
        """The epoch of long runs after which a candidate may be stopped; 0 in short runs."""
        epoch = max(_FEWEST_EPOCHS, round(_SHARE_OF_EPOCHS * self._recipe.epochs))
        return epoch if epoch < self._recipe.epochs else 0

    def _epochs_on_the_way(self, rate: float) -> set[int]:
        """Return the epochs at which a rate has gone as far as the smaller ones will, and the one that is checked."""
        smaller = {round(self._recipe.epochs * other / rate) for other in self._candidates if other < rate}
        return {max(1, epoch) for epoch in smaller} | {self._checked_epoch}

    def _cannot_recover(self, trial: Trial) -> bool:
        losses = trial.epoch_losses
        first = losses[0] if self._first_loss is None else self._first_loss
        risen = mean(losses[3 * len(losses) // 4 :]) > first
        best = self.best
        ahead = best is not None and best.rate < trial.rate
        seen = best.seen.get(self._checked_epoch, ()) if best is not None and ahead else ()
        return risen or self._is_behind(trial.seen[self._checked_epoch], seen)

    def _is_behind(self, nll: Sequence[float], best: Sequence[float]) -> bool:
        """Return whether there is no doubt, on the records that both have, that the first is worse."""
        count = min(len(nll), len(best))
        if count < _FIRST_RECORDS:
            return False
        gap, error = lead(best[:count], nll[:count])
        return gap > _NO_DOUBT * error

    def _is_open(self, trial: Trial) -> bool:
        if self.best is None or not trial.nll or trial.outcome == "diverged":
            return False
        return not self._is_behind(trial.nll, self.best.nll)

    def _compare(self, trial: Trial) -> None:
        """Look at more records of a candidate and of the best one until there is no doubt which is better."""
        best, everything = self.best, len(self._held_out)
        if best is not None:
            while True:
                count = min(len(trial.nll), len(best.nll))
                gap, error = lead(trial.nll[:count], best.nll[:count])
                if count == everything or (count >= _FIRST_RECORDS and abs(gap) > _NO_DOUBT * error):
                    break
                for one in (best, trial):
                    self._look(one, min(2 * count, everything))
            if gap < 0 or (gap == 0 and trial.rate > best.rate):
                trial.finetuning = None
                return
            best.finetuning = None
        self.best = trial
        self._look(trial, len(trial.nll))

    def _look(self, trial: Trial, count: int) -> None:
        """See to it that so many records of a candidate have been looked at."""
        if len(trial.nll) < count:
            assert trial.finetuning is not None
            with trial.finetuning.delta.applied(self._model):
                trial.nll += self._held_out.nll(len(trial.nll), count)
        if not self._keep and len(trial.nll) == len(self._held_out):
            trial.finetuning = None

    def _promises(self, rate: float) -> bool:
        """Return whether a smaller rate may be better than the best one, as far as larger ones tell."""
        if self.best is None:
            return True
        for larger in sorted(other for other in self.trials if other > rate):
            told = self.trials[larger].predicts(rate, self._recipe.epochs, self._before)
            if told is not None:
                expected, count = told
                count = min(count, len(self.best.nll))
                reached, start = mean(self.best.nll[:count]), mean(self._before[:count])
                return expected < reached - _SHARE_OF_GAIN * max(0.0, start - reached)
        return True

    def _is_tail(self, trial: Trial) -> bool:
        """Return whether a candidate gains so little of what the best one gained that smaller ones gain less."""
        if self.best is None or trial is self.best or not trial.nll:
            return False
        count = min(len(trial.nll), len(self.best.nll))
        start = mean(self._before[:count])
        gained, most = start - mean(trial.nll[:count]), start - mean(self.best.nll[:count])
        return 0 <= gained < _TAIL * most

    def _tell(self) -> None:
        if self._progress is not None:
            best = None if self.best is None else self.best.rate
            self._progress(len(self.trials), len(self._candidates), best)
