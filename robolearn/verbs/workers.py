"""Who has the environments of a training: this process, or workers of a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from robolearn.errors import UserError
from robolearn.loops.collecting import WorkersConfig
from robolearn.names import load
from robolearn.running.run import Run
from robolearn.types import Learner, VectorEnvironment

ROLLOUTS = "demos.cluster.rollouts:Workers"
STEPS = "demos.cluster.steps:Workers"


def require_dealt(environments: int, workers: WorkersConfig | None, asks: bool = False) -> None:
    """Raise UserError for environments that cannot be dealt out evenly, or to people's questions.

    ``asks`` says whether people are asked about what was seen.
    """
    if workers is not None and environments % workers.count:
        raise UserError(f"workers.count: {environments} environments are no multiple of it")
    if workers is not None and asks:
        raise UserError("workers: preferences are asked about what this process saw")


def dealt(
    kind: str,
    config: WorkersConfig | None,
    make: Callable[..., VectorEnvironment],
    env: VectorEnvironment,
    learner: Learner,
    training: Any,
    run: Run,
) -> contextlib.AbstractContextManager[Any]:
    """Deal out as many environments as ``env`` has, made by ``make(count, threads=...)``.

    ``kind`` names what has them. None comes of it if this process has.
    """
    if config is None:
        return contextlib.nullcontext()
    return load(kind)(config, make, env.num_envs, learner, training, run.path("ray.txt"))
