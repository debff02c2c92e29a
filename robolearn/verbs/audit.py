"""``verb: audit``: how far a policy can be trusted that somebody may show something else."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import PositiveFloat, PositiveInt

from robolearn.algos.ppo import PPOConfig
from robolearn.attack import require_victim
from robolearn.errors import DataError, SpecError, UserError
from robolearn.files import make_folder
from robolearn.image_attack import ImageBudgetConfig
from robolearn.loops.on_policy import OnlineConfig
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, jsonable, replace_text
from robolearn.settings import Numbers
from robolearn.state_attack import BudgetConfig
from robolearn.types import Policy, VectorEnvironment
from robolearn.verbs.adversaries import (
    TOWARDS,
    WHITE_BOX,
    AttackConfig,
    CollectionConfig,
    IntentionConfig,
    Method,
    Parts,
    VictimConfig,
    another,
    knowing,
    prepare,
)
from robolearn.verbs.attack import attacked, measure, watch
from robolearn.verbs.attack_methods import METHODS
from robolearn.verbs.evaluate import EvaluationConfig
from robolearn.viz.attacks import draw_audit

Row = dict[str, Any]
ONE_BY_ONE = ("random", "pgd", "rat")  # methods that can do with one episode at a time


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
    skill: Numbers | None = None
    """What a policy of skills does: its skill that is nearest to this."""
    intention: str | None = None
    """Whose behaviour is wanted: see ``IntentionConfig.policy``."""
    intention_skill: Numbers | None = None
    """Which of its skills, if it has some."""
    reward: dict[str, float] = field(default_factory=dict)
    """Weights of the reward terms that sa_rl and pa_ad earn; none: the environment's reward."""
    methods: Annotated[tuple[Method, ...], MinLen(1)] | None = None
    """By which methods; None: by all, those that need an intention if there is one."""
    sizes: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = (0.05, 0.1, 0.2)
    """Sizes of the budget, in place of its own."""
    budget: BudgetConfig = BudgetConfig()
    """Norm, unit and entries of the budget."""
    images: ImageBudgetConfig | None = None
    """Norm and cameras of the budget, if camera images are touched in place of the state; sizes are
    in grey levels then."""
    collection: CollectionConfig = CollectionConfig()
    """Length of rat."""
    ppo: PPOConfig = PPOConfig()
    """Network and objective of sa_rl and pa_ad."""
    training: OnlineConfig = OnlineConfig(steps=200_000)
    """Length of sa_rl and pa_ad."""
    hold: PositiveInt = 1
    """Control steps that their decisions last while they learn: more, where a task is hard to come
    upon."""
    environments: PositiveInt = 8
    """How many environments step together while they learn."""
    evaluation: EvaluationConfig = EvaluationConfig(episodes=50, horizon=200)
    """How many episodes, how long, and where they end."""

    def __post_init__(self) -> None:
        if self.intention_skill is not None and self.intention is None:
            raise UserError("intention_skill: whose? intention names a policy of skills")
        for method in self.methods or ():
            if method in TOWARDS and self.intention is None:
                raise UserError(f"methods: {method} needs an intention")
        for size in self.sizes if self.images is not None else ():
            try:
                dataclasses.replace(self.images, size=size)
            except UserError as error:
                raise UserError(f"sizes: {error}") from None

    def attacks(self) -> list[Method]:
        """List the methods."""
        known = [m for m in METHODS if self.intention is not None or m not in TOWARDS]
        return list(self.methods or known)

    def attack(self, method: Method, size: float) -> AttackConfig:
        """Give the configuration of one attack."""
        intention = None
        if self.intention is not None:
            intention = IntentionConfig(self.intention, skill=self.intention_skill)
        budget, images = self.budget, self.images
        if images is None:
            budget = dataclasses.replace(budget, size=size)
        else:
            images = dataclasses.replace(images, size=size)
        return AttackConfig(
            env=EnvConfig(self.environment, self.options),
            victim=VictimConfig(self.checkpoint, skill=self.skill),
            home=None if self.home is None else EnvConfig(self.home, self.options),
            method=method,
            intention=intention,
            reward=self.reward,
            budget=budget,
            images=images,
            collection=self.collection,
            ppo=self.ppo,
            training=self.training,
            hold=self.hold,
            environments=self.environments,
            evaluation=self.evaluation,
        )


