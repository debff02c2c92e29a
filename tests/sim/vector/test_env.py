"""Batches of environments against single ones, and what a batch promises when things go wrong."""

import multiprocessing
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import sim
from robolearn.errors import DataError, SpecError, UserError
from sim.robosuite.batch.env import RobosuiteVectorEnv
from sim.vector.env import WorkerError
from sim.vector.processes import ProcessVectorEnv

TASKS = (
    "Lift", "PickPlaceCan", "NutAssemblySquare", "NutAssemblyRound", "Stack", "Door", "TwoArmLift",
    "PickPlace", "NutAssembly",
)  # fmt: skip
ARM = f"mujoco/{Path(__file__).parents[1] / 'models' / 'arm.xml'}"
HORIZON = 5
ROUNDING = 1e-14  # of rewards: robosuite's distances are BLAS, those of a batch numpy's loops
# The free body of each task that is moved, and the reward terms that must show up on its way.
CARRIED = {
    "Lift": ("cube_main", {"reach", "grasp", "success"}),
    "Stack": ("cubeA_main", {"reach", "lift", "stack", "success"}),
    "PickPlaceCan": ("Can_main", {"reach", "grasp", "lift", "hover", "success"}),
    "NutAssemblySquare": ("SquareNut_main", {"reach", "grasp", "lift", "hover", "success"}),
    "NutAssemblyRound": ("RoundNut_main", {"reach", "hover", "success"}),
    "PickPlace": ("Can_main", {"reach", "grasp", "lift", "hover"}),  # success needs all objects
    "NutAssembly": ("SquareNut_main", {"reach", "grasp", "lift", "hover"}),
}


@pytest.fixture(params=["tabletop/cube", ARM, "gym/CartPole-v1"], ids=["compiled", "own", "gym"])
def fresh(request):
    """A batch of two that has just been made."""
    batch = sim.make_vec(request.param, 2, threads=1)
    yield batch
    batch.close()


def _pair(name: str, n: int = 3, **options):
    return sim.make_vec(name, n, threads=2, **options), sim.make(name, **options)


@pytest.fixture(scope="module")
def lift():
    """A batch of three, on two threads."""
    batch = sim.make_vec("robosuite/Lift", 3, threads=2)
    yield batch
    batch.close()


@pytest.fixture(scope="module")
def other():
    """The same on one thread."""
    batch = sim.make_vec("robosuite/Lift", 3, threads=1)
    yield batch
    batch.close()


@pytest.fixture(scope="module")
def single():
    """The same as a single environment."""
    env = sim.make("robosuite/Lift")
    yield env
    env.close()


def _assert_alike(batch, single, action: np.ndarray, i: int) -> dict:
    """Step both with the same action [A]; environment i of the batch must do as the single one."""
    actions = np.tile(action, (batch.num_envs, 1))
    observations, rewards, terminated, truncated, info = batch.step(actions)
    expected = single.step(action)
    if not truncated[i]:
        np.testing.assert_array_equal(observations["state"][i], expected[0]["state"])
    assert rewards[i] == pytest.approx(expected[1], rel=0, abs=ROUNDING)
    assert (terminated[i], truncated[i]) == expected[2:4]
    assert info["success"][i] == expected[4]["success"]
    for term, value in expected[4]["reward_terms"].items():
        assert info["reward_terms"][term][i] == pytest.approx(value, rel=0, abs=ROUNDING), term
    return info


@pytest.mark.parametrize(("task", "robot"), [*((t, "Panda") for t in TASKS), ("Lift", "IIWA")])
def test_a_batch_does_what_single_environments_do(task, robot):
    batch, single = _pair(f"robosuite/{task}", horizon=HORIZON, robot=robot)
    assert isinstance(batch, RobosuiteVectorEnv)
    rng = np.random.default_rng(0)
    observations, _ = batch.reset(seed=4)
    first, _ = single.reset(seed=5)
    np.testing.assert_array_equal(observations["state"][1], first["state"])
    for _ in range(HORIZON - 1):
        _assert_alike(batch, single, rng.uniform(-1, 1, single.action_space.shape), 1)
        np.testing.assert_array_equal(batch.get_state()[1], single.get_state())
    info = _assert_alike(batch, single, np.zeros(single.action_space.shape), 1)
    assert info["_final_obs"].all()
    last = single._observe()["state"]
    np.testing.assert_array_equal(info["final_obs"][1]["state"], last)
    single.reset()  # the batch has begun its next episode by itself, from the same generator
    np.testing.assert_array_equal(batch.get_state()[1], single.get_state())
    batch.close()


