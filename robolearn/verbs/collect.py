"""``verb: collect``: scripted operators demonstrate a task into a dataset."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from annotated_types import MinLen

from robolearn.errors import UserError
from robolearn.names import load, load_own
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run
from robolearn.types import Policy, Spec


@dataclass(frozen=True, kw_only=True)
class RecordingConfig:
    """Who demonstrates what."""

    env: EnvConfig
    """The environment, one of the tasks that the operators know."""
    operators: Annotated[tuple[str, ...], MinLen(1)] = ("base",)
    """Styles of ``demos.operators`` ("expert" for Meta-World's tasks), or ``module:function`` of
    one's own, which makes a policy of ``(interface, rng)``; all of them meet the same start
    states."""
    episodes: pydantic.PositiveInt = 50
    """Successful demonstrations of each operator; failed ones are kept too."""
    horizon: pydantic.PositiveInt = 400
    """Longest demonstration, in control steps."""
    settle_steps: pydantic.NonNegativeInt = 10
    """Steps that are recorded after the first success."""
    images: Literal["frames", "video", "lossless"] = "frames"
    """How cameras are kept: each frame by itself, exactly; as h264, with loss; or h264 without."""


@dataclass(frozen=True, kw_only=True)
class CollectConfig(RecordingConfig):
    """Who demonstrates what, and where the demonstrations go."""

    dataset: str
    """Folder; a collection that was begun in it goes on."""


def collect(config: CollectConfig, run: Run) -> dict[str, Any]:
    """Record until every operator has its successes.

    Summary: ``dataset``; under ``episodes`` how many it held before, how many are ``new`` and how
    many it holds ``in_all``; under ``operators`` by name ``attempts`` and ``successes`` of this
    collection, earlier runs of it included, and how many attempts are ``new``.
    """
    makers = {name: _maker(config.env.name, name) for name in config.operators}
    held: list[int] = []
    operators = {
        name: _demonstrate(config, config.dataset, run, name, make, held)
        for name, make in makers.items()
    }
    new = sum(operator["new"] for operator in operators.values())
    episodes = {"before": held[0], "new": new, "in_all": held[-1]}
    return {"dataset": config.dataset, "episodes": episodes, "operators": operators}


def record_first(config: RecordingConfig, dataset: str, run: Run) -> None:
    """Record what a dataset lacks of demonstrations, for another verb, whose log stays its own."""
    makers = {name: _maker(config.env.name, name) for name in config.operators}
    held: list[int] = []
    for name, make in makers.items():
        if _successes(dataset, name) < config.episodes:
            _demonstrate(config, dataset, run, name, make, held, logged=False)


def _successes(path: str, operator: str) -> int:
    """Count an operator's successful demonstrations."""
    about = load("demos.data.dataset:ABOUT")
    if not (Path(path) / about).exists():
        return 0
    dataset = load("demos.data.dataset:Dataset").open(path)
    mine = dataset.masks().get(load("demos.data.index:operator_mask")(operator), [])
    return len(set(mine) & set(dataset.names(success=True)))


def _maker(env: str, operator: str) -> Callable[[Spec, np.random.Generator], Policy]:
    """Give what makes an operator for an interface and a generator; UserError for unknown ones."""
    if ":" in operator:
        own = load_own(operator, "operators")
        if not callable(own):
            raise UserError(f"operators: {operator} must be a function of (interface, rng)")
        return own

    load("demos.operators:require_operator")(env, operator)

    def scripted(interface: Spec, rng: np.random.Generator) -> Policy:
        return load("demos.operators:make_operator")(env, operator, interface, rng)

    return scripted


def _demonstrate(
    config: RecordingConfig,
    path: str,
    run: Run,
    operator: str,
    make: Callable[[Spec, np.random.Generator], Policy],
    held: list[int],
    logged: bool = True,
) -> dict[str, int]:
    """Record one operator; append to ``held`` how many episodes there are, before and after."""
    watched = run.viewer is not None  # the viewer follows a single environment
    env = run.make_env(config.env) if watched else run.make_envs(config.env, config.episodes)
    make(env.interface, np.random.default_rng(run.seed))  # what cannot be made leaves no dataset
    dataset = load("demos.data.dataset:Dataset").ensure(
        path, env.interface, config.env.options, config.images
    )
    if not held and len(dataset):
        print(f"goes on with {path} ({len(dataset)} episodes)", file=sys.stderr)
    held.append(len(dataset))

    with run.counter(config.episodes, operator) as counter:

        def progress(done: Any) -> None:
            counter.update(done.successes - counter.n)
            if logged:
                run.log(done.attempts, **{f"{operator}/successes": done.successes})

        done = load("demos.session.record:collect")(
            lambda: env,
            lambda rng: make(env.interface, rng),
            dataset,
            operator=operator,
            episodes=config.episodes,
            seed=run.seed,
            horizon=config.horizon,
            settle_steps=config.settle_steps,
            progress=progress,
            on_step=run.on_step(env) if watched else None,
        )
    held.append(len(dataset))
    return {"attempts": done.attempts, "successes": done.successes, "new": done.new}
