"""Names to things, as strings: nothing is imported before it is asked for."""

from dataclasses import dataclass

from robolearn.errors import UserError, nearest


@dataclass(frozen=True)
class Verb:
    """What a launch file can do: a frozen configuration dataclass and ``run(config, run)``.

    The function gets the configuration and a ``running.run.Run``, and returns the summary, a
    JSON-able dict. ``resumable`` says whether it goes on in the directory of a stopped run, and
    ``changeable`` names the keys that may then be other than they were: no result depends on them.
    """

    config: str  # "module:Dataclass"
    function: str  # "module:function"
    resumable: bool = False
    changeable: tuple[str, ...] = ()


VERBS = {
    "collect": Verb("robolearn.verbs.collect:CollectConfig", "robolearn.verbs.collect:collect"),
    "bc": Verb("robolearn.verbs.bc:CloneConfig", "robolearn.verbs.bc:clone", resumable=True),
    "ppo": Verb("robolearn.verbs.ppo:ImproveConfig", "robolearn.verbs.ppo:improve", resumable=True),
    "slim": Verb("robolearn.verbs.slim:SkillsConfig", "robolearn.verbs.slim:learn", resumable=True),
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
    "compatibility": Verb(
        "demos.study.config:StudyConfig",
        "demos.study.run:run_study",
        resumable=True,
        changeable=("workers",),
    ),
}


def verb(name: str, where: str) -> Verb:
    """Give the verb called ``name``; UserError that starts with ``where`` if there is none."""
    if name not in VERBS:
        raise UserError(f"{where}: unknown verb '{name}'{nearest(name, VERBS)}")
    return VERBS[name]