@pytest.mark.parametrize("task", CARRIED)
def test_rewards_and_success_of_rare_states(task):
    """The object in the closing hand, lifted; over its goal; at its goal with the hand away."""
    batch, single = _pair(f"robosuite/{task}", 2, horizon=1000)
    body, terms = CARRIED[task]
    single.reset(seed=0)
    hand = single.data.site_xpos[single._env.robots[0].eef_site_id["right"]].copy()
    seen = set()
    for place in (hand, *_goals(single, hand)):
        state = _with_object_at(single, body, place)
        single.set_state(state)
        batch.set_state(np.stack([state, state]))
        closed = np.array([0, 0, 0, 0, 0, 0, 1.0])
        for _ in range(6):
            info = _assert_alike(batch, single, closed, 0)
            seen |= {k for k, v in info["reward_terms"].items() if k[0] != "_" and v[0] > 0}
    assert seen >= terms
    batch.close()


def _goals(env, hand: np.ndarray) -> list[np.ndarray]:
    """Give places where the object is over its goal or there: on a peg, in a bin, on a cube."""
    raw = env._env
    task = type(raw).__name__
    if task.startswith("NutAssembly"):
        peg = raw.peg2_body_id if task.endswith("Round") else raw.peg1_body_id
        top = env.data.xpos[peg] + (0, 0, 0.1)
        return [top, np.array([*top[:2], raw.table_offset[2] + 0.02])]
    if task.startswith("PickPlace"):
        bins = raw.target_bin_placements
        number = [one.name for one in raw.objects].index("Can")
        return [bins[number] + (0, 0, 0.2), bins[number] + (0, 0, 0.05)]
    if task == "Stack":
        return [env.data.xpos[raw.cubeB_body_id] + (0, 0, 0.0455)]
    return [hand + (0.2, 0, 0.1)]


def _with_object_at(env, body: str, place: np.ndarray) -> np.ndarray:
    """Give the current state with a free body moved."""
    joint = env.model.body_jntadr[env.model.body(body).id]
    start = 1 + env.model.jnt_qposadr[joint]
    state = env.get_state()
    state[start : start + 3] = place
    velocity = 1 + env.model.nq + env.model.jnt_dofadr[joint]
    state[velocity : velocity + 6] = 0.0
    return state


def test_states_go_from_batch_to_batch_bit_for_bit():
    # its resets write into the model, which threads share
    batch, other = (sim.make_vec("robosuite/Door", 3, threads=t) for t in (2, 3))
    batch.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (6, 3, 7))
    for action in actions[:3]:
        batch.step(action)
    middle = batch.get_state()
    for action in actions[3:]:
        batch.step(action)
    end = batch.get_state()
    other.reset(seed=7, options={"state": middle})
    for action in actions[3:]:
        other.step(action)
    np.testing.assert_array_equal(other.get_state(), end)


def test_seeds_are_those_of_single_environments(lift, single):
    one, _ = lift.reset(seed=[8, 3, 8])
    two, _ = lift.reset(seed=2)
    np.testing.assert_array_equal(one["state"][1], two["state"][1])
    np.testing.assert_allclose(one["state"][1], single.reset(seed=3)[0]["state"], atol=1e-6)
    with pytest.raises(SpecError, match="4 seeds for 3"):
        lift.reset(seed=[1, 2, 3, 4])


def test_a_mask_says_who_is_reset(lift, other, single):
    batch = lift
    batch.reset(seed=0)
    before = batch.get_state()
    mask = np.array([False, True, False])
    seeds = [None, 9, "not looked at"]
    observations, _ = batch.reset(seed=seeds, options={"reset_mask": mask})
    single.reset(seed=9)
    np.testing.assert_array_equal(batch.get_state()[1], single.get_state())
    np.testing.assert_array_equal(batch.get_state()[~mask], before[~mask])
    other.reset(seed=3)
    into, _ = other.reset(options={"reset_mask": mask, "state": batch.get_state()})
    np.testing.assert_array_equal(into["state"][1], observations["state"][1])
    assert not np.array_equal(other.get_state()[0], batch.get_state()[0])
    for wrong in ([0, 1, 0], [True, False]):
        with pytest.raises(SpecError, match="reset_mask"):
            batch.reset(options={"reset_mask": np.array(wrong)})


