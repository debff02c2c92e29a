import numpy as np
import pytest

from demos.data.arrays import read
from demos.data.dataset import Dataset
from demos.session.gain import GainConfig, gain, said
from robolearn.algos.bc import BCConfig
from robolearn.loops.offline import OfflineConfig

from ..conftest import INTERFACE
from .people import Person, Wire, session

SMALL = GainConfig(
    bc=BCConfig(widths=(32,), dropout=0.0, members=1), training=OfflineConfig(epochs=30),
    episodes=8, horizon=15,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """A base that walks away from the goal but is said to succeed, and a person who does."""
    base, person = (
        Dataset.create(tmp_path_factory.mktemp("gain") / name, INTERFACE) for name in "bp"
    )
    for dataset, away in ((base, range(99)), (person, ())):
        session(Person(attempts=6, away=away), dataset, ask=False, check=False).run()
    return base, person


def test_what_demonstrations_are_worth(datasets):
    wrong, person = datasets
    told = []
    base = read(wrong.path, None, success=False).only({"demo_0", "demo_1"})
    found = gain(SMALL, base, person.episodes() * 6, Wire(), 0, lambda: told.append(1))
    assert found["base"] == 0.0 < found["with_kept"]
    assert found["kept"] == 36 and found["episodes"] == 8 and len(told) == 2


def test_nothing_more_changes_nothing(datasets):
    base = read(datasets[1].path)
    found = gain(SMALL, base, [], Wire(), 0)
    assert found["base"] == found["with_kept"]
    assert np.isfinite(found["base"])


def test_it_is_said_in_a_line():
    found = {"kept": 5, "base": 0.62, "with_kept": 0.81}
    assert said(found) == "your 5 demonstrations: 62% -> 81%"
    assert said(found | {"kept": 1}).startswith("your 1 demonstration:")
