"""A study of outputs, which can compare every two of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...study.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .checkpoint_pairs import CheckpointPairs, PairMeasure


@dataclass(frozen=True, eq=False, repr=False)
class OutputsStudy(Study):
    """What a study of outputs leaves: its rows, and in ``arrays`` the top tokens behind them."""

    def pairwise(
        self,
        arm: str,
        measure: PairMeasure = "token_overlap",
        *,
        model: str | None = None,
        shots: int | None = None,
        seeds: tuple[int, ...] | None = None,
        epochs: tuple[int, ...] | None = None,
    ) -> CheckpointPairs:
        """Compare every two checkpoints of an arm's finetuning with each other (GD and GD, Shen et al. §5.2).

        Args:
            arm: The arm.
            measure: ``token_overlap`` or ``ocs``.
            model: The model; by default the first.
            shots: Demonstrations; by default the most there are.
            seeds: Draws of demonstrations; by default the first alone. Several compare runs with each other.
            epochs: Which epochs; by default all that were evaluated.

        Raises:
            UserError: If nothing was kept of such checkpoints.
        """
        from .checkpoint_pairs import compare_checkpoints
        from .kept_tokens import GROUP

        rows, norm = self.tables["rows"], self.config.overlap_norm
        return compare_checkpoints(
            rows, self.arrays[GROUP], arm, measure, norm, model=model, shots=shots, seeds=seeds, epochs=epochs
        )

    def figures(self) -> dict[str, Figure]:
        """Draw every picture that shows something: by shots and by model where there are several of them."""
        rows = self.tables["rows"]
        shown = {
            "shots": rows["shots"].nunique() > 1,
            "models": rows["model"].nunique() > 1,
            # On the first draw every rate of an arm may have diverged.
            "pairs": not self.tables["pairs"].empty,
        }
        return {kind: self.plot(kind) for kind in self.drawers() if shown.get(kind, True)}
