"""What makes an analysis: its configuration, its measurement, its tables and its pictures; and all there are."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError, shown
from ..settings import Settings
from .columns import FACTS, Table
from .finding import FINDINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .sheet import Sheet
    from .study import Study

Needs = Literal["model and task", "models and task", "checkpoints", "nothing"]
Place = str
"""``module:name``, which is imported when it is used, so that asking for help imports no torch."""


@dataclass(frozen=True)
class Analysis:
    """One analysis, as everything that runs, saves, loads, shows and asks for studies knows it.

    Attributes:
        name: What it is called everywhere: the function, the command, the key in a YAML file.
        summary: What it does, in one sentence.
        config: Its configuration's class, which imports no torch.
        measure: ``(config, context) -> Measured``, or its place.
        tables: Every table it makes; the first is the one that `Study.to_pandas` gives unasked.
        figures: What draws each picture of a study, or its place; the first is `Study.plot`'s. Where pictures
            depend on the study, what returns those of one.
        sheet: What lays the study's tables out to be read, or its place; None shows them as they are.
        needs: What it runs on.
        in_memory: Fields that also take something that is in memory in place of its name.
        study: The class of its studies, or its place, where they offer more than others.
        version: Of its numbers: raised when the same configuration gives other ones, so that a sweep computes them
            again.
        estimate: ``(config, context) -> Needed``, what a run will take, or its place; None where nobody knows.
        check: Refuses what cannot be asked for before anything is loaded, or its place.
    """

    name: str
    summary: str
    config: type[Settings]
    measure: Callable[..., Any] | Place
    tables: tuple[Table, ...]
    figures: (
        Mapping[str, Callable[[Study], Figure] | Place] | Callable[[Study], Mapping[str, Any]] | Place
    ) = field(default_factory=dict)
    sheet: Callable[[Study], Sheet] | Place | None = None
    needs: Needs = "model and task"
    in_memory: tuple[str, ...] = ("model", "task")
    study: type[Study] | Place = f"{__package__}.study:Study"
    version: int = 1
    estimate: Callable[..., Any] | Place | None = None
    check: Callable[[Any], None] | Place | None = None

    def table(self, name: str) -> Table:
        """Return one declared table; `FACTS` and `FINDINGS` every analysis has.

        Raises:
            ValueError: If none of that name is declared.
        """
        found = next((table for table in (*self.tables, FACTS, FINDINGS) if table.name == name), None)
        if found is None:
            raise ValueError(f"analysis {self.name!r} declares no table {name!r}")
        return found

    @property
    def command(self) -> str:
        """What the command line calls it."""
        return self.name.replace("_", "-")


def there(place: Any) -> Any:
    """Return what stands at a place; what is no place is returned as it is."""
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


_REGISTERED: dict[str, Analysis] = {}


def register(analysis: Analysis) -> Analysis:
    """Make an analysis known: it then has a command, YAML, ``--json``, run directories and a loader.

    Raises:
        ValueError: If another analysis has its name.
    """
    earlier = _REGISTERED.get(analysis.name)
    if earlier is not None and earlier.config is not analysis.config:
        raise ValueError(f"there is another analysis {analysis.name!r}")
    _REGISTERED[analysis.name] = analysis
    return analysis


def registered_analyses() -> dict[str, Analysis]:
    """Return every analysis by its name: the package's own, each in ``analyses/NAME/registration.py``, and others."""
    _import_own()
    return dict(sorted(_REGISTERED.items()))


@cache
def _import_own() -> None:
    root = __name__.replace(".study.analysis", ".analyses")
    for room in pkgutil.iter_modules([str(Path(__file__).parents[1] / "analyses")]):
        if room.ispkg and (Path(__file__).parents[1] / "analyses" / room.name / "registration.py").is_file():
            import_module(f"{root}.{room.name}.registration")


def find_analysis(name: str) -> Analysis:
    """Return an analysis by its name.

    Raises:
        UserError: If there is none; it names those there are.
    """
    known = registered_analyses()
    if name not in known:
        raise UserError(f"there is no analysis {shown(name)}: there are {', '.join(known)}")
    return known[name]
