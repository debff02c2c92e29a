"""Meta-World's tasks: the episodes are Meta-World's own, and what it forgets to say is said."""

import sys
from pathlib import Path

import numpy as np
import pytest

import sim
from robolearn.errors import UserError
from sim.metaworld.env import INSTALL

ROOT = Path(__file__).resolve().parents[3]
PAPER = [  # the tasks of RAT
    f"{thing}-v3"
    for thing in (
        "door-lock", "door-unlock", "drawer-close", "drawer-open", "faucet-close", "faucet-open",
        "window-close", "window-open",
    )
]  # fmt: skip
NOW, BEFORE = slice(0, 18), slice(18, 36)


@pytest.fixture
def metaworld():
    return pytest.importorskip("metaworld", reason="Meta-World is not installed")


def make_theirs(metaworld, task, seed):
    """Make Meta-World's own environment, and begin the episode that our seed draws."""
    env = metaworld.ALL_V3_ENVIRONMENTS[task]()
    env._partially_observable = False
    del env.sawyer_observation_space
    env.seeded_rand_vec, env._freeze_rand_vec, env._set_task_called = True, False, True
    env.seed(int(np.random.default_rng(seed).integers(2**32)))
    return env, env.reset()[0].astype(np.float32)


@pytest.mark.parametrize("task", PAPER)
def test_an_episode_is_meta_worlds_own(metaworld, task):
    env = sim.make(f"metaworld/{task}")
    env.reset(seed=1)  # of which nothing is left
    first = env.reset(seed=7)[0]["state"]
    theirs, stale = make_theirs(metaworld, task, 7)
    np.testing.assert_array_equal(first[36:], stale[36:])
    for step, action in enumerate(np.random.default_rng(0).uniform(-1, 1, (20, 4))):
        seen, reward, terminated, truncated, info = env.step(action)
        expected, their_reward, _, _, their_info = theirs.step(action)
        columns = slice(18, None) if step else slice(36, None)  # at first the frame before is stale
        for part in (NOW, columns):
            np.testing.assert_array_equal(seen["state"][part], np.float32(expected)[part])
        np.testing.assert_array_equal(env.data.qpos, theirs.data.qpos)
        assert (reward, info["success"]) == (their_reward, bool(their_info["success"]))
        assert info["obj_to_target"] == their_info["obj_to_target"]
        assert not terminated and not truncated
    env.close()


def test_the_first_observation_shows_objects_where_they_are(metaworld):
    env = sim.make("metaworld/window-close-v3")
    first = env.reset(seed=7)[0]["state"]
    _, stale = make_theirs(metaworld, "window-close-v3", 7)
    assert np.abs(first[NOW] - stale[NOW]).max() > 0.1
    np.testing.assert_array_equal(first[NOW], first[BEFORE])
    still = env.step(np.zeros(4))[0]["state"]
    np.testing.assert_array_equal(still[BEFORE], first[NOW])
    np.testing.assert_allclose(still[4:7], first[4:7], atol=1e-3)


@pytest.mark.parametrize("task", [*PAPER, "hammer-v3"])
@pytest.mark.parametrize("hidden", [False, True])
def test_what_is_called_zero_is_zero(metaworld, task, hidden):
    env = sim.make(f"metaworld/{task}", partially_observable=hidden)
    names = env.interface.observations["state"].names
    zeros = [name.startswith("zero_") for name in names]
    assert sum(zeros) == (0 if task == "hammer-v3" else 14) + 3 * hidden
    assert [name for name in names if "goal" in name] == (
        [] if hidden else ["goal_x", "goal_y", "goal_z"]
    )
    first = env.reset(seed=0)[0]["state"]
    for action in np.random.default_rng(0).uniform(-1, 1, (3, 4)):
        seen = env.step(action)[0]["state"]
        assert not first[zeros].any() and not seen[zeros].any()
    assert (seen[names.index("hand_x")], seen[names.index("object_y")]) != (0, 0)


def test_an_orientation_that_a_task_does_not_give_is_zero_too(metaworld):
    env = sim.make("metaworld/drawer-close-v3")
    seen = env.reset(seed=0)[0]["state"]
    assert not seen[env.interface.observations["state"].index("object_quat")].any()


