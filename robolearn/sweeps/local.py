"""A sweep's runs as processes of this machine: as many as it has cores and memory for."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from robolearn.errors import UserError
from robolearn.running.processes import Processes
from robolearn.sweeps import machine
from robolearn.sweeps.attempt import attempt
from robolearn.sweeps.grid import SweepConfig

MEMORY_PERIOD_S = 1.0
SETTLED_S = 20.0  # after which a run that has begun has what it needs


class LocalEngine:
    """Runs attempts; a context manager that leaves no process behind."""

    def __init__(self, config: SweepConfig, folder: Path) -> None:
        """Run those of the sweep in ``folder``; UserError for cores that this machine lacks."""
        if config.cpus > (there := machine.cores()):
            raise UserError(f"sweep.cpus={config.cpus}: this machine has {there} cores")
        self._config, self._folder = config, folder
        self.at_once = config.at_once or room_for(config)
        self._processes = Processes(self.at_once, fresh=True, threads=config.cpus)
        self._threads = ThreadPoolExecutor(self.at_once)
        self._beginning, self._ended = threading.Lock(), False
        self._jobs: list[Future[int]] = []
        self._begun: list[float] = []  # when, of those that have not settled

    @property
    def where(self) -> str:
        """Say in a few words where runs are run."""
        cpus = f"{self._config.cpus} core{'s' * (self._config.cpus > 1)}"
        return f"{self.at_once} at once, {cpus} and {self._config.memory_gb:g} GB each"

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self._ended = kind is not None
        if self._ended:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._processes.end()
        self._threads.shutdown()
        self._processes.shutdown()

    def submit(self, name: str) -> Future[int]:
        """Have an attempt made; its exit code, or ``Died``, comes out."""
        return self._threads.submit(self._attempt, name)

    def _attempt(self, name: str) -> int:
        with self._beginning:
            while self._is_short_of_memory():
                time.sleep(MEMORY_PERIOD_S)
            job = self._processes.submit(attempt, str(self._folder), name, self._config.cpus)
            self._jobs = [one for one in self._jobs if not one.done()] + [job]
            self._begun.append(time.monotonic())
        return job.result()

    def _is_short_of_memory(self) -> bool:
        """Say whether another run has to wait; where none is running, none has.

        Those that have just begun will still take what they need.
        """
        now = time.monotonic()
        self._begun = [begun for begun in self._begun if now - begun < SETTLED_S]
        wanted = (1 + len(self._begun)) * self._config.memory_gb
        busy = any(not job.done() for job in self._jobs)
        return busy and not self._ended and machine.free_memory_gb() < wanted


def room_for(config: SweepConfig) -> int:
    """Count the runs that this machine has cores and memory for; one at least."""
    by_memory = machine.free_memory_gb() / config.memory_gb
    return max(1, min(machine.cores() // config.cpus, int(by_memory)))
