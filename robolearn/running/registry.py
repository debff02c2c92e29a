"""Verbs by name: ours, those that installed packages publish, and a user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robolearn import names
from robolearn.errors import UserError, nearest
from robolearn.names import installed, load, load_own, published
from robolearn.settings import require_settings, settings_of


@dataclass(frozen=True)
class Verb:
    """What a launch file can do: a frozen configuration dataclass and ``run(config, run)``.

    The function gets the configuration and a ``running.run.Run``, and returns the summary, a
    JSON-able dict. ``resumable`` says whether it goes on in the directory of a stopped run, and
    ``changeable`` names the keys, dotted, that may then be other than they were: no result depends
    on them.
    ``parallel`` says whether torchrun may start it in several processes; all but the first write
    nothing, and their summary does not count.
    """

    config: str | type  # "module:Dataclass", or the class
    function: str | Callable[[Any, Any], dict[str, Any]]  # "module:function", or the function
    resumable: bool = False
    changeable: tuple[str, ...] = ()
    parallel: bool = False

    def load_config(self) -> type:
        """Give the configuration's class."""
        return load(self.config) if isinstance(self.config, str) else self.config

    def load_function(self) -> Callable[[Any, Any], dict[str, Any]]:
        """Give the function."""
        return load(self.function) if isinstance(self.function, str) else self.function


VERBS = {
    "collect": Verb("robolearn.verbs.collect:CollectConfig", "robolearn.verbs.collect:collect"),
    "bc": Verb("robolearn.verbs.bc:CloneConfig", "robolearn.verbs.bc:clone", resumable=True),
    "decision_transformer": Verb(
        "robolearn.verbs.decision_transformer:SequenceConfig",
        "robolearn.verbs.decision_transformer:learn",
        resumable=True,
    ),
    "ppo": Verb(
        "robolearn.verbs.ppo:ImproveConfig",
        "robolearn.verbs.ppo:improve",
        resumable=True,
        changeable=("workers.address",),
    ),
    "sac": Verb(
        "robolearn.verbs.sac:ReplayedConfig",
        "robolearn.verbs.sac:improve",
        resumable=True,
        changeable=("workers.address",),
    ),
    "dreamer": Verb(
        "robolearn.verbs.dreamer:ImagineConfig", "robolearn.verbs.dreamer:learn", resumable=True
    ),
    "infopower": Verb(
        "robolearn.verbs.dreamer:EmpowerConfig", "robolearn.verbs.dreamer:empower", resumable=True
    ),
    "represent": Verb(
        "robolearn.verbs.represent:RepresentConfig",
        "robolearn.verbs.represent:represent",
        resumable=True,
        parallel=True,
    ),
    "slim": Verb(
        "robolearn.verbs.slim:SkillsConfig",
        "robolearn.verbs.slim:learn",
        resumable=True,
        changeable=("workers.address",),
    ),
    "follow": Verb("robolearn.verbs.use_skills:FollowConfig", "robolearn.verbs.use_skills:follow"),
    "rearrange": Verb(
        "robolearn.verbs.use_skills:RearrangeConfig",
        "robolearn.verbs.use_skills:rearrange",
    ),
    "measure": Verb("robolearn.verbs.slim:RemeasureConfig", "robolearn.verbs.slim:remeasure"),
    "choose": Verb(
        "robolearn.verbs.choose_skills:ChooseConfig",
        "robolearn.verbs.choose_skills:choose",
        resumable=True,
    ),
    "evaluate": Verb(
        "robolearn.verbs.evaluate:EvaluateConfig", "robolearn.verbs.evaluate:evaluate_policy"
    ),
    "attack": Verb(
        "robolearn.verbs.adversaries:AttackConfig", "robolearn.verbs.attack:attack", resumable=True
    ),
    "audit": Verb(
        "robolearn.verbs.audit:AuditConfig", "robolearn.verbs.audit:audit", resumable=True
    ),
    "guard": Verb("robolearn.verbs.guard:GuardConfig", "robolearn.verbs.guard:guard"),
    "atla": Verb("robolearn.verbs.atla:AtlaConfig", "robolearn.verbs.atla:harden", resumable=True),
    "judge": Verb(
        "robolearn.verbs.judge:JudgeConfig", "robolearn.verbs.judge:judge_demonstrations"
    ),
    "label": Verb("demos.labels.run:LabelConfig", "demos.labels.run:label"),
    "deploy": Verb("demos.deploy.config:DeployConfig", "demos.deploy.run:deploy"),
    "teleop": Verb("demos.teleop.config:TeleopConfig", "demos.teleop.run:teleoperate"),
    "compatibility": Verb(
        "demos.study.config:StudyConfig",
        "demos.study.run:run_study",
        resumable=True,
        changeable=("workers", "replicate", "gathered"),
    ),
}


def verb(name: str, where: str) -> Verb:
    """Give the verb called ``name``; UserError that starts with ``where`` if there is none.

    Names of ``VERBS`` come first, then those that installed packages publish. "module:attribute" is
    a user's own: a ``Verb``, or a function whose parameter ``config`` says what configures it.
    """
    if name in VERBS:
        return VERBS[name]
    own = published(name, names.VERBS, where)
    if own is None and not {":", "."} & set(name):
        known = [*VERBS, *installed(names.VERBS)]
        raise UserError(f"{where}: unknown verb '{name}'{nearest(name, known)}")
    own = own or name
    return _own(load_own(own, where), f"{where}: verb {own}")


def _own(found: Any, where: str) -> Verb:
    if isinstance(found, Verb):
        config, function = (
            load_own(part, where) if isinstance(part, str) else part
            for part in (found.config, found.function)
        )
        if not callable(function):
            raise UserError(f"{where}: its function, {function!r}, cannot be called")
        return dataclasses.replace(found, config=require_settings(config, where), function=function)
    if isinstance(found, type) or not callable(found):
        raise UserError(f"{where} must be a function, run(config, run), or a Verb")
    return Verb(settings_of(found, where), found)