def test_tasks_with_one_object_have_the_same_interface(metaworld):
    door, drawer = (sim.make(f"metaworld/{task}").interface for task in PAPER[1:3])
    door.require(drawer, "a policy", "the drawer")
    assert door.period_s == pytest.approx(1 / 80)
    assert door.action.scale == (0.01, 0.01, 0.01, 1.0)


def test_the_goal_and_the_random_vector_are_part_of_a_state(metaworld):
    env, other = (sim.make("metaworld/reach-v3") for _ in range(2))
    goal = env.reset(seed=1)[0]["state"][36:]
    assert (other.reset(seed=2)[0]["state"][36:] != goal).any()
    vector = env._env._last_rand_vec
    other.set_state(env.get_state())
    np.testing.assert_array_equal(other._env._last_rand_vec, vector)
    np.testing.assert_array_equal(other.step(np.zeros(4))[0]["state"][36:], goal)


def test_a_batch_does_what_single_environments_do(metaworld):
    batch = sim.make_vec("metaworld/faucet-open-v3", 2, threads=1, horizon=4)
    single = sim.make("metaworld/faucet-open-v3", horizon=4)
    batch.reset(seed=4)
    single.reset(seed=5)
    for action in np.random.default_rng(0).uniform(-1, 1, (3, 4)):
        seen, rewards, *_, info = batch.step(np.stack([action, action]))
        expected = single.step(action)
        np.testing.assert_array_equal(seen["state"][1], expected[0]["state"])
        assert (rewards[1], info["success"][1]) == (expected[1], expected[4]["success"])
        np.testing.assert_array_equal(batch.get_state()[1], single.get_state())
    batch.close()


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("door-lok-v3", {}, "unknown task 'door-lok-v3'; did you mean 'door-lock-v3'?"),
        ("door-lock-v3", {"horizn": 3}, "unknown option 'horizn'; did you mean 'horizon'?"),
        ("door-lock-v3", {"horizon": 0}, "horizon=0 must be a whole number, 1 or more"),
        (
            "door-lock-v3",
            {"partially_observable": "no"},
            "partially_observable='no' must be true or false",
        ),
        ("door-lock-v3", {"cameras": ("cornr",)}, "unknown camera 'cornr'; did you mean 'corner'?"),
    ],
)
def test_wrong_names_and_options_are_one_line(metaworld, task, options, said):
    with pytest.raises(UserError) as error:
        sim.make(f"metaworld/{task}", **options)
    assert str(error.value) == f"metaworld/{task}: {said}"


def test_without_the_package_one_line_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    for ask in (lambda: sim.make("metaworld/door-lock-v3"), lambda: sim.available("metaworld")):
        with pytest.raises(UserError, match=f"^metaworld.*: needs metaworld: {INSTALL}$"):
            ask()


def test_what_is_to_be_typed_is_what_the_set_up_installs():
    pins = (ROOT / "constraints.txt").read_text().split()
    assert INSTALL.split()[3] in pins
    assert any(pin.startswith("imageio==") for pin in pins)


def test_the_hand_may_be_wanted_somewhere_else(metaworld):
    plain = sim.make("metaworld/faucet-open-v3")
    wanted = sim.make("metaworld/faucet-open-v3", hand_target=[0.0, 0.55, 0.2])
    assert wanted.interface == plain.interface
    np.testing.assert_array_equal(*(env.reset(seed=3)[0]["state"] for env in (plain, wanted)))
    action, near = np.array([0.0, 1.0, 0.0, 0.0]), []  # from (0, .4, .2) away along y
    for _ in range(30):
        seen, reward, _, _, info = wanted.step(action)
        distance = np.linalg.norm(seen["state"][:3] - [0.0, 0.55, 0.2])
        assert reward == pytest.approx(-distance, abs=1e-6) == info["reward_terms"]["task"]
        near.append(bool(info["success"]))
        assert near[-1] == (distance < 0.05)
    assert not near[0] and any(near)
    for wrong in ("left", [0.1, 0.2], [0.1, 0.2, float("nan")], 3):
        with pytest.raises(UserError, match="hand_target=.* must be three numbers"):
            sim.make("metaworld/faucet-open-v3", hand_target=wrong)
