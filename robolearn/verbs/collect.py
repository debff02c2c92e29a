"""``verb: collect``: scripted operators demonstrate a task into a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic

from robolearn.names import load
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run
from robolearn.types import Policy


@dataclass(frozen=True)
class CollectConfig:
    """Who demonstrates what, and where the demonstrations go."""

    env: EnvConfig
    """The environment, one of the tasks that the operators know."""
    dataset: str
    """Folder; a collection that was begun in it goes on."""
    operators: tuple[str, ...] = ("base",)
    """Styles of ``demos.operators``; all of them meet the same start states."""
    episodes: pydantic.PositiveInt = 50
    """Successful demonstrations of each operator; failed ones are kept too."""
    horizon: pydantic.PositiveInt = 400
    """Longest demonstration, in control steps."""
    settle_steps: pydantic.NonNegativeInt = 10
    """Steps that are recorded after the first success."""


def collect(config: CollectConfig, run: Run) -> dict[str, Any]:
    """Record until every operator has its successes.

    Summary: ``dataset``, and under ``operators`` by name ``attempts`` and ``successes``.
    """
    operators = {name: _demonstrate(config, run, name) for name in config.operators}
    return {"dataset": config.dataset, "operators": operators}


def _demonstrate(config: CollectConfig, run: Run, style: str) -> dict[str, int]:
    watched = run.viewer is not None  # the viewer follows a single environment
    env = run.make_env(config.env) if watched else run.make_envs(config.env, config.episodes)
    dataset = load("demos.data.dataset:Dataset").ensure(
        config.dataset, env.interface, config.env.options
    )

    def make_operator(rng: np.random.Generator) -> Policy:
        task = config.env.name.partition("/")[2]
        return load("demos.operators:make_operator")(task, style, env.interface, rng)

    with run.counter(config.episodes, style) as counter:

        def progress(done: Any) -> None:
            counter.update(done.successes - counter.n)
            run.log(done.attempts, **{f"{style}/successes": done.successes})

        done = load("demos.session.record:collect")(
            lambda: env,
            make_operator,
            dataset,
            operator=style,
            episodes=config.episodes,
            seed=run.seed,
            horizon=config.horizon,
            settle_steps=config.settle_steps,
            progress=progress,
            on_step=run.on_step(env) if watched else None,
        )
    return {"attempts": done.attempts, "successes": done.successes}
