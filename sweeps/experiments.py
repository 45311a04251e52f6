"""Many experiments into one directory: a folder for each, and an index; what is complete is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..addresses import public
from ..analyses.papers.catalogue import CLAIMS
from ..analyses.papers.declaration import Experiment, Scale
from ..analyses.papers.experiment_index import Index, IndexRow, Status
from ..analyses.papers.kinds import configuration
from ..analyses.papers.library import Request, StudyLibrary
from ..analyses.papers.overrides import plain_overrides
from ..analyses.papers.registration import CLAIMS as JUDGING
from ..analyses.papers.registration import REPRODUCE
from ..analyses.papers.reproduction import announcement, requests_of, require_scale
from ..analyses.papers.requirements import requirements_of
from ..analyses.papers.scales import Resolved
from ..analyses.public_settings import without_secrets
from ..analyses.runner import run_analysis
from ..errors import UserError, shown
from ..leases import LAPSE_SECONDS
from ..study.loading import load_study, read_manifest
from ..study.parts import FOLDER as PARTS
from ..study.plain_values import plain
from ..study.run_directory import is_complete
from ..study.sweep_folder import Failure, SweepCell, SweepFolder, write_sweep
from ..tasks.given_records import GivenRecords
from ..text_files import exists, is_folder
from ..unfinished import remove_leftovers, require_on_disk
from ..worker_processes import available_cores
from .local import run_locally

# The longest studies begin first, so that processes end together.
_LENGTHS = {"order": 0, "outputs": 1, "compare": 2, "drift": 3, "gradients": 4, "sparsity": 5}


def reproduce_all(
    experiments: Sequence[Experiment],
    out: str | Path,
    *,
    scale: Scale = "pocket",
    with_claims: bool = True,
    overrides: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    page: bool = True,
    workers: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Index:
    """Run experiments into the folders of one directory; a folder that is complete is kept.

    Studies that experiments share are run once. An experiment that cannot be run is told in the index, and the
    others go on.

    Args:
        experiments: What to run.
        out: The directory.
        scale: ``pocket`` or ``paper``.
        with_claims: Whether to judge the papers' claims by the studies as well.
        overrides: Settings in place of the declared ones, for every experiment.
        overwrite: Run complete folders again.
        page: Whether each folder gets its page, too.
        workers: Processes; None is one a core at pocket scale, and one in all at the paper's.
        say: Told what is about to happen and what is done.

    Returns:
        The index: what became of each experiment. Its text is in ``index.txt``.

    Raises:
        UserError: If the directory cannot be used.
    """
    require_scale(scale)
    say = say or (lambda line: None)
    require_on_disk(out)
    target = Path(out)
    if exists(target) and not is_folder(target):
        raise UserError(f"{shown(target)} is a file: choose another --out")
    count = workers if workers is not None else (available_cores() if scale == "pocket" else 1)
    start = time.perf_counter()
    run = _Run(target, scale, dict(overrides or {}), overwrite, page, say)
    wanted = {experiment.key: experiment for experiment in experiments}
    needed = {key: requests_of(experiment, scale, overrides) for key, experiment in wanted.items()}
    todo = {
        key: experiment
        for key, experiment in wanted.items()
        if not run.keeps_experiment(experiment, needed[key])
    }
    judged = with_claims and not run.keeps_claims()
    for key, experiment in todo.items():
        for line in announcement(experiment, scale, needed[key]):
            say(line)
    if scale == "paper":
        say(_together(todo, needed))
    requests = [request for key in todo for _, request in needed[key].values()]
    requests.sort(key=lambda request: _LENGTHS.get(request.kind, 9))
    run.run_studies(requests, count, lambda: run.write_ready(todo, needed))
    run.write_ready(todo, needed)
    for key in list(todo):
        run.write(todo.pop(key), needed[key])
    rows = [run.rows.get(key) or run.kept_row(experiment) for key, experiment in wanted.items()]
    if with_claims:
        rows.append(run.claims_row() if judged else run.kept_claims_row())
    index = Index(tuple(rows), time.perf_counter() - start)
    target.mkdir(parents=True, exist_ok=True)
    (target / "index.txt").write_text(index.table() + "\n", encoding="utf-8")
    index.to_pandas().to_csv(target / "index.csv", index=False)
    return index


def _can_be_written_down(request: Request) -> bool:
    """Return whether what a study is told may stand in a file: records in memory and secrets do not."""
    config: Any = configuration(request.kind, request.settings)
    return not isinstance(getattr(config, "data", None), GivenRecords) and without_secrets(config) == config


def studies_of(target: Path, requests: Sequence[Request]) -> SweepFolder:
    """Return the studies of experiments as the cells of a sweep, each in its run directory in ``studies``.

    Args:
        target: The directory of the experiments.
        requests: The studies, the longest first.
    """
    cells = {
        request.key: SweepCell(
            request.key,
            {"study": request.key},
            plain(without_secrets(configuration(request.kind, request.settings)).model_dump()),
            {},
            (request.kind, public(str(request.settings.get("model", ""))), request.key),
            request.kind,
        )
        for request in requests
    }
    return SweepFolder(target, "reproduce", tuple(cells.values()), PARTS)


class _Run:
    """One run over many experiments: what is there, what failed, and where it goes."""

    def __init__(
        self,
        target: Path,
        scale: Scale,
        overrides: dict[str, Any],
        overwrite: bool,
        page: bool,
        say: Callable[[str], None],
    ) -> None:
        self.target, self.overrides = target, overrides
        self.scale: Scale = scale
        self.overwrite, self.page, self.say = overwrite, page, say
        self.library = StudyLibrary(target / PARTS)
        self.studies = studies_of(target, ())
        self.rows: dict[str, IndexRow] = {}

    def keeps(self, key: str, is_this: Callable[[Path], bool]) -> bool:
        """Return whether a folder is complete and stays; one that was run with other settings is refused."""
        folder = self.target / key
        # Now, and not when a folder that is complete is replaced some day.
        remove_leftovers(folder)
        if self.overwrite or not is_complete(folder):
            return False
        if not is_this(folder):
            raise UserError(
                f"{shown(folder)} was run at another scale or with other settings: choose another --out, or "
                "replace it with --overwrite"
            )
        return True

    def keeps_experiment(self, experiment: Experiment, parts: Mapping[str, tuple[Resolved, Request]]) -> bool:
        """Return whether the folder of an experiment stays."""
        ids = {label: request.key for label, (_, request) in parts.items()}
        return self.keeps(experiment.key, lambda folder: read_manifest(folder)["parts"]["ids"] == ids)

    def keeps_claims(self) -> bool:
        """Return whether the folder of the claims stays."""
        asked = {"scale": self.scale, "overrides": plain_overrides(self.overrides)}
        return self.keeps(
            CLAIMS, lambda folder: asked.items() <= load_study(folder).config.model_dump().items()
        )

    def run_studies(self, requests: Sequence[Request], workers: int, each: Callable[[], None]) -> None:
        """Run the studies that are not there yet, and those again that failed."""
        missing = [request for request in requests if not self.library.has(request.key)]
        if not missing:
            return
        write_sweep(studies_of(self.target, requests))
        for request in missing:
            if self.studies.has_failed(request.key):
                self.studies.forget_failure(request.key)
        written_down = [request for request in missing if _can_be_written_down(request)]
        if written_down:
            sweep = studies_of(self.target, written_down)
            run_locally(sweep, sweep.cells, workers, LAPSE_SECONDS, self.say, each)
        for request in missing:
            # What no other process could be told runs here.
            if not (self.library.has(request.key) or self.studies.has_failed(request.key)):
                try:
                    self.library.get(request)
                except UserError as error:
                    self.studies.note_failure(Failure(request.key, {"study": request.key}, str(error)))
                each()

    def write_ready(
        self,
        todo: dict[str, Experiment],
        needed: Mapping[str, Mapping[str, tuple[Resolved, Request]]],
    ) -> None:
        """Write the folders of experiments whose studies were all run, well or not, and take them off the list."""
        for key in list(todo):
            keys = [request.key for _, request in needed[key].values()]
            if all(self.library.has(each) or self.studies.has_failed(each) for each in keys):
                self.write(todo.pop(key), needed[key])

    def write(self, experiment: Experiment, parts: Mapping[str, tuple[Resolved, Request]]) -> None:
        """Write the folder of an experiment whose studies are there."""
        try:
            self.require_studies(parts)
            run_analysis(
                REPRODUCE,
                paper=experiment.paper,
                name=experiment.name,
                scale=self.scale,
                overrides=self.overrides,
                experiment=experiment,
                library=self.library,
                out=self.target / experiment.key,
                overwrite=self.overwrite,
                page=self.page,
            )
        except UserError as error:
            self.rows[experiment.key] = _row(experiment, "failed", "", str(error))
            self.say(f"failed {experiment.key}: {error}")
            return
        self.rows[experiment.key] = _row(experiment, "written", experiment.key)
        self.say(f"wrote {self.target / experiment.key}")

    def require_studies(self, parts: Mapping[str, tuple[Resolved, Request]]) -> None:
        """Refuse an experiment with a study that failed, which is not tried again."""
        for _, request in parts.values():
            failure = None if self.library.has(request.key) else self.studies.failure(request.key)
            if failure is not None:
                raise UserError(failure.sentence)

    def kept_row(self, experiment: Experiment) -> IndexRow:
        """Return the row of an experiment that was complete."""
        return _row(experiment, "kept", experiment.key)

    def claims_row(self) -> IndexRow:
        """Judge the claims by the experiments that are there, and write their folder."""
        run_analysis(
            JUDGING,
            experiments=str(self.target),
            scale=self.scale,
            overrides=plain_overrides(self.overrides),
            out=self.target / CLAIMS,
            overwrite=self.overwrite,
            page=self.page,
        )
        self.say(f"wrote {self.target / CLAIMS}")
        return IndexRow("both", CLAIMS, _CLAIMS_TITLE, CLAIMS, "written", CLAIMS)

    def kept_claims_row(self) -> IndexRow:
        """Return the row of the claims where they were complete."""
        return IndexRow("both", CLAIMS, _CLAIMS_TITLE, CLAIMS, "kept", CLAIMS)


def _together(
    experiments: Mapping[str, Experiment], needed: Mapping[str, Mapping[str, tuple[Resolved, Request]]]
) -> str:
    """Return what all experiments take, studies that they share counted once."""
    hours = {
        request.key: requirements_of(experiment, [resolved]).gpu_hours
        for key, experiment in experiments.items()
        for resolved, request in needed[key].values()
    }
    return f"in all about {sum(hours.values()):.0f} GPU hours; studies that experiments share run once"


_CLAIMS_TITLE = "Every empirical sentence of both papers, measured and judged"


def _row(experiment: Experiment, status: Status, folder: str, note: str = "") -> IndexRow:
    return IndexRow(
        experiment.paper, experiment.name, experiment.title, experiment.kind, status, folder, note
    )
