"""A Ray cluster: reached, or begun on this machine and ended again, with nothing said but in our own lines."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from ..errors import UserError, reason_of, shown
from ..worker_processes import available_cores
from .config import Resources

_SECONDS_TO_ANSWER = 30
_CONNECT = """
import sys, ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="error")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
"""
# Nothing but what cells are called goes through it.
_OBJECT_STORE_BYTES = 100 * 2**20
# A node has it that an autoscaler, or Kubernetes, made: others may come.
_NODE_GROUP = "ray.io/node-group"


@contextmanager
def ray_cluster(address: str | None, say: Callable[[str], None]) -> Iterator[Any]:
    """Give the module ``ray``, connected; a cluster that was begun here ends here, any other is left as it was.

    Args:
        address: The cluster's; ``auto`` is the one that this machine belongs to, ``local`` a fresh one on this
            machine, and None what ``RAY_ADDRESS`` names, or a fresh one.
        say: Told what the cluster has.

    Raises:
        UserError: If Ray is not installed, or the cluster cannot be reached or begun.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "Ray is not installed: pip install 'iclprobe[ray]', or take --runner local"
        ) from error
    begun_before = ray.is_initialized()
    if not begun_before:
        _connect(ray, address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        with redirect_stdout(_WithoutRay(sys.stdout)):
            yield ray
    finally:
        if not begun_before:
            ray.shutdown()


def taken(resources: Resources) -> dict[str, float]:
    """Return what a cell takes of a node, as nodes say what they have."""
    memory = 0 if resources.memory_gb is None else int(resources.memory_gb * 1e9)
    asked = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": memory}
    return {name: amount for name, amount in asked.items() if amount}


def places_on(ray: Any, resources: Resources, say: Callable[[str], None]) -> int:
    """Return how many cells the cluster can run at once, and say what it has.

    Args:
        ray: The connected module.
        resources: What one cell takes.
        say: Told.

    Raises:
        UserError: If no node could ever run one; where an autoscaler may start others, that is none.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    has = [{name: node["Resources"].get(name, 0) for name in ("CPU", "GPU", "memory")} for node in nodes]
    asked = taken(resources)
    places = sum(min(int(node[name] // amount) for name, amount in asked.items()) for node in has)
    if not places and not any(_NODE_GROUP in node.get("Labels", {}) for node in nodes):
        most = {name: max((node[name] for node in has), default=0) for name in asked}
        raise UserError(
            f"a cell takes {amounts(asked)}, and no node of the Ray cluster has that (at most {amounts(most)}): "
            "lower `resources` in the study"
        )
    total = {name: sum(node[name] for node in has) for name in ("CPU", "GPU")}
    shown_total = {name: amount for name, amount in total.items() if amount}
    count = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    say(f"Ray: {count} with {amounts(shown_total)}; room for {places} cells at once")
    if total["GPU"] and not resources.gpus:
        say("the cluster's GPUs stay idle, since a cell takes none: say `resources: {gpus: 1}` in the study")
    return places


def amounts(asked: Mapping[str, float]) -> str:
    """Return resources as people say them."""
    units = {"CPU": ("core", 1.0), "GPU": ("GPU", 1.0), "memory": ("GB of memory", 1e9)}
    said = []
    for name, amount in asked.items():
        unit, size = units[name]
        count = f"{amount / size:.3g}"
        said.append(f"{count} {unit}{'' if name == 'memory' or count == '1' else 's'}")
    return ", ".join(said)


def _connect(ray: Any, address: str) -> None:
    if "://" in address:
        raise UserError(
            f"{shown(address)} is no address for a sweep: run it on a machine of the cluster (ray job submit) with "
            "--ray-address auto"
        )
    quiet = {"log_to_driver": False, "logging_level": "error"}
    fresh = {
        "num_cpus": available_cores(),
        "object_store_memory": _OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    if address != "local":
        _require_answer(address)
    try:
        ray.init(address, **quiet, **(fresh if address == "local" else {}))
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        what = "begun here" if address == "local" else f"reached at {shown(address)}"
        raise UserError(f"a Ray cluster cannot be {what}: {reason_of(error)}") from error


def _require_answer(address: str) -> None:
    """Connect in a process of its own: where it fails it takes minutes, and much of standard error."""
    command = [sys.executable, "-c", _CONNECT, address]
    start = "check the address, or start one with ray start --head"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS_TO_ANSWER
        )
        told, failed = done.stderr, done.returncode != 0
        sentence = f"there is no Ray cluster at {shown(address)} ({_last_line(told)}): {start}"
    except subprocess.TimeoutExpired as error:
        told, failed = error.stderr or b"", True
        sentence = f"no Ray cluster answers at {shown(address)} within {_SECONDS_TO_ANSWER} seconds: {start}"
    if failed and b"AuthToken" in told:
        raise UserError(
            f"the Ray cluster at {shown(address)} asks for a token: export RAY_AUTH_MODE=token, and have the "
            "cluster's token in ~/.ray/auth_token"
        )
    if failed:
        raise UserError(sentence)


def _last_line(told: bytes) -> str:
    lines = [line.strip() for line in told.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:120] if lines else "it says nothing"


class _WithoutRay:
    """A stream without what Ray's own threads print; what matters of it is told in sentences."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
