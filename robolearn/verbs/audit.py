"""``verb: audit``: how far a policy can be trusted that somebody may show something else."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import PositiveFloat, PositiveInt

from robolearn.algos.ppo import PPOConfig
from robolearn.attack import Budget, BudgetConfig
from robolearn.errors import UserError
from robolearn.files import make_folder
from robolearn.loops.on_policy import OnlineConfig
from robolearn.perturbed import PerturbedVectorEnv
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, replace_text
from robolearn.types import VectorEnvironment
from robolearn.verbs.adversaries import (
    METHODS,
    TOWARDS,
    WHITE_BOX,
    AttackConfig,
    CollectionConfig,
    IntentionConfig,
    Method,
    Parts,
    VictimConfig,
    prepare,
)
from robolearn.verbs.attack import measure
from robolearn.verbs.evaluate import EvaluationConfig
from robolearn.viz.attacks import draw_audit

Row = dict[str, Any]


@dataclass(frozen=True)
class AuditConfig:
    """Which policy is attacked where, by which methods, and how far."""

    checkpoint: str
    """A checkpoint, a run that left one, or a folder of runs, whose newest one counts."""
    environment: str
    """Where it is attacked; success there is that of the behaviour that is wanted of it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the environment, and of ``home``."""
    home: str | None = None
    """The environment in which the policy does what it has learnt, if that is another one."""
    intention: str | None = None
    """Whose behaviour is wanted: see ``IntentionConfig.policy``."""
    reward: dict[str, float] = field(default_factory=dict)
    """Weights of the reward terms that sa_rl and pa_ad earn; none: the environment's reward."""
    methods: Annotated[tuple[Method, ...], MinLen(1)] | None = None
    """By which methods; None: by all, those that need an intention if there is one."""
    sizes: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = (0.05, 0.1, 0.2)
    """Sizes of the budget, in place of its own."""
    budget: BudgetConfig = BudgetConfig()
    """Norm, unit and entries of the budget."""
    collection: CollectionConfig = CollectionConfig()
    """Length of rat."""
    ppo: PPOConfig = PPOConfig()
    """Network and objective of sa_rl and pa_ad."""
    training: OnlineConfig = OnlineConfig(steps=200_000)
    """Length of sa_rl and pa_ad."""
    environments: PositiveInt = 8
    """How many environments step together while they learn."""
    evaluation: EvaluationConfig = EvaluationConfig(episodes=50, horizon=200)
    """How many episodes, how long, and where they end."""

    def __post_init__(self) -> None:
        for method in self.methods or ():
            if method in TOWARDS and self.intention is None:
                raise UserError(f"methods: {method} needs an intention")

    def attacks(self) -> list[Method]:
        """List the methods."""
        known = [m for m in METHODS if self.intention is not None or m not in TOWARDS]
        return list(self.methods or known)

    def attack(self, method: Method, size: float) -> AttackConfig:
        """Give the configuration of one attack."""
        intention = None if self.intention is None else IntentionConfig(self.intention)
        return AttackConfig(
            env=EnvConfig(self.environment, self.options),
            victim=VictimConfig(self.checkpoint),
            home=None if self.home is None else EnvConfig(self.home, self.options),
            method=method,
            intention=intention,
            reward=self.reward,
            budget=dataclasses.replace(self.budget, size=size),
            collection=self.collection,
            ppo=self.ppo,
            training=self.training,
            environments=self.environments,
            evaluation=self.evaluation,
        )


def audit(config: AuditConfig, run: Run) -> dict[str, Any]:
    """Attack with every method and budget, draw ``report.png``, write ``rows.jsonl``, a line each.

    Summary: ``control`` (no attack), ``clean`` (the same at home, if that is elsewhere) and
    ``intention`` (if there is one), as ``Evaluation.summary`` has them; and ``rows``, of each
    method and size the ``success`` at what is wanted, with its Wilson ``interval``, and if there is
    a home the same at what was learnt (``learnt``, ``learnt_interval``).
    """
    strictest = min(config.attacks(), key=lambda method: method not in WHITE_BOX)
    parts = prepare(config.attack(strictest, config.sizes[0]), run)
    home = None
    found = {"control": measure(parts, "control", parts.envs, parts.victim)}
    if parts.config.home is not None:
        home = run.make_envs(parts.config.home, config.evaluation.episodes)
        found["clean"] = measure(parts, "clean", home, parts.victim)
    if parts.intention is not None:
        found["intention"] = measure(parts, "intention", parts.envs, parts.intention)
    rows: list[Row] = []
    for size in config.sizes:
        for method in config.attacks():
            rows.append(_attacked(config.attack(method, size), parts, home))
            _append(rows[-1], run.path("rows.jsonl"))
    what = f"{config.budget.norm}, {config.budget.unit}"
    draw_audit(rows, found, f"{config.environment}, budget: {what}", run.path("report.png"))
    replace_text(run.path("report.txt"), _table(rows, found))
    return found | {"rows": rows}


def _attacked(config: AttackConfig, parts: Parts, home: VectorEnvironment | None) -> Row:
    """Attack by one method with one budget, in a folder of its own; give the row."""
    size = config.budget.size
    folder = parts.run.path(f"{config.method}-{size:g}")
    make_folder(folder)
    with Run(folder, parts.run.seed) as run:
        budget = Budget.of(config.budget, parts.budget.spec, parts.states)
        one = dataclasses.replace(parts, config=config, run=run, budget=budget)
        perturbation = METHODS[config.method](one)
        shown = PerturbedVectorEnv(parts.envs, perturbation, budget)
        wanted = measure(one, "attacked", shown, parts.victim)
        row = {"method": config.method, "size": size}
        row |= {name: wanted[name] for name in ("success", "interval", "return")}
        if home is not None:
            at_home = PerturbedVectorEnv(home, perturbation, budget)
            learnt = measure(one, "learnt", at_home, parts.victim)
            row |= {"learnt": learnt["success"], "learnt_interval": learnt["interval"]}
    return row


def _append(row: Row, path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _table(rows: list[Row], found: dict[str, dict[str, Any]]) -> str:
    """Give the table that people read."""
    lines = [f"{'attack':12} {'size':>6}  wanted               learnt"]
    for name, outcome in found.items():
        cell = _cell(outcome["success"], outcome["interval"])
        lines.append(f"{name:12} {'':6}  " + (" " * 21 + cell if name == "clean" else cell))
    for row in rows:
        learnt = _cell(row["learnt"], row["learnt_interval"]) if "learnt" in row else ""
        wanted = _cell(row["success"], row["interval"])
        lines.append(f"{row['method']:12} {row['size']:6g}  {wanted:21}{learnt}".rstrip())
    return "\n".join(lines) + "\n"


def _cell(success: float, interval: list[float]) -> str:
    return f"{success:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
