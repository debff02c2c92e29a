"""Verbs of one's own, right ones and wrong ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from my_lab.method import Spring, SpringConfig
from robolearn.loops import checkpoint
from robolearn.loops.rollout import rollout
from robolearn.running.config import EnvConfig
from robolearn.running.registry import Verb
from robolearn.settings import Settings

if TYPE_CHECKING:  # not there when the module runs
    from robolearn.running.run import Run


@dataclass(frozen=True)
class ReachConfig(Settings):
    """What is learnt where."""

    env: EnvConfig
    """The environment."""
    spring: SpringConfig = SpringConfig()
    """The method."""
    trials: PositiveInt = 30
    """Episodes to learn from."""


def run(config: ReachConfig, run: Run) -> dict[str, Any]:
    """Search, and keep ``checkpoint/``."""
    env = run.make_env(config.env)
    learner = Spring(env.interface, config.spring, run.seed)
    for trial in range(config.trials):
        episode = rollout(env, learner, horizon=30, seed=trial, explore=True)
        run.log(trial, **learner.update({"reward": episode.rewards.sum()}))
    checkpoint.save(run.path("checkpoint"), learner, {"trials": config.trials})
    return {"best": learner.best}


def stop(config: ReachConfig, run: Run) -> dict[str, Any]:
    """Be interrupted, unless this goes on with a run."""
    already = bool(run.path("metrics.jsonl").read_text())
    run.log(0, x=1.0)
    if not already:
        raise KeyboardInterrupt
    return {"trials": config.trials}


resumable = Verb(ReachConfig, stop, resumable=True, changeable=("trials",))
by_name = Verb("my_lab.reach:ReachConfig", "my_lab.reach:run")
by_wrong_name = Verb("my_lab.reach:ReachConfig", "my_lab.reach:rnu")
without_function = Verb(ReachConfig, 3)


@dataclass
class Loose(Settings):
    """Settings that may change."""


@dataclass(frozen=True)
class Plain:
    """Settings that are not checked."""


@dataclass(frozen=True)
class Greedy(Settings):
    """Settings that take a common key for themselves."""

    seed: int = 0


def forgetful(config: ReachConfig, run: Run) -> None:
    """Return nothing."""


def unannotated(config, run):
    """Say nothing of its settings."""


def nameless(settings: ReachConfig, run: Run) -> dict[str, Any]:
    """Call its settings otherwise."""


def unknown(config: Nowhere, run: Run) -> dict[str, Any]:  # noqa: F821
    """Name settings that are not there."""


def beside(config: ReachConfig.nothing, run: Run) -> dict[str, Any]:
    """Name settings that are not in there."""


def half(config: "1 +", run: Run) -> dict[str, Any]:  # noqa: F722, UP037
    """Name no settings, nor anything else."""


def loose(config: Loose, run: Run) -> dict[str, Any]:
    """Take settings that may change."""


def plain(config: Plain, run: Run) -> dict[str, Any]:
    """Take settings that are not checked."""


def mapped(config: dict[str, int], run: Run) -> dict[str, Any]:
    """Take no settings at all."""


def greedy(config: Greedy, run: Run) -> dict[str, Any]:
    """Take a common key for itself."""
