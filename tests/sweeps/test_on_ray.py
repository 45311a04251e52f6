"""A sweep on a Ray cluster ends with what a local one ends with, whatever dies, and says what it waits for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import iclprobe
from iclprobe.study.sweep_folder import read_sweep

psutil = pytest.importorskip("psutil", reason="psutil tells which processes are Ray's")
TESTS = Path(__file__).parents[1]
FIXED = {
    "model": "pocket-mini",
    "limit": 8,
    "keep_rows": 2,
    "keep_maps": 1,
    "resamples": 50,
    "learning_rate": 0.1,
}
GRID = {"shots": [2, 4], "seeds": [0, 1], "recipe": ["dai", "shen"]}
SMALL = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}


@pytest.fixture
def ray_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Skip without Ray, and fail if any process of a test's clusters survives it."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'iclprobe[ray]'")
    mark = uuid4().hex
    monkeypatch.setenv("ICLPROBE_TEST_CLUSTER", mark)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    try:
        wait_until(lambda: not marked(mark), 60, "Ray's processes end")
    finally:
        for process in marked(mark):
            process.kill()


@pytest.fixture
def cluster(ray_alone: None) -> Iterator[Any]:
    """A cluster of two nodes of one core each, on this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=SMALL)
    try:
        made.add_node(**SMALL)
        yield made
    finally:
        made.shutdown()


@pytest.mark.slow
def test_a_node_that_is_lost_changes_nothing_of_what_a_sweep_ends_with(tmp_path: Path, cluster: Any) -> None:
    study = written(tmp_path / "study.yaml", analysis="compare", fixed=FIXED, axes=GRID)
    lost = next(iter(cluster.worker_nodes))
    raylet = psutil.Process(lost.all_processes["raylet"][0].process.pid)
    command = ["sweep", study, "--out", tmp_path / "ray", "--runner", "ray", "--ray-address", cluster.address]
    with begun("-m", "iclprobe", *command) as driver:
        # Stopped while it holds a lease, it is in the middle of a cell.
        victim = wait_until(lambda: stopped_holder(tmp_path / "ray", raylet), 120, "a cell runs on the node")
        processes = raylet.children(recursive=True)
        cluster.remove_node(lost, allow_graceful=False)
        # A machine that is lost takes all of its processes along.
        for process in {victim, *processes}:
            if process.is_running():
                process.kill()
        said, told = driver.communicate(timeout=240)
    assert driver.returncode == 0, told
    assert "8 computed" in said and "was lost at" in told
    assert foreign_lines(told) == []
    iclprobe.sweep(study, out=tmp_path / "local")
    here, there = results(tmp_path / "local"), results(tmp_path / "ray")
    assert here.keys() == there.keys() and len(read_sweep(tmp_path / "ray").cells) == 8
    assert [name for name in here if here[name] != there[name]] == []


