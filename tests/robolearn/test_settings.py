"""Settings: what an annotation rules out is told in one line, from Python and from launch files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from annotated_types import MinLen
from pydantic import PositiveFloat, PositiveInt

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.errors import UserError
from robolearn.running.config import build, read
from robolearn.settings import ProperShare, Settings, Share, ShareBelowOne, Widths, settings_of


@dataclass(frozen=True)
class Learner(Settings):
    """Settings of all kinds."""

    steps: PositiveInt = 3
    widths: Widths = (4,)
    share: Share = 1.0
    dropout: ShareBelowOne = 0.0
    alpha: ProperShare = 0.5
    rate: PositiveFloat | None = None
    mode: Literal["fast", "slow"] = "fast"
    weights: dict[str, PositiveFloat] = field(default_factory=dict)
    path: Literal["circle"] | Annotated[tuple[tuple[float, float], ...], MinLen(2)] = "circle"
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise UserError(f"low: {self.low} is above high, {self.high}")
        if self.low == 13:
            raise UserError("some numbers mean bad luck")


@dataclass(frozen=True)
class Config:
    """A section with settings."""

    learner: Learner = Learner()


WRONG = [
    ({"steps": 0}, "steps should be greater than 0, not 0"),
    ({"steps": "many"}, "steps should be a valid integer, not 'many'"),
    ({"widths": []}, "widths should have 1 or more entries, not []"),
    ({"widths": [4, -1]}, "widths.1 should be greater than 0, not -1"),
    ({"share": 1.5}, "share should be less than or equal to 1, not 1.5"),
    ({"dropout": 1.0}, "dropout should be less than 1, not 1.0"),
    ({"alpha": 0.0}, "alpha should be greater than 0, not 0.0"),
    ({"rate": -1.0}, "rate should be greater than 0, not -1.0"),
    ({"mode": "fats"}, "mode should be 'fast' or 'slow', not 'fats'"),
    ({"weights": {"near": -1.0}}, "weights.near should be greater than 0, not -1.0"),
    ({"low": 3}, "low: 3 is above high, 1"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_what_is_wrong_is_told_to_python(changes, said):
    with pytest.raises(UserError) as caught:
        Learner(**changes)
    assert str(caught.value) == said


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_a_launch_file_is_told_the_same_and_where(changes, said, tmp_path):
    ((name, value),) = changes.items()
    for overrides, where in (
        ([], f"{tmp_path / 'x.yaml'}:2"),
        ([f"learner.{name}={value}"], f"'learner.{name}={value}'"),
    ):
        (tmp_path / "x.yaml").write_text(f"learner:\n  {name}: {value}\n")
        assert refusal(tmp_path / "x.yaml", overrides) == f"{where}: learner.{said}"


def refusal(path: Path, overrides: list[str]) -> str:
    source = read(path, overrides)
    with pytest.raises(UserError) as caught:
        build(Config, source, source.values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("circl", "learner.path should be 'circle', not 'circl'"),
        ("3", "learner.path should be a list, [a, b], not 3"),
        ("[[0, 0]]", "learner.path should have 2 or more entries, not [[0, 0]]"),
        ("[[0, 0], [0, a]]", "learner.path.1.1 should be a valid number, not 'a'"),
    ],
)
def test_of_several_kinds_of_values_the_one_that_was_meant_is_named(value, said, tmp_path):
    (tmp_path / "x.yaml").write_text("learner: {}\n")
    override = f"learner.path={value}"
    assert refusal(tmp_path / "x.yaml", [override]) == f"'{override}': {said}"


def test_a_rule_that_names_no_setting_is_told_with_its_section(tmp_path):
    (tmp_path / "x.yaml").write_text("learner: {low: 13, high: 14}\n")
    where = f"{tmp_path / 'x.yaml'}:1"
    assert refusal(tmp_path / "x.yaml", []) == f"{where}: some numbers mean bad luck"


def test_numbers_of_numpy_are_numbers():
    assert Learner(steps=np.int64(2), share=np.float32(0.5)).steps == 2


class Inherits(BehaviorCloning):
    """Has the constructor of its base, in whose module the annotation has a meaning."""


def test_the_settings_of_a_class_may_be_those_of_its_base():
    assert settings_of(Inherits, "here") is BCConfig