def test_environments_that_are_not_active_stay_as_they_are(lift, other):
    batch, all_active = lift, other
    actions = np.full((3, *batch.single_action_space.shape), 0.3)
    for envs in (batch, all_active):
        before, _ = envs.reset(seed=0)
    start = batch.get_state()
    active = np.array([True, False, True])
    bad = actions.copy()
    bad[1] = np.nan  # nobody looks at it
    observations, reward, terminated, truncated, info = batch.step(bad, active=active)
    expected = all_active.step(actions)
    np.testing.assert_array_equal(batch.get_state()[1], start[1])
    np.testing.assert_array_equal(observations["state"][1], before["state"][1])
    assert (reward[1], terminated[1], truncated[1], info["success"][1]) == (0, False, False, False)
    assert list(info["_success"]) == list(active)
    np.testing.assert_array_equal(batch.get_state()[active], all_active.get_state()[active])
    np.testing.assert_array_equal(reward[active], expected[1][active])
    batch.step(actions, active=~active)
    np.testing.assert_array_equal(batch.get_state(), all_active.get_state())
    batch.step(np.full_like(actions, np.nan), active=np.zeros(3, bool))
    np.testing.assert_array_equal(batch.get_state(), all_active.get_state())


def test_only_active_environments_end_their_episodes():
    batch = sim.make_vec("robosuite/Lift", 3, threads=2, horizon=2)
    batch.reset(seed=0)
    actions = np.zeros((3, 7))
    batch.step(actions)
    *_, truncated, info = batch.step(actions, active=np.array([True, False, False]))
    assert list(truncated) == list(info["_final_obs"]) == [True, False, False]
    *_, truncated, _ = batch.step(actions, active=np.array([False, True, False]))
    assert list(truncated) == [False, True, False]
    *_, truncated, _ = batch.step(actions)
    assert list(truncated) == [False, False, True]  # the other two have begun anew


@pytest.mark.parametrize("what", ["not a number", "too fast", "a huge contact"])
def test_a_diverging_simulation_ends_its_episode_and_no_other(lift, other, single, what):
    batch, untouched = lift, other
    for envs in (batch, untouched):
        envs.reset(seed=0)
    states = batch.get_state()
    velocity = states[1, 1 + single.model.nq :]
    cube = single.model.joint("cube_joint0").dofadr[0]
    if what == "a huge contact":
        velocity[cube + 2] = -1e7  # m/s, into the table
    else:
        velocity[0] = 1e9
    batch.set_state(states)
    if what == "not a number":  # no state that can be set
        batch._slots[1].physics.data.qvel[0] = np.nan
    actions = np.zeros((3, 7))
    observations, reward, _, truncated, info = batch.step(actions)
    untouched.step(actions)
    assert list(truncated) == [False, True, False]
    assert "diverged" in info["error"][1]
    assert list(info["_error"]) == list(info["_final_obs"]) == list(truncated)
    assert np.isfinite(observations["state"]).all()
    assert np.isfinite(reward).all()
    for i in (0, 2):
        np.testing.assert_array_equal(batch.get_state()[i], untouched.get_state()[i])
    *_, truncated, info = batch.step(actions)  # the next episode is sound
    assert not truncated.any()
    assert "error" not in info


def test_an_exception_says_in_which_environment_and_the_others_have_moved(lift, other, monkeypatch):
    batch, untouched = lift, other
    for envs in (batch, untouched):
        envs.reset(seed=0)

    def fail(action, substeps):
        raise RuntimeError("no power")

    actions = np.zeros((3, 7))
    with monkeypatch.context() as patch:
        patch.setattr(batch._slots[0], "step", fail)
        with pytest.raises(WorkerError, match="environment 0.*no power"):
            batch.step(actions)
    untouched.step(actions)
    np.testing.assert_array_equal(batch.get_state()[1:], untouched.get_state()[1:])
    batch.step(actions)