def audit(config: AuditConfig, run: Run) -> dict[str, Any]:
    """Attack with every method and budget, draw ``report.png``, write ``rows.jsonl``, a line each.

    Summary: ``control`` (no attack), ``clean`` (the same at home, if that is elsewhere) and
    ``intention`` (if there is one), as ``Evaluation.summary`` has them; and ``rows``, of each
    method and size the ``success`` at what is wanted, with its Wilson ``interval``, and if there is
    a home the same at what was learnt (``learnt``, ``learnt_interval``). Whoever attacks a victim
    with a detector knows it; a row then also has ``alarmed``, the share of episodes with an alarm,
    and ``unaware`` and ``unaware_alarmed``, of who does not know it, with their intervals. What a
    stopped run has finished is not run again.
    """
    named = config.methods or ("random",)  # of all those that a victim does not allow are left out
    strictest = min(named, key=lambda method: method not in WHITE_BOX)
    parts = prepare(config.attack(strictest, config.sizes[0]), run)
    methods = _possible(config, config.attacks(), parts)
    home = None
    if parts.config.home is not None:
        home = run.make_envs(parts.config.home, config.evaluation.episodes)
    file, wanted = run.path("rows.jsonl"), [(m, size) for size in config.sizes for m in methods]
    rows = _objects(file) if file.exists() else []
    try:
        found = _without(parts, home, run.path("controls.json"))
        for method, size in wanted[len(rows) :]:
            print(f"attack {len(rows) + 1} of {len(wanted)}: {method}, {size:g}", file=sys.stderr)
            rows.append(_attacked(config.attack(method, size), parts, home))
            replace_text(file, "".join(json.dumps(row) + "\n" for row in rows))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"kept {len(rows)} of {len(wanted)} attacks") from None
    what = f"{config.budget.norm}, {config.budget.unit}"
    if config.images is not None:
        what = f"{config.images.norm}, grey levels"
    draw_audit(rows, found, f"{config.environment}, budget: {what}", run.path("report.png"))
    replace_text(run.path("report.txt"), _table(rows, found))
    return found | {"rows": rows}


def _possible(config: AuditConfig, methods: list[Method], parts: Parts) -> list[Method]:
    """Leave out what learns from many episodes at a time, if the victim remembers its own one.

    And what needs gradients, if it has no distribution, or none through which they come. UserError
    for one of these that was asked for by its name.
    """
    white = [method for method in methods if method in WHITE_BOX]
    try:
        if white:
            require_victim(parts.victim, parts.budget)
    except SpecError:
        raise
    except UserError as error:
        if config.methods is not None:
            raise
        methods = [method for method in methods if method not in white]
        print(f"robolearn: no {', '.join(white)}: {error}", file=sys.stderr)
    impossible = [method for method in methods if not _can_attack(method, parts.victim)]
    if config.methods is not None and impossible:
        raise UserError(f"methods: {impossible[0]} needs a victim without a memory")
    if impossible:
        print(f"robolearn: no {', '.join(impossible)}: the victim has a memory", file=sys.stderr)
    return [method for method in methods if method not in impossible]


def _can_attack(method: Method, victim: Policy) -> bool:
    """Say whether a method can attack a victim; rat learns from moments, if they can be told."""
    if method == "rat" and getattr(victim, "contextual", False):
        return hasattr(victim, "at")
    return getattr(victim, "memoryless", False) or method in ONE_BY_ONE


