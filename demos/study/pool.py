"""The jobs of a study, on several processes."""

from __future__ import annotations

from concurrent.futures import as_completed
from typing import Any

import torch

from robolearn.errors import UserError
from robolearn.running.processes import Died, Processes
from robolearn.running.run import Run, how_to_go_on


class Pool:
    """Runs the jobs of a stage and shows how far they are; a context manager.

    Ctrl-C and errors end the processes in the middle of their jobs, which must therefore leave
    nothing behind that looks finished.
    """

    def __init__(self, workers: int, run: Run) -> None:
        self._run, self._processes = run, Processes(workers, initializer=_one_thread)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: Any) -> None:
        self._processes.__exit__(*error)

    def stage(self, label: str, jobs: list[tuple[Any, ...]]) -> None:
        """Run all jobs, (function, *arguments) each; the first error comes out.

        Raises UserError if a process dies, which is mostly for want of memory.
        """
        futures = [self._processes.submit(*job) for job in jobs]
        try:
            with self._run.counter(len(jobs), label) as counter:
                for future in as_completed(futures):
                    future.result()
                    counter.update()
        except Died:
            hint = how_to_go_on(self._run.directory)
            raise UserError(
                f"{label}: a worker process died (out of memory, killed or crashed); {hint}"
            ) from None


def _one_thread() -> None:
    torch.set_num_threads(1)