def test_bad_actions_move_nothing(lift):
    batch = lift
    batch.reset(seed=0)
    before = batch.get_state()
    bad = np.zeros((3, 7))
    bad[1, 2] = np.nan
    for actions, error in ((bad, DataError), (np.zeros((2, 7)), SpecError)):
        with pytest.raises(error):
            batch.step(actions)
    np.testing.assert_array_equal(batch.get_state(), before)


def test_closing_during_steps_waits_and_later_uses_are_refused():
    batch = sim.make_vec("robosuite/Lift", 3, threads=2)
    batch.reset(seed=0)
    refusals, began = [], threading.Event()

    def step_until_refused() -> None:
        try:
            while True:
                batch.step(np.zeros((3, 7)))
                began.set()
        except UserError as error:
            refusals.append(str(error))

    stepping = threading.Thread(target=step_until_refused)
    stepping.start()
    assert began.wait(60)
    batch.close()
    batch.close()
    stepping.join(60)
    assert refusals == ["robosuite/Lift: this batch of 3 environments is closed; make another"]
    for use in (batch.reset, batch.get_state, lambda: batch.set_state(np.zeros((3, 1)))):
        with pytest.raises(UserError, match="closed"):
            use()


def _use_in_child(batch, states) -> None:
    """Check in another process that a parent's batch is refused, and that a batch can be made."""
    if batch is not None:
        with pytest.raises(UserError, match="belongs to the process that made it"):
            batch.step(np.zeros((3, 7)))
        batch.close()
    own = sim.make_vec("robosuite/Lift", 3, threads=2)
    own.reset(seed=0)
    own.step(np.zeros((3, 7)))
    np.testing.assert_array_equal(own.get_state(), states)
    own.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_batch_stays_with_its_process_and_a_child_makes_its_own(lift, method):
    batch = lift
    batch.reset(seed=0)
    batch.step(np.zeros((3, 7)))
    states = batch.get_state()
    inherited = batch if method == "fork" else None
    context = multiprocessing.get_context(method)
    child = context.Process(target=_use_in_child, args=(inherited, states))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    batch.step(np.zeros((3, 7)))  # the parent's goes on


@pytest.mark.parametrize("name", ["gym/Pendulum-v1", "robosuite/ToolHang"])
def test_any_environment_can_be_batched(name, recwarn):
    batch = sim.make_vec(name, 2, threads=1)
    said = [str(w.message) for w in recwarn if "in processes" in str(w.message)]
    expected = f"{name}: in processes, since arrays do not cover the reward of ToolHang"
    assert said == ([expected] if name.startswith("robosuite/") else [])
    single = sim.make(name)
    assert isinstance(batch, ProcessVectorEnv)
    assert batch.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    batch.reset(seed=1)
    single.reset(seed=2)
    action = np.full(single.action_space.shape, 0.1, np.float32)
    expected = single.step(action)
    observations, rewards, *_ = batch.step(np.tile(action, (2, 1)))
    np.testing.assert_array_equal(observations["state"][1], expected[0]["state"])
    assert rewards[1] == expected[1]
    batch.close()


@pytest.mark.parametrize(
    ("name", "options", "horizon"),
    [
        ("robosuite/Lift", {}, 500),
        ("dmc/cartpole-balance", {}, 1000),
        ("dmc/cartpole-balance", {"horizon": np.int64(4)}, 4),
        ("dmc/lqr-lqr_2_1", {}, None),  # ends when it is solved, whenever that is
        (ARM, {"task": {"horizon": 3}}, 3),
        ("gym/Pendulum-v1", {}, 200),
        ("gym/Pendulum-v1", {"horizon": 9}, 9),
        ("tabletop/cube", {}, 50),
    ],
)
def test_a_batch_says_how_long_its_episodes_are(name, options, horizon):
    batch = sim.make_vec(name, 2, threads=1, **options)
    assert batch.horizon == horizon
    assert horizon is None or type(batch.horizon) is int
    batch.close()


def test_counts_must_be_whole_and_positive():
    for wrong in (
        {"n": 0},
        {"n": 2, "threads": 0},
        {"n": 2.5},
        {"n": "2"},
        {"n": 2, "threads": 2.5},
        {},
    ):
        with pytest.raises(UserError, match="1 or more"):
            sim.make_vec("robosuite/Lift", **wrong)
    with pytest.raises(UserError, match="how many environments is said by n=, not by num_envs="):
        sim.make_vec("robosuite/Lift", num_envs=2)


