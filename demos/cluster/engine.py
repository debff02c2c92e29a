"""A sweep's runs as tasks of a Ray cluster, or of one that lives as long as the sweep.

Ray (Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018) gives
out the machines; what is left here is to send a run, and to fetch what it leaves.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from demos.cluster import shipping
from demos.cluster.connection import connect, first_line, living, require_same
from robolearn.errors import UserError
from robolearn.running.processes import GRACE_S, Died, Processes
from robolearn.sweeps.attempt import attempt, log_of
from robolearn.sweeps.grid import SweepConfig

MOST_AT_ONCE = 256  # tasks that wait or run; Ray decides which
SHIP_PERIOD_S = 2.0


class RayEngine:
    """Has attempts made by a cluster; a context manager that leaves no task behind."""

    def __init__(self, config: SweepConfig, folder: Path) -> None:
        """Use the cluster at ``config.address``, or make one on this machine.

        Raises UserError if Ray is not installed or not there, if a node has other versions than
        this one or not this folder, and if none is large enough for a run.
        """
        self._config, self._folder = config, folder
        self._ray = connect("sweep.engine", config.address, log_of(folder, "ray"))
        self._threads = ThreadPoolExecutor(config.at_once or MOST_AT_ONCE)
        self._lock, self._ended = threading.Lock(), False
        self._tasks: dict[Any, threading.Event] = {}  # those that wait or run -> set when over
        try:
            nodes = living(self._ray)
            _require_room(nodes, config)
            require_same(self._ray, nodes)
        except BaseException:
            self._ray.shutdown()
            raise
        cpus = sum(node["Resources"].get("CPU", 0) for node in nodes)
        cluster = f"Ray at {config.address}" if config.address else "Ray on this machine"
        count = f"{len(nodes)} node{'s' * (len(nodes) > 1)}"
        self.where = f"{cluster}, {count} with {cpus:g} cores"

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        with self._lock:
            self._ended = kind is not None
            tasks = dict(self._tasks)
        if self._ended:
            self._threads.shutdown(wait=False, cancel_futures=True)
            for task in tasks:  # as Ctrl-C would: runs close what they hold
                self._ray.cancel(task)
            deadline = time.monotonic() + GRACE_S + SHIP_PERIOD_S
            for over in tasks.values():
                over.wait(max(0.0, deadline - time.monotonic()))
        self._ray.shutdown()  # which ends the processes of tasks, should there be any
        self._threads.shutdown()

    def submit(self, name: str) -> Future[int]:
        """Have an attempt made; its exit code, or ``Died``, comes out."""
        return self._threads.submit(self._attempt, name)

    def _attempt(self, name: str) -> int:
        shipping.recover(self._folder, name)
        files = shipping.packed(self._folder, name)
        config = self._config
        task = self._ray.remote(_attempt).options(
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            memory=int(1e9 * config.memory_gb),
            max_retries=0,  # it is the sweep that tries again, from what has arrived
            num_returns="streaming",
        )
        with self._lock:
            if self._ended:
                raise Died("stopped before it began")
            running = task.remote(name, files, config.cpus, os.getcwd())
            self._tasks[running] = over = threading.Event()
        try:
            return self._fetched(running, name)
        except self._ray.exceptions.RayError as error:
            raise Died(f"its task was lost: {first_line(error)}") from None
        finally:
            over.set()
            with self._lock:
                del self._tasks[running]

    def _fetched(self, running: Any, name: str) -> int:
        """Bring what a run leaves to its folder as it comes; give the exit code."""
        outcome: int | str | None = None
        for reference in running:
            files, outcome = self._ray.get(reference)
            shipping.unpack(files, self._folder, name)
        if not isinstance(outcome, int):
            raise Died(outcome or "its task was stopped")
        return outcome


def _attempt(
    name: str, files: shipping.Files, cpus: int, here: str
) -> Iterator[tuple[shipping.Files, int | str | None]]:
    """Make an attempt on this node; give the run's files at every checkpoint, and at the end.

    Beside the last ones stands the exit code, or why the process is gone. It runs in a process of
    its own, which ends with this one.
    """
    os.chdir(here)
    vars(sys.modules["__main__"]).pop("__file__", None)  # Ray's, which children would import too
    with (
        tempfile.TemporaryDirectory(prefix="robolearn-") as scratch,
        Processes(1, fresh=True, threads=cpus) as jobs,
    ):
        folder = Path(scratch)
        shipping.unpack(files, folder, name)
        shipped = shipping.signature(folder, name)
        job = jobs.submit(attempt, scratch, name, cpus)
        while not wait([job], SHIP_PERIOD_S).done:
            now = shipping.signature(folder, name)
            if now != shipped and (changed := shipping.packed(folder, name)) is not None:
                shipped = now
                yield changed, None
        try:
            outcome: int | str = job.result()
        except Died as error:
            outcome = str(error)
        yield shipping.packed(folder, name, whole=True) or {}, outcome


def _require_room(nodes: list[Mapping[str, Any]], config: SweepConfig) -> None:
    """Raise UserError if no node is large enough for a run: it would wait for ever."""
    wanted = {"CPU": config.cpus, "GPU": config.gpus, "memory": 1e9 * config.memory_gb}
    for node in nodes:
        if all(node["Resources"].get(what, 0) >= much for what, much in wanted.items()):
            return
    raise UserError(
        f"sweep: no node has {config.cpus} cores, {config.gpus:g} GPUs and {config.memory_gb:g} "
        "GB, which every run asks for (sweep.cpus, gpus, memory_gb)"
    )
