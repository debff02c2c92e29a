"""What a compatibility study is made of; ``demos/study/run.py`` says what it does."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import NonNegativeInt, PositiveInt

from demos.operators import named_style, named_task
from robolearn.algos.bc import BCConfig
from robolearn.errors import UserError
from robolearn.judging.judge import JudgeConfig
from robolearn.judging.verdicts import HarmJudgeConfig
from robolearn.loops.offline import OfflineConfig
from robolearn.running.config import EnvConfig
from robolearn.settings import Settings, Share

RESERVED = ("base", "base_held_out", "matched")  # what datasets beside the operators' are called
Condition = Literal["naive", "matched", "filtered", "repaired", "random_drop", "informed"]


@dataclass(frozen=True)
class OperatorConfig:
    """One operator of the study."""

    style: str
    """A name of ``demos.operators.STYLES``."""
    compatible: bool = False
    """Whether the style was made to agree with the base's: what verdicts are held against."""


@dataclass(frozen=True)
class StudyConfig(Settings):
    """Who demonstrates what, and how policies are trained and evaluated."""

    env: EnvConfig
    """The task, with start states so wide that the base is neither saturated nor helpless."""
    operators: dict[str, OperatorConfig]
    """The reported operators by name; at least one compatible and one that is not."""
    tuning_operators: dict[str, OperatorConfig] = field(default_factory=dict)
    """Others, on whom the statistic is chosen; without them it is ``judge.statistic``. Where harm
    decides, nothing is to be chosen, and they do not demonstrate."""
    base: str = "base"
    """The base operator's style."""
    base_demonstrations: PositiveInt = 40
    """Successful base demonstrations of a replicate, to train and calibrate on."""
    held_out: PositiveInt = 40
    """Further base demonstrations, which measure the false-rejection rate."""
    demonstrations: PositiveInt = 20
    """Successful demonstrations of each new operator (informed: accepted ones)."""
    demonstration_horizon: PositiveInt = 700
    """Longest demonstration, steps."""
    settle_steps: NonNegativeInt = 5
    """Steps that a demonstration goes on after its first success."""
    attempts: PositiveInt = 60
    """Demonstrations after which an informed operator gives up."""
    heed: Share = 0.8
    """Probability that an informed operator changes the trait that a rejection points at."""
    conditions: Annotated[tuple[Condition, ...], MinLen(1)] = (
        "naive",
        "filtered",
        "random_drop",
        "informed",
    )
    """What is done with each operator's demonstrations; "matched" takes in their place those of the
    first compatible operator, as many steps; "repaired" brings those that wait to its tempo."""
    filter_by: Literal["demonstrations", "stretches", "pairs"] = "stretches"
    """What filtering drops: rejected demonstrations, their stretches that disagree, or (the paper)
    the incompatible pairs of all."""
    verdict: Literal["harm", "compatibility"] = "harm"
    """What decides: the harm that a demonstration would do, or whether it agrees with an ensemble.
    The condition "repaired" needs the former, filtering by "pairs" the latter."""
    judge: JudgeConfig = JudgeConfig()
    """How compatibility is judged."""
    harm: HarmJudgeConfig = HarmJudgeConfig()
    """How harm is judged."""
    policies: Annotated[tuple[BCConfig, ...], MinLen(1)] = (
        BCConfig(widths=(256, 256), dropout=0.0),
    )
    """Candidate networks; with more than one, the base's validation error chooses one and its
    epochs."""
    training: OfflineConfig = OfflineConfig(validation_share=0.2)
    """Length and batches of every training."""
    replicates: PositiveInt = 5
    """Training seeds."""
    replicate: NonNegativeInt | None = None
    """This one of them alone, as the runs of a sweep are: ``sweep.replicate=[0,1,2]``."""
    gathered: str | None = None
    """The folder of such runs: replicates that have ended there are not done again."""
    episodes: PositiveInt = 100
    """Evaluation episodes of a condition in each replicate."""
    horizon: PositiveInt = 600
    """Longest evaluation episode, steps: twice the slowest style's."""
    workers: PositiveInt = 2
    """Processes."""
    recorded: NonNegativeInt = 1
    """Demonstrations of each operator that go into the recording."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_horizons()
        self._check_replicate()
        named_task(self.env.name)
        if self.filter_by == "pairs" and self.verdict == "harm":
            raise UserError("filter_by: 'pairs' is not for the verdict 'harm'")
        if "repaired" in self.conditions and self.verdict != "harm":
            raise UserError("conditions: 'repaired' is for the verdict 'harm'")
        taken = [*RESERVED, *self.operators]
        twice = sorted(name for name in self.tuning_operators if name in taken)
        twice += sorted(name for name in self.operators if name in RESERVED)
        if twice:
            raise UserError(f"operators: '{twice[0]}' is taken, choose another name for it")
        for operator in (self.operators | self.tuning_operators).values():
            named_style(operator.style)
        named_style(self.base)
        if len({o.compatible for o in self.operators.values()}) < 2:
            raise UserError("operators: name at least one compatible operator and one that is not")

    def _check_replicate(self) -> None:
        if self.replicate is None:
            return
        if self.gathered is not None:
            raise UserError("replicate: is for the runs that are gathered, not beside gathered")
        if self.replicate >= self.replicates:
            raise UserError(
                f"replicate: {self.replicate} is not below {self.replicates} replicates"
            )
        if self.verdict != "harm" and self.tuning_operators:
            raise UserError(
                "replicate: the tuning operators of all replicates choose the statistic; "
                "judge.statistic=NAME with tuning_operators={} would be right"
            )

    def _check_horizons(self) -> None:
        limit = self.env.options.get("horizon")
        for name in ("horizon", "demonstration_horizon"):
            if limit is not None and getattr(self, name) > limit:
                raise UserError(f"{name}: {getattr(self, name)} is more than env.options.horizon")
