"""A study of one comparison under several controls: the tables of each."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import shown
from ...study.columns import Frame
from ...study.study import Study
from ..comparison.tables import COMPARISON_TABLES


class Controls(Study):
    """One comparison under several controls."""

    def __getitem__(self, control: str) -> Mapping[str, Frame]:
        """Return the tables of the comparison under one control, by their names.

        Args:
            control: Which.

        Raises:
            KeyError: If it was not asked for; it names those that were.
        """
        there = list(self.tables["controls"]["control"])
        if control not in there:
            raise KeyError(f"no control {shown(control)}: there are {', '.join(there)}")
        return {table.name: self._under(control, table.name) for table in COMPARISON_TABLES}

    def _under(self, control: str, table: str) -> Frame:
        frame: Frame = self.tables[table]
        return frame[frame["control"] == control].drop(columns="control").reset_index(drop=True)
