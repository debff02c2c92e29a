"""Names of environments and options: what is known, and what is said about the rest."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

import sim
from robolearn.errors import UserError
from sim.base.options import choose, parse, require_positive


@dataclass(frozen=True)
class Options:
    speed: float = 1.0
    names: tuple = ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Lift",
            "must be robosuite/TASK, dmc/DOMAIN-TASK, mujoco/PATH.xml, gym/ID, tabletop/OBJ",
        ),
        (None, "environment 'None': must be robosuite/TASK"),
        ("robosute/Lift", "did you mean 'robosuite'"),
        ("robosuite/", "must be robosuite/TASK"),
        ("robosuite/Lfit", "robosuite/Lfit: unknown task 'Lfit'; did you mean 'Lift'?"),
        ("dmc/walker-wlak", "did you mean 'walker-walk'"),
        ("gym/CartPole-v9", "did you mean 'CartPole-v1'"),
        ("tabletop/cbue", "did you mean 'cube'"),
        ("tabletop/cube+cube+mug+mug", "4 objects; 3 at most"),
        ("mujoco/nowhere.xml", "mujoco/nowhere.xml: no such file"),
    ],
)
def test_unknown_names_are_told_the_nearest(name, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as error:
        sim.make(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["robosuite/Lift", "dmc/walker-walk", "gym/CartPole-v1", "tabletop/cube"]
)
def test_unknown_options_are_told_the_nearest(name):
    with pytest.raises(UserError, match="unknown option 'horizn'; did you mean 'horizon'"):
        sim.make(name, horizn=3)


def test_an_option_called_name_is_an_unknown_option_too():
    for make in (sim.make, lambda *name, **options: sim.make_vec(*name, 1, **options)):
        with pytest.raises(UserError, match="unknown option 'name'"):
            make("gym/CartPole-v1", **{"name": "Lift"})


def test_available_lists_full_names():
    assert {"robosuite/Lift", "robosuite/TwoArmTransport"} <= set(sim.available("robosuite"))
    assert "dmc/walker-walk" in sim.available("dmc")
    assert "gym/CartPole-v1" in sim.available("gym")
    assert not [name for name in sim.available("gym") if "robolearn/" in name]
    assert {"tabletop/mug", "tabletop/cube+cube+mug"} <= set(sim.available("tabletop"))
    assert sim.available("mujoco") == []
    for adapter in ("tabletop", "gym"):
        assert sim.available(adapter) == sorted(sim.available(adapter))


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ("robosute", "did you mean 'robosuite'?"),
        ("my_lab.envs:make_bead", "known: dmc, gym, metaworld, mujoco, robosuite, robot, tabletop"),
        ("bead", "known: dmc, gym, metaworld, mujoco, robosuite, robot, tabletop"),
        ("robosuite/Lift", "did you mean 'robosuite'?"),
        (None, "known: dmc, gym, metaworld, mujoco, robosuite, robot, tabletop"),
    ],
)
def test_only_adapters_list_what_there_is(installed_lab, adapter, said):
    with pytest.raises(UserError) as error:
        sim.available(adapter)
    assert str(error.value) == f"available: unknown adapter '{adapter}'; {said}"


def test_importing_sim_imports_no_simulator():
    simulators = "'mujoco', 'robosuite', 'dm_control', 'numba'"
    code = f"import sim, sys; print([m for m in ({simulators}) if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_parse_makes_tuples_of_lists():
    assert parse(Options, {"names": ["a", ["b"]]}, "here") == Options(names=("a", ("b",)))


def test_a_render_mode_is_looked_at_before_anything_is_made():
    @dataclass(frozen=True)
    class Shown:
        render_mode: str | None = None

    assert parse(Shown, {"render_mode": "rgb_array"}, "here") == Shown("rgb_array")
    assert parse(Shown, {"render_mode": None}, "here") == Shown()
    with pytest.raises(UserError, match="^here: unknown render_mode 'human'; known: rgb_array$"):
        parse(Shown, {"render_mode": "human"}, "here")


def test_choose_and_require_positive_name_the_culprit():
    assert choose("a", ["a", "b"], "here", "letter") == "a"
    with pytest.raises(UserError, match="here: unknown letter 'c'; known: a, b"):
        choose("c", ["a", "b"], "here", "letter")
    for bad in (0, -1.5, "3", True):
        with pytest.raises(UserError, match="here: speed=.* must be a number above 0"):
            require_positive("here", speed=bad)
