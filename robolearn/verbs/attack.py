"""``verb: attack``: what somebody who can touch a policy's observations can make it do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.algos.detection import Guarded
from robolearn.attack import Perturbation
from robolearn.loops.evaluate import evaluate, evaluation_seeds
from robolearn.loops.rollout import rollout
from robolearn.names import load
from robolearn.perturbed import PerturbedEnv, PerturbedVectorEnv
from robolearn.running.run import Run, replace_text
from robolearn.types import Episode, Policy, Spec, Step, VectorEnvironment
from robolearn.verbs.adversaries import AttackConfig, Parts, knowing, prepare, wanted_in
from robolearn.verbs.attack_methods import METHODS
from robolearn.verbs.evaluate import share
from robolearn.viz.attacks import Account, ImageAccount, draw_attack


def attack(config: AttackConfig, run: Run) -> dict[str, Any]:
    """Train the adversary, evaluate, draw ``report.png``; what was learnt stays in ``checkpoint/``.

    Summary: ``touched``, the number of entries that may be perturbed; ``attacked``, ``control``
    (the victim without an attack), ``clean`` (the same at home, if that is elsewhere) and
    ``intention`` (if there is one), each as ``Evaluation.summary`` has it; if there is a ``reward``
    with ``wanted``, the mean of what it comes to in an episode. Whoever attacks a victim with a
    detector knows it; ``unaware`` is the same attack by who does not; and of each the share of
    episodes with an alarm, ``alarmed``, stands there with its Wilson interval. With preferences
    ``labels`` and ``answers``, and of an intention that was learnt ``begun``, the control steps
    that the attacked victim took before it, in a resumed run since it was resumed.
    """
    parts = prepare(config, run)
    unaware = METHODS[config.method](parts)
    perturbation = knowing(parts, unaware)
    found = {"attacked": attacked(parts, "attacked", perturbation, parts.envs)}
    if perturbation is not unaware:
        found["unaware"] = attacked(parts, "unaware", unaware, parts.envs)
    found["control"] = measure(parts, "control", parts.envs, parts.victim)
    if config.home is not None:
        home = run.make_envs(config.home, config.evaluation.episodes)
        found["clean"] = measure(parts, "clean", home, parts.victim)
    if parts.intention is not None:
        found["intention"] = measure(parts, "intention", parts.envs, parts.intention)
    first = list(watch(parts, perturbation))[0]
    title = f"{config.method} on {config.env.name}, {_said(config)}, seed {run.seed}"
    draw_attack(found, first, title, run.path("report.png"))
    _write_report(found, title, run.path("report.txt"))
    return {"touched": int(parts.budget.touched.sum())} | parts.told | found


def attacked(
    parts: Parts,
    name: str,
    perturbation: Perturbation,
    envs: VectorEnvironment,
) -> dict[str, Any]:
    """Do the same with the victim that is attacked in ``envs``."""
    return measure(parts, name, PerturbedVectorEnv(envs, perturbation, parts.budget), parts.victim)


def measure(parts: Parts, name: str, envs: VectorEnvironment, policy: Policy) -> dict[str, Any]:
    """Run the episodes, write them into ``evaluation/NAME``, and sum up."""
    config, wanted, alarmed = parts.config.evaluation, [], []
    with parts.run.counter(config.episodes, name) as counter:

        def on_episode(episode: Episode) -> None:
            counter.update()
            wanted.append(wanted_in(episode, parts.config.reward))
            if isinstance(policy, Guarded):  # one episode at a time
                alarmed.append(bool(policy.alarms.any()))

        evaluation = evaluate(
            envs, policy, evaluation_seeds(parts.run.seed, config.episodes), config.horizon,
            whole=config.whole, on_episode=on_episode,
        )  # fmt: skip
    evaluation.save(parts.run.path("evaluation") / name)
    summary = evaluation.summary() | ({"wanted": np.mean(wanted)} if parts.config.reward else {})
    return summary | (share("alarmed", alarmed) if alarmed else {})


def _account(steps: list[Step], interface: Spec, parts: Parts) -> Account | ImageAccount:
    if parts.config.images is not None:
        return ImageAccount.of(steps, interface, parts.intention)
    return Account.of(steps, interface, parts.budget.touched.numpy(), parts.intention)


def watch(
    parts: Parts, perturbation: Perturbation, text: str = ""
) -> Iterator[Account | ImageAccount]:
    """Run the first episodes once more and give what was seen and done; the viewer shows them."""
    config, viewer = parts.config, parts.run.viewer
    env = parts.run.make_env(config.env)
    shown = PerturbedEnv(env, perturbation, parts.budget, parts.victim)
    count = max(1, config.evaluation.recorded if viewer is not None else 1)
    for seed in evaluation_seeds(parts.run.seed, config.evaluation.episodes)[:count]:
        steps: list[Step] = []
        episode = rollout(
            shown, parts.victim, horizon=parts.horizon, seed=seed, on_step=steps.append
        )
        account = _account(steps, env.interface, parts)
        if viewer is not None:
            load("robolearn.viz:replay_episode")(viewer, env, episode, account.scores(), text)
        yield account


def _said(config: AttackConfig) -> str:
    if config.images is not None:
        return f"{config.images.norm} {config.images.size:g} grey levels"
    return f"{config.budget.norm} {config.budget.size:g} {config.budget.unit}"


def _write_report(found: dict[str, dict[str, Any]], title: str, path: Path) -> None:
    """Write a table for people."""
    known = ("return", "wanted", "alarmed")
    sums = [name for name in known if name in found["attacked"]]
    lines = [title, f"{'':10} success  95% interval" + "".join(f"{name:>11}" for name in sums)]
    for name, outcome in found.items():
        low, high = outcome["interval"]
        totals = "".join(_cell(outcome, name) for name in sums)
        line = f"{name:10} {outcome['success']:7.2f}  {low:.2f} to {high:.2f}{totals}"
        lines.append(line.rstrip())
    replace_text(path, "\n".join(lines) + "\n")


def _cell(outcome: dict[str, Any], name: str) -> str:
    """Give a number as a cell; an intention raises no alarms."""
    if name not in outcome:
        return " " * 11
    return f"{outcome[name]:11.2f}" if name == "alarmed" else f"{outcome[name]:11.1f}"
