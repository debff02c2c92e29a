"""``verb: deploy``: a policy from a checkpoint acts on a robot."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from demos.data.dataset import Dataset
from demos.deploy.answers import Answers, Chunks
from demos.deploy.config import DeployConfig
from demos.deploy.operator import Operated, Watched
from demos.deploy.words import words_of
from demos.devices.contracts import Device, Source
from demos.devices.keys import KeyMap
from demos.devices.make import WITH_KEYS, DeviceConfig, make_device, require_source
from demos.devices.others import Scripted, TakeOver
from demos.devices.steering import Steered
from demos.devices.terminal import TerminalKeyboard
from demos.session.clock import Clock, RealClock, SimulatedClock
from demos.session.session import Outcome, Session
from demos.session.teaching import SessionConfig
from demos.session.told import ToldToEnd
from demos.teleop.console import Console
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.evaluate import wilson_interval
from robolearn.names import load_own
from robolearn.running.launch import maker_of_run
from robolearn.running.run import Run
from robolearn.types import Environment, Policy

ROBOTS = "robot/"  # what their environments' names begin with


def deploy(config: DeployConfig, run: Run) -> dict[str, Any]:
    """Run the episodes, and keep every one.

    Summary: ``success`` and its Wilson interval, ``episodes``; ``ended``, what ended how many;
    ``stopped``, the reason if the arm was stopped for good; ``interventions``, the share of steps
    in which a person acted; ``dataset`` with the ``names`` of the episodes; ``servo``, how many
    servo periods there were and how many were ``missed``; ``changed``, the share of steps in which
    the guard changed a command; of a policy that gives ``chunks``, how often it was ``asked`` for
    one, and in how many steps the arm ``waited`` for it.
    """
    folder, own = _checkpoint(config), _own(config)
    _require_person(config)
    env = run.make_env(config.env)
    policy = checkpoint.load_policy(folder, env.interface, own)
    where = config.dataset or str(run.path("episodes"))
    dataset = Dataset.ensure(where, env.interface, config.env.options, config.images)
    watched = Watched(env, config.success == "person")
    words = words_of(config, len(_earlier(config, dataset)))
    with contextlib.ExitStack() as closing:
        answers = _answers(config, policy, env, closing)
        device = Operated(_device(config, answers, env), watched, _keyboard(config), config)
        session = Session(
            watched,
            device,
            dataset,
            _session(config, dataset),
            seed=run.seed,
            clock=_clock(config),
            details=_details(config),
            words=words,
        )
        ending = closing.enter_context(ToldToEnd(watched.stop))
        closing.callback(env.close)
        closing.callback(dataset.flush)
        closing.callback(device.close)
        device.open()
        closing.enter_context(Console(session, env.interface, words=words))
        try:
            session.run()
        except UserError as error:
            if not ending.words and (not watched.error or not session.outcome.attempts):
                raise
            if not watched.error:
                warnings.warn(str(error), stacklevel=2)
        if watched.halted:
            warnings.warn(watched.error or ending.words, stacklevel=2)
    summary = _summary(where, dataset, session.outcome, watched, answers)
    return summary | {"stopped": summary["stopped"] or ending.words}


def _checkpoint(config: DeployConfig) -> Path:
    folder = checkpoint.newest(Path(config.checkpoint))
    if not checkpoint.exists(folder):
        hint = maker_of_run(config.checkpoint)
        raise UserError(f"checkpoint: none in {config.checkpoint}{hint}")
    return folder


def _own(config: DeployConfig) -> list[type]:
    return [] if config.learner is None else [load_own(config.learner, "learner")]


def _require_person(config: DeployConfig) -> None:
    """Raise UserError where a person is needed who has nothing in hand."""
    if config.takeover is not None:
        require_source(config.takeover)
    elif config.success == "person":
        require_source(DeviceConfig())


def _keyboard(config: DeployConfig) -> Source | None:
    """Give the terminal's keys, if there is a terminal and they are not what steers."""
    steers = config.takeover is not None and config.takeover.kind in WITH_KEYS
    if steers or not sys.stdin.isatty():
        return None
    return TerminalKeyboard(KeyMap.of({} if config.takeover is None else config.takeover.keys))


def _answers(
    config: DeployConfig, policy: Policy, env: Environment, closing: contextlib.ExitStack
) -> Answers | Chunks:
    """Give the policy as one of single actions, which are actions."""
    size = env.interface.action.shape[0]
    if config.chunk is None:
        return Answers(policy, size)
    chunks = Chunks(policy, size, config.chunk)
    closing.callback(chunks.close)
    return chunks


def _device(config: DeployConfig, answers: Answers | Chunks, env: Environment) -> Device:
    """Have the policy act alone, or beside a person who takes over."""
    if config.takeover is None:
        return Scripted(lambda: answers)
    person = make_device(config.takeover, env.interface)
    if not isinstance(person, Steered):
        raise UserError("takeover: this device does not let a policy act; choose another kind")
    return TakeOver(answers, person, on_return=getattr(answers, "drop", lambda: None))


def _details(config: DeployConfig) -> dict[str, Any]:
    """Say in every episode who judged it, and how chunks were carried out."""
    chunk = None if config.chunk is None else dataclasses.asdict(config.chunk)
    return {"success_by": config.success, "chunk": chunk}


def _earlier(config: DeployConfig, dataset: Dataset) -> list[str]:
    kept = dataset.masks().get("kept", [])
    return [n for n in kept if dataset.metadata(n).get("operator") == config.operator]


def _session(config: DeployConfig, dataset: Dataset) -> SessionConfig:
    """Have every episode count, and nobody asked."""
    return SessionConfig(
        operator=config.operator,
        task=config.task,
        goal=len(_earlier(config, dataset)) + config.episodes,
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
    person = config.takeover is not None or config.success == "person"
    return RealClock() if real or person else SimulatedClock()


def _summary(
    where: str, dataset: Dataset, outcome: Outcome, watched: Watched, answers: Answers | Chunks
) -> dict[str, Any]:
    successes = [dataset.metadata(name)["outcome"] == "success" for name in outcome.names]
    acted = [dataset.load(name).records["intervention"] for name in outcome.names]
    env = watched.env
    chunks = isinstance(answers, Chunks)
    return {
        "success": sum(successes) / len(successes) if successes else None,
        "interval": list(wilson_interval(sum(successes), len(successes))) if successes else None,
        "episodes": len(successes),
        "ended": outcome.endings,
        "stopped": watched.error if watched.halted else "",
        "interventions": float(np.concatenate(acted).mean()) if acted else 0.0,
        "changed": watched.changed / max(watched.steps, 1),
        "servo": {"ticks": getattr(env, "ticks", 0), "missed": getattr(env, "missed", 0)},
        "dataset": where,
        "names": outcome.names,
        "chunks": {"asked": answers.asked, "waited": answers.waited} if chunks else None,
    }