@pytest.mark.slow
def test_a_cell_that_kills_its_process_again_and_again_fails_alone(
    tmp_path: Path, ray_alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("DYING_CELLS_LOG", str(log))
    fixed = {"model": "pocket-mini", "dies": 2}
    study = written(tmp_path / "study.yaml", analysis="dying", fixed=fixed, axes={"number": list(range(7))})
    code = "import sys, dying_cells; from iclprobe.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["sweep", study, "--out", tmp_path / "out", "--runner", "ray"]
    with begun("-c", code, *command) as driver:
        said, told = driver.communicate(timeout=240)
    assert driver.returncode == 2 and "6 computed" in said, told
    assert foreign_lines(told) == []
    sweep = read_sweep(tmp_path / "out")
    (failed,) = [cell for cell in sweep.cells if sweep.has_failed(cell.id)]
    failure = sweep.failure(failed.id)
    assert failed.axes == {"number": 2} and failure is not None and "died 5 times" in failure.sentence
    # Nothing is blamed on what shares its recordings with it, and nothing of that is done twice.
    assert Counter(log.read_text(encoding="utf-8").split()) == Counter("2222" + "0123456")
    assert results(tmp_path / "out") and not any("unfinished" in name for name in results(tmp_path / "out"))


@pytest.mark.slow
def test_what_fits_no_node_is_refused_and_what_waits_for_one_is_told(tmp_path: Path, cluster: Any) -> None:
    study = {"analysis": "compare", "fixed": FIXED, "axes": {"shots": [2]}}
    code = f"""
import json, ray, sys, time, iclprobe
from pathlib import Path
from iclprobe.sweeps import on_ray

on_ray._SECONDS_UNTIL_STALLED = 3
free, study = Path(sys.argv[1]), json.loads(sys.argv[2])
for resources, name in (({{"cpus": 2}}, "cores"), ({{"gpus": 1}}, "GPU"), ({{"cpus": 1.00001}}, "odd")):
    try:
        iclprobe.sweep(study=None, out=free / name, runner="ray", ray_address={cluster.address!r},
                       resources=resources, **study)
    except iclprobe.UserError as error:
        print(name, error)
ray.init({cluster.address!r}, log_to_driver=False, logging_level="error")

@ray.remote
def busy():
    while not (free / "now").exists():
        time.sleep(0.1)

held = [busy.remote(), busy.remote()]
def say(line):
    print(line)
    if line.startswith("no cell has begun"):
        (free / "now").touch()

print(iclprobe.sweep(out=free / "waits", runner="ray", say=say, **study).computed, ray.is_initialized())
ray.shutdown()
"""
    with begun("-c", code, tmp_path, json.dumps(study)) as driver:
        said, told = driver.communicate(timeout=240)
    assert driver.returncode == 0, told
    assert "cores a cell takes 2 cores, and no node of the Ray cluster has that (at most 1 core)" in said
    assert (
        "GPU a cell takes 1 core, 1 GPU, and no node of the Ray cluster has that (at most 1 core, 0 GPUs)"
        in said
    )
    assert "no cell has begun: each waits for a node of the cluster that has 1 core to spare" in said
    assert said.endswith("1 True\n"), "a cluster that somebody else connected to stays connected"


@pytest.mark.slow
def test_an_interrupt_ends_a_sweep_and_its_cluster(tmp_path: Path, ray_alone: None) -> None:
    study = written(tmp_path / "study.yaml", analysis="compare", fixed=FIXED, axes=GRID)
    with begun("-m", "iclprobe", "sweep", study, "--out", tmp_path / "out", "--runner", "ray") as driver:
        wait_until(lambda: any_lease(tmp_path / "out"), 120, "a cell runs")
        driver.send_signal(signal.SIGINT)
        _, told = driver.communicate(timeout=60)
    assert driver.returncode == 130 and foreign_lines(told) == []
    again = iclprobe.sweep(study, out=tmp_path / "out")
    assert again.computed + again.kept == 8 and not again.failures


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_told_in_a_sentence(tmp_path: Path, ray_alone: None) -> None:
    study = written(tmp_path / "study.yaml", analysis="compare", fixed=FIXED, axes={"shots": [2]})
    command = ["sweep", study, "--out", tmp_path / "out", "--runner", "ray", "--ray-address", "127.0.0.1:9"]
    start = time.monotonic()
    with begun("-m", "iclprobe", *command) as driver:
        _, told = driver.communicate(timeout=90)
    assert driver.returncode == 2 and time.monotonic() - start < 80
    assert told.splitlines()[1:] == [
        "iclprobe: no Ray cluster answers at '127.0.0.1:9' within 30 seconds: check the address, or start one with "
        "ray start --head"
    ]


def test_without_ray_a_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(iclprobe.UserError, match=r"pip install 'iclprobe\[ray\]', or take --runner local"):
        iclprobe.sweep(
            out=tmp_path / "out", runner="ray", analysis="compare", fixed=FIXED, axes={"shots": [2]}
        )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://head:10001", "run it on a machine of the cluster"),
        ("nowhere", "there is no Ray cluster at 'nowhere'"),
        ("auto", "there is no Ray cluster at 'auto'"),
    ],
)
def test_an_address_of_no_cluster_is_refused(
    address: str, sentence: str, tmp_path: Path, ray_alone: None
) -> None:
    axes = {"shots": [2]}
    if address == "auto" and any(process.name() == "gcs_server" for process in psutil.process_iter()):
        pytest.skip("another cluster runs on this machine")
    with pytest.raises(iclprobe.UserError, match=sentence):
        iclprobe.sweep(
            out=tmp_path / "out",
            runner="ray",
            ray_address=address,
            analysis="compare",
            fixed=FIXED,
            axes=axes,
        )


def written(path: Path, **study: Any) -> Path:
    """Write a study; JSON is YAML."""
    path.write_text(json.dumps(study), encoding="utf-8")
    return path


def begun(*command: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(found: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (value := found()) is not None and value is not False:
            return value
        time.sleep(0.02)
    raise AssertionError(f"after {seconds} seconds it is not true that {what}")


def marked(mark: str) -> list[Any]:
    """Return the living processes, but this one, that were begun with a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("ICLPROBE_TEST_CLUSTER") == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def any_lease(folder: Path) -> bool:
    return any((folder / "leases").glob("*.lease"))


def stopped_holder(folder: Path, raylet: Any) -> Any:
    """Stop a process of a node that holds a lease, and return it; nothing if none does, or it let go meanwhile."""
    if not any_lease(folder):
        return None
    sweep = read_sweep(folder)
    for holder in sweep.held().values():
        if holder is None:
            continue
        try:
            process = psutil.Process(holder.process)
            if raylet not in process.parents():
                continue
            process.send_signal(signal.SIGSTOP)
        except psutil.Error:
            continue
        if holder in sweep.held().values():
            return process
        process.send_signal(signal.SIGCONT)
    return None


def results(folder: Path) -> dict[str, bytes]:
    """Return what a sweep holds, by its name; of manifests, all but when and how long."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.parent == folder:
            continue
        content = path.read_bytes()
        if path.name == "manifest.json":
            manifest = json.loads(content)
            for name in ("date_utc", "seconds"):
                manifest["provenance"].pop(name)
            content = json.dumps(manifest).encode()
        found[str(path.relative_to(folder))] = content
    return found


def foreign_lines(told: str) -> list[str]:
    """Return what stands on standard error beside a sweep's own lines."""
    ours = (
        "cells of",
        "Ray:",
        "a process of the cluster was lost",
        "warning: removed",
        "wrote ",
        "iclprobe:",
    )
    return [
        line
        for line in told.splitlines()
        if not re.match(r"\[\d+/\d+\] ", line) and not any(word in line for word in ours)
    ]
