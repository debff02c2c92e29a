"""Environments of one's own: made by name, checked against the contract, in batches."""

from dataclasses import replace

import numpy as np
import pytest

import sim
from robolearn.errors import UserError
from sim.vector.env import WorkerError


def test_a_maker_is_called_by_its_name_with_its_options(lab):
    env = sim.make("my_lab.envs:make_bead", start=0.5)
    observation, _ = env.reset(seed=0)
    assert sim.make("my_lab.envs:make_any", start=0.5, colour=1).interface == replace(
        env.interface, environment="my_lab.envs:make_any"
    )
    assert 0.25 <= observation["state"][0] <= 0.5


def test_an_installed_package_publishes_one(installed_lab):
    names = {sim.make(name).interface.environment for name in ("bead", "my_lab.envs:make_bead")}
    assert names == {"my_lab.envs:make_bead"}
    with pytest.raises(UserError, match="did you mean 'bead'"):
        sim.make("baed")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("my_lab.envs:make_baed", {}, "no 'make_baed' in my_lab.envs; did you mean 'make_bead'?"),
        ("my_lab.env:make_bead", {}, "no module 'my_lab.env' here or installed; did you mean"),
        ("my_lab.envs:make_bead", {"strat": 1}, "unknown option 'strat'; did you mean 'start'?"),
        ("my_lab.envs:make_pinned", {}, "missing option 'start'"),
        ("my_lab.envs:make_any", {"colour": 1}, "missing option 'start'"),
        ("my_lab.envs:PERIOD_S", {}, "must be a function that makes an environment"),
        ("my_lab.envs:Faceless", {}, "Faceless has no interface, a robolearn.types.Spec"),
        ("my_lab.envs:make_stateless", {}, "Bead has no get_state"),
        ("my_lab.envs:Stubborn", {}, "interface.environment must be 'my_lab.envs:Stubborn'"),
        ("builtins:dict", {}, "dict has no interface, a robolearn.types.Spec"),
    ],
)
def test_what_is_wrong_is_one_line(lab, name, options, said):
    with pytest.raises(UserError) as caught:
        sim.make(name, **options)
    assert str(caught.value).startswith(f"environment '{name}': {said}")
    assert "\n" not in str(caught.value)


def test_what_a_maker_makes_it_from_is_named_with_the_maker(lab):
    maker = "def make(**options):\n    return sim.make('mujoco//my/drawer.xml', **options)"
    (lab / "drawer.py").write_text(f"import sim\n\n{maker}")
    with pytest.raises(UserError) as caught:
        sim.make("drawer:make", opn=1)
    said = "environment 'drawer:make': /my/drawer.xml: unknown option 'opn'"
    assert str(caught.value).startswith(said)


def test_what_goes_wrong_in_the_maker_comes_out_as_it_is(lab):
    with pytest.raises(RuntimeError, match="the wire is torn"):
        sim.make("my_lab.envs:make_broken")


@pytest.mark.parametrize("name", ["my_lab.envs:make_bead", "bead"])
def test_a_batch_gives_what_single_environments_give(installed_lab, name):
    alone = [sim.make(name, start=2.0) for _ in range(3)]
    batch = sim.make_vec(name, 3, threads=2, start=2.0)
    try:
        seen = batch.reset(seed=5)[0]["state"]
        each = [env.reset(seed=5 + i)[0]["state"] for i, env in enumerate(alone)]
        np.testing.assert_array_equal(seen, each)
        actions = np.array([[0.5], [-0.5], [1.0]], np.float32)
        seen, rewards, *_ = batch.step(actions)
        steps = [env.step(action) for env, action in zip(alone, actions, strict=True)]
        np.testing.assert_array_equal(seen["state"], [step[0]["state"] for step in steps])
        np.testing.assert_array_equal(rewards, [step[1] for step in steps])
        np.testing.assert_array_equal(batch.get_state(), [env.get_state() for env in alone])
        assert batch.metadata["render_modes"] == []  # they say of none
    finally:
        batch.close()


def test_a_batch_says_what_is_wrong_too(lab):
    with pytest.raises(UserError, match="unknown option 'strat'; did you mean 'start'"):
        sim.make_vec("my_lab.envs:make_bead", 2, threads=1, strat=1)
    with pytest.raises(WorkerError, match="the wire is torn"):
        sim.make_vec("my_lab.envs:make_broken", 2, threads=1)