def _objects(file: Path) -> list[dict[str, Any]]:
    """Read what was finished, a line each; DataError for a damaged file."""
    try:
        found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if not found or not all(isinstance(one, dict) for one in found):
            raise ValueError("its lines are no objects")
    except ValueError as error:
        raise DataError(f"{file}: damaged: {error}") from error
    return found


def _without(parts: Parts, home: VectorEnvironment | None, file: Path) -> dict[str, Any]:
    """Measure what is so without an attack, or read it."""
    if file.exists():
        return _objects(file)[0]
    found = {"control": measure(parts, "control", parts.envs, parts.victim)}
    if home is not None:
        found["clean"] = measure(parts, "clean", home, parts.victim)
    if parts.intention is not None:
        found["intention"] = measure(parts, "intention", parts.envs, parts.intention)
    replace_text(file, json.dumps(jsonable(found)) + "\n")
    return jsonable(found)


def _attacked(config: AttackConfig, parts: Parts, home: VectorEnvironment | None) -> Row:
    """Attack by one method with one budget, in a folder of its own; give the row."""
    size = (config.images or config.budget).size
    folder = parts.run.path(f"{config.method}-{size:g}")
    make_folder(folder)
    with Run(folder, parts.run.seed) as run:
        one = another(parts, config, run)
        unaware = METHODS[config.method](one)
        perturbation = knowing(one, unaware)
        wanted = attacked(one, "attacked", perturbation, one.envs)
        if parts.run.viewer is not None:
            shown = dataclasses.replace(one, run=parts.run)
            list(watch(shown, perturbation, f"{config.method}, {size:g}"))
        row = {"method": config.method, "size": size}
        row |= {name: wanted[name] for name in ("success", "interval", "return")}
        if home is not None:
            learnt = attacked(one, "learnt", perturbation, home)
            row |= {"learnt": learnt["success"], "learnt_interval": learnt["interval"]}
        if perturbation is not unaware:
            other = attacked(one, "unaware", unaware, one.envs)
            row |= {name: wanted[name] for name in ("alarmed", "alarmed_interval")}
            row |= {"unaware": other["success"], "unaware_interval": other["interval"]}
            row |= {f"unaware_{k}": other[k] for k in ("alarmed", "alarmed_interval")}
    return jsonable(row)


COLUMNS = {  # of a row, and of what is so without an attack: (value, heading)
    "success": "wanted",
    "learnt": "learnt",
    "alarmed": "with an alarm",
    "unaware": "wanted, unaware",
    "unaware_alarmed": "alarm, unaware",
}


def _table(rows: list[Row], found: dict[str, dict[str, Any]]) -> str:
    """Give the table that people read."""
    columns = [name for name in COLUMNS if name in rows[0]]
    heads = "".join(f"{COLUMNS[name]:22}" for name in columns)
    lines = [f"{'attack':12} {'size':>6}  {heads}"]
    for name, outcome in found.items():
        known = {"success": "interval", "alarmed": "alarmed_interval"}
        at = {"learnt": ("success", "interval")} if name == "clean" else {}
        at |= {k: (k, v) for k, v in known.items() if k in outcome and not (at and k == "success")}
        lines.append(f"{name:12} {'':6}  " + _cells(outcome, columns, at))
    for row in rows:
        at = {c: (c, "interval" if c == "success" else f"{c}_interval") for c in columns}
        lines.append(f"{row['method']:12} {row['size']:6g}  " + _cells(row, columns, at))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cells(row: Row, columns: list[str], at: dict[str, tuple[str, str]]) -> str:
    """Give the cells of a line; ``at`` says where value and interval of a column are."""
    cells = []
    for column in columns:
        value, interval = at.get(column, ("", ""))
        cells.append(_cell(row[value], row[interval]) if value else "")
    return "".join(f"{cell:22}" for cell in cells)


def _cell(success: float, interval: list[float]) -> str:
    return f"{success:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
