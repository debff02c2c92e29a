"""``verb: deploy``: a policy from a checkpoint acts on a robot."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from demos.data.dataset import Dataset
from demos.deploy.config import DeployConfig
from demos.devices.contracts import Device
from demos.devices.make import make_device
from demos.devices.others import Scripted, TakeOver
from demos.devices.steering import Steered
from demos.session.clock import Clock, RealClock, SimulatedClock
from demos.session.session import Outcome, Session
from demos.session.teaching import SessionConfig
from demos.teleop.console import Console
from robolearn.errors import DataError, UserError
from robolearn.loops import checkpoint
from robolearn.loops.evaluate import wilson_interval
from robolearn.names import load_own
from robolearn.running.launch import maker_of_run
from robolearn.running.run import Run
from robolearn.types import Environment, Observation, Policy

ROBOTS = "robot/"  # what their environments' names begin with


def deploy(config: DeployConfig, run: Run) -> dict[str, Any]:
    """Run the episodes, and keep every one.

    Summary: ``success`` and its Wilson interval, ``episodes``; ``stopped``, the reason if the arm
    was stopped for good, and ``interventions``, the share of steps in which a person acted;
    ``dataset`` with the ``names`` of the episodes; ``servo``, how many servo periods there were and
    how many were ``missed``; ``changed``, the share of steps in which the guard changed a command.
    """
    env = run.make_env(config.env)
    policy = _policy(config, env)
    where = config.dataset or str(run.path("episodes"))
    dataset = Dataset.ensure(where, env.interface, config.env.options, config.images)
    watched, device = Watched(env), _device(config, policy, env)
    session = Session(
        watched, device, dataset, _session(config, dataset), seed=run.seed, clock=_clock(config)
    )
    with contextlib.ExitStack() as closing:
        closing.callback(dataset.flush)
        closing.callback(device.close)
        device.open()
        closing.enter_context(Console(session, env.interface))
        try:
            session.run()
        except UserError:
            if not watched.error or not session.outcome.attempts:
                raise
            warnings.warn(watched.error, stacklevel=2)
    return _summary(where, dataset, session.outcome, watched)


def _policy(config: DeployConfig, env: Environment) -> Policy:
    own = [] if config.learner is None else [load_own(config.learner, "learner")]
    folder = checkpoint.newest(Path(config.checkpoint))
    if not checkpoint.exists(folder):
        hint = maker_of_run(config.checkpoint)
        raise UserError(f"checkpoint: none in {config.checkpoint}{hint}")
    return checkpoint.load_policy(folder, env.interface, own)


def _device(config: DeployConfig, policy: Policy, env: Environment) -> Device:
    """Have the policy act alone, or beside a person who takes over."""
    answers = Answers(policy, env.interface.action.shape[0])
    if config.takeover is None:
        return Scripted(lambda: answers)
    person = make_device(config.takeover, env.interface)
    if not isinstance(person, Steered):
        raise UserError("takeover: this device does not let a policy act; choose another kind")
    return TakeOver(answers, person)


def _session(config: DeployConfig, dataset: Dataset) -> SessionConfig:
    """Have every episode count, and nobody asked."""
    kept = dataset.masks().get("kept", [])
    earlier = [n for n in kept if dataset.metadata(n).get("operator") == config.operator]
    return SessionConfig(
        operator=config.operator,
        task=config.task,
        goal=len(earlier) + config.episodes,
        attempts=config.episodes,
        horizon=config.horizon,
        settle_steps=config.settle_steps,
        from_motion=False,
        ask=False,
        replay_check=False,
    )


def _clock(config: DeployConfig) -> Clock:
    """Give the time that the environment lives in; a simulator alone need not wait for anybody."""
    real = config.env.name.startswith(ROBOTS) and not config.env.options.get("simulated_time")
    return RealClock() if real or config.takeover is not None else SimulatedClock()


def _summary(where: str, dataset: Dataset, outcome: Outcome, watched: Watched) -> dict[str, Any]:
    successes = [dataset.metadata(name)["outcome"] == "success" for name in outcome.names]
    acted = [dataset.load(name).records["intervention"] for name in outcome.names]
    env = watched.env
    return {
        "success": sum(successes) / len(successes) if successes else None,
        "interval": list(wilson_interval(sum(successes), len(successes))) if successes else None,
        "episodes": len(successes),
        "stopped": watched.error,
        "interventions": float(np.concatenate(acted).mean()) if acted else 0.0,
        "changed": watched.changed / max(watched.steps, 1),
        "servo": {"ticks": getattr(env, "ticks", 0), "missed": getattr(env, "missed", 0)},
        "dataset": where,
        "names": outcome.names,
    }


class Watched:
    """An environment, and what it said: errors, and commands that a robot's guard changed."""

    def __init__(self, env: Environment) -> None:
        self.env, self.interface = env, env.interface
        self.steps = self.changed = 0
        self.error = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; what is in the way of it is what has stopped the arm."""
        try:
            return self.env.reset(**options)
        except UserError as error:
            self.error = self.error or str(error)
            raise

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step, and listen."""
        result = self.env.step(action)
        info = result[4]
        self.steps += 1
        self.changed += bool(info.get("changes"))
        self.error = info.get("error", "")
        return result


class Answers:
    """A policy whose answers are actions: one that gives nothing, or nonsense, ends the episode."""

    def __init__(self, policy: Policy, size: int) -> None:
        self._policy, self._size = policy, size

    def reset(self, n: int) -> None:
        """Begin episodes."""
        self._policy.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the policy's actions [N, A]; DataError for what is none."""
        actions = self._policy.act(observation, explore)
        rows = len(next(iter(observation.values())))
        try:
            actions = np.asarray(actions, np.float32)
        except (TypeError, ValueError):
            raise DataError(f"the policy gave {type(actions).__name__}, not actions") from None
        if actions.shape != (rows, self._size):
            wanted = (rows, self._size)
            raise DataError(f"the policy gave actions of shape {actions.shape}, not {wanted}")
        if not np.isfinite(actions).all():
            raise DataError("the policy gave an action that is not a finite number")
        return actions
