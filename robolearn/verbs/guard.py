"""``verb: guard``: put a detector of perturbed observations around the policy of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import PositiveInt

from robolearn.algos.detection import Clean, DetectionConfig, Detector, Guarded
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.evaluate import evaluate, evaluation_seeds
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, replace_text
from robolearn.types import Episode, Policy, VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig, measure
from robolearn.verbs.restoring import restored

CLEAN = 2  # beside a run's seed: that of the episodes without an attack


@dataclass(frozen=True)
class GuardConfig:
    """Whose policy is guarded, where, and how alarms are raised and answered."""

    checkpoint: str
    """A checkpoint, a run that left one, or a folder of runs, whose newest one counts."""
    env: EnvConfig
    """Where it acts."""
    also: tuple[str, ...] = ()
    """Other environments, with the same options, where it may act: what is usual there raises no
    alarm either."""
    detection: DetectionConfig = DetectionConfig()
    """How alarms are raised, and answered."""
    episodes: PositiveInt = 100
    """Episodes without an attack, in each environment, that the detector is made from."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How many episodes, how long, and where they end; the clean ones are as long."""


def guard(config: GuardConfig, run: Run) -> dict[str, Any]:
    """Fit and calibrate the detector, evaluate, and leave policy and detector in ``checkpoint/``.

    Summary: ``line``, the error that raises an alarm; ``unguarded`` as ``Evaluation.summary`` has
    it, and ``guarded`` as ``robolearn.verbs.evaluate.measure`` gives it.
    """
    env = run.make_env(config.env)
    policy = restored(config.checkpoint, "checkpoint", env.interface)
    if isinstance(policy, Guarded):
        raise UserError(f"checkpoint: the policy in {config.checkpoint} has a detector already")
    places = [config.env, *(EnvConfig(name, config.env.options) for name in config.also)]
    batches = [run.make_envs(place, config.episodes) for place in places]
    for envs in batches:
        policy.interface.require(envs.interface, "the policy", envs.interface.environment)
    clean = [pair for envs in batches for pair in _episodes(policy, envs, config, run)]
    detector = Detector.fit(env.interface, clean, config.detection, run.seed)
    guarded = Guarded(policy.interface, config.detection, policy, detector)
    checkpoint.save(run.path("checkpoint"), guarded)
    envs = run.make_envs(config.env, config.evaluation.episodes)
    unguarded = evaluate(
        envs, policy, evaluation_seeds(run.seed, config.evaluation.episodes),
        config.evaluation.horizon, whole=config.evaluation.whole,
    )  # fmt: skip
    found = {
        "unguarded": unguarded.summary(),
        "guarded": measure(guarded, envs, config.env, config.evaluation, run),
    }
    replace_text(run.path("report.txt"), _table(found))
    return {"line": detector.line.item()} | found


def _table(found: dict[str, dict[str, Any]]) -> str:
    """Give the table that people read."""
    lines = [f"{'':10} success  95% interval      return  episodes with an alarm"]
    for name, outcome in found.items():
        low, high = outcome["interval"]
        line = f"{name:10} {outcome['success']:7.2f}  {low:.2f} to {high:.2f}"
        line += f"{outcome['return']:12.1f}"
        if "alarmed" in outcome:
            low, high = outcome["alarmed_interval"]
            line += f"  {outcome['alarmed']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _episodes(
    policy: Policy, envs: VectorEnvironment, config: GuardConfig, run: Run
) -> list[Clean]:
    """Run whole episodes without an attack, in seeds of their own."""
    found: list[Clean] = []
    seeds = np.random.SeedSequence([run.seed, CLEAN]).generate_state(config.episodes).tolist()
    with run.counter(config.episodes, f"clean episodes in {envs.interface.environment}") as counter:

        def on_episode(episode: Episode) -> None:
            counter.update()
            found.append((episode.observations["state"], episode.actions))

        evaluate(envs, policy, seeds, config.evaluation.horizon, whole=True, on_episode=on_episode)
    return found