def test_a_batch_steps_only_what_has_begun():
    batch, single = _pair("robosuite/Lift", np.int64(2), horizon=np.int64(1))
    single.reset(seed=0)
    actions, first = np.zeros((2, 7)), np.array([True, False])
    with pytest.raises(UserError, match="robosuite/Lift: reset the batch before its first step"):
        batch.step(actions)
    batch.reset(seed=0, options={"reset_mask": first})
    assert batch.step(actions, active=first)[3][0]
    with pytest.raises(UserError, match="before its first step"):
        batch.step(actions)
    batch.set_state(np.stack([single.get_state()] * 2))
    assert batch.step(actions)[3].all()
    batch.close()


def test_wrong_resets_and_actions_are_one_line():
    batch = sim.make_vec("robosuite/Lift", 2, threads=1)
    begun, _ = batch.reset(seed=np.int64(3))
    for same in (3, np.array(3), np.array([3, 4]), [np.int32(3), 4]):
        np.testing.assert_array_equal(batch.reset(seed=same)[0]["state"], begun["state"])
    for seed in (1.5, "ab", -1, True, [1, "b"], [1, 2.5], [1, -1]):
        with pytest.raises(UserError, match=r"robosuite/Lift: seed.* must be a whole number"):
            batch.reset(seed=seed)
    with pytest.raises(UserError, match="unknown reset option 'mask'; known: reset_mask, state"):
        batch.reset(options={"mask": np.array([True, False])})
    for options in (3, 0, [], "state"):
        with pytest.raises(
            UserError, match="robosuite/Lift: options=.* must be a mapping of names"
        ):
            batch.reset(options=options)
    for actions in ("left", [[1], [2, 3]], {}):
        with pytest.raises(SpecError, match="robosuite/Lift: actions must be an array of numbers"):
            batch.step(actions)
    batch.close()


def test_before_the_first_reset_nothing_can_be_done_but_that(fresh):
    where = re.escape(fresh.interface.environment)
    calls = {
        "its first step": lambda: fresh.step(np.zeros(fresh.action_space.shape)),
        "its state is read": fresh.get_state,
        "it is rendered": fresh.render,
    }
    first = np.array([True, False])
    for begin in (lambda: None, lambda: fresh.reset(options={"reset_mask": first})):
        begin()  # the second has not begun
        for what, call in calls.items():
            with pytest.raises(UserError, match=f"^{where}: reset the batch before {what}$"):
                call()
    fresh.reset()
    assert np.isfinite(fresh.get_state()).all()


def test_states_that_are_none_change_nothing(fresh):
    where = re.escape(fresh.interface.environment)
    fresh.reset(seed=0)
    before = fresh.get_state()
    second = np.array([False, True])
    for states in (3, None, before[:1], before[:, :-1], before[0]):
        for use in (fresh.set_state, lambda s: fresh.reset(seed=5, options={"state": s})):
            with pytest.raises(SpecError, match=f"^{where}: states have shape .* instead of "):
                use(states)
    with pytest.raises(SpecError, match=f"^{where}: states must be an array of numbers$"):
        fresh.set_state([["a"], ["b"]])
    for entry in (1, -1):  # of a pose, and the number of steps
        broken = before + 1.0
        broken[1, entry] = np.nan
        place = rf"states\[1, {entry % before.shape[1]}\]"
        with pytest.raises(DataError, match=f"^{where}: {place} is nan, not a finite number$"):
            fresh.set_state(broken)
    np.testing.assert_array_equal(fresh.get_state(), before)
    fresh.reset(options={"state": broken, "reset_mask": ~second})  # nobody looks at that row
    np.testing.assert_array_equal(fresh.get_state()[1], before[1])


def test_a_closed_batch_says_so(fresh):
    fresh.close()
    for use in (fresh.reset, fresh.get_state, fresh.render, lambda: fresh.set_state(3)):
        with pytest.raises(UserError, match="this batch of 2 environments is closed; make another"):
            use()


def test_a_batch_of_nothing_is_a_users_error():
    with pytest.raises(UserError, match="environment 'None': must be robosuite/TASK"):
        sim.make_vec(None, 2)
