"""Batches of tasks on plain MuJoCo models against single environments."""

import sys
from pathlib import Path

import numpy as np
import pytest

import sim
from sim.mujoco.task import Draw, Formula, Goal, MujocoTask
from sim.mujoco.vector import MujocoVectorEnv
from sim.vector.env import WorkerError

MODEL = Path(__file__).parents[1] / "models" / "reacher.xml"
REACHER = f"mujoco/{MODEL}"
TO_GOAL = "site_pos:tip - site_pos:goal"
STRINGS = (
    "time", "qpos", "qvel", "act", "ctrl", "joint_pos:elbow", "joint_vel:top", "joint_pos:ball",
    "body_pos:ball", "body_quat:top", "geom_pos:forearm", "site_pos:tip", "sensor:elbow_speed",
    TO_GOAL, "body_pos:post - body_pos:ball", "joint_pos:elbow - joint_pos:shoulder",
)  # fmt: skip
FORCES = ("sensor:tip_touch", "sensor:tip_acceleration")
FORMULA = Formula(("joint_pos:elbow", "joint_vel:elbow"), lambda q, v: np.cos(q) - 0.1 * v**2)
DRAWS = (
    Draw("joint_pos:shoulder", 0.0, 1.5),
    Draw("joint_vel:top", (-2.0, -2.0, -2.0), (2.0, 2.0, 2.0)),
    Draw("body_pos:ball", (0.3, -0.1, 0.06), (0.5, 0.1, 0.06)),
    Draw("body_pos:goal", (0.2, 0.0, 0.2), (0.4, 0.0, 0.6)),
)
IN_MODEL = (Draw("body_pos:post", (0.3, -0.1, 0.1), (0.5, 0.1, 0.1)),)


def task(**changes) -> MujocoTask:
    values = dict(
        observation=(*STRINGS, FORMULA),
        reward={
            "near": Goal(TO_GOAL, high=0.02, margin=0.3, weight=2.0),
            "bent": Goal("joint_pos:elbow", low=-1.0, high=-0.2),
            "formula": FORMULA,
        },
        success=(Goal(TO_GOAL, high=0.5), Goal("joint_vel:elbow", low=-3.0, high=3.0)),
        failure=(Goal("joint_vel:shoulder", low=6.0, high=np.inf),),
        reset=DRAWS,
        horizon=12,
    )
    return MujocoTask(**(values | changes))


FUNCTIONS = task(
    observation=(
        "qpos", lambda model, data: data.cfrc_ext[3], lambda model, data: model.body_pos[3]
    ),
    reward={"force": lambda model, data: data.actuator_force[0], "near": Goal(TO_GOAL, margin=1)},
    success=lambda model, data: data.joint("elbow").qvel[0] > 0,
    failure=Formula(("joint_vel:shoulder",), lambda speed: speed > 9),
    reset=lambda model, data, rng: model.body("post").pos.__setitem__(0, rng.uniform(0.3, 0.5)),
)  # fmt: skip
TASKS = {
    "strings": task(),
    "forces": task(observation=(*STRINGS, *FORCES)),
    "resets write into the model": task(reset=(*DRAWS, *IN_MODEL)),
    "functions": FUNCTIONS,
}


def assert_alike(batch, single, i, steps, rng) -> set[str]:
    """Compare environment i with a single one at every step; say what occurred on the way."""
    seen = set()
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (batch.num_envs, 2)).astype(np.float32)
        observation, reward, terminated, truncated, info = batch.step(actions)
        wanted = single.step(actions[i])
        ended = bool(wanted[2] or wanted[3])
        shown = info["final_obs"][i] if ended else {k: v[i] for k, v in observation.items()}
        np.testing.assert_array_equal(shown["state"], wanted[0]["state"])
        assert shown["state"].dtype == np.float32
        assert reward[i] == pytest.approx(wanted[1], abs=1e-6)
        assert (terminated[i], truncated[i]) == wanted[2:4]
        assert info["success"][i] == wanted[4]["success"]
        terms = {k: v[i] for k, v in info["reward_terms"].items() if k[0] != "_"}
        assert terms == pytest.approx(wanted[4]["reward_terms"], abs=1e-6)
        if ended:
            first, _ = single.reset()
            np.testing.assert_array_equal(observation["state"][i], first["state"])
        np.testing.assert_array_equal(batch.get_state()[i], single.get_state())
        seen |= {f"term {name}" for name, value in terms.items() if value}
        seen |= {"terminated"} if terminated[i] else {"truncated"} if truncated[i] else set()
        seen |= {"success" if info["success"][i] else "no success"}
        seen |= {"contact"} if single.data.ncon else set()
    return seen


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
@pytest.mark.parametrize("name", TASKS)
def test_a_batch_does_what_single_environments_do(name, integrator, tmp_path):
    path = tmp_path / "model.xml"
    path.write_text(MODEL.read_text().replace("<option", f'<option integrator="{integrator}"'))
    single = sim.make(f"mujoco/{path}", task=TASKS[name])
    batch = sim.make_vec(f"mujoco/{path}", 5, threads=2, task=TASKS[name])
    assert isinstance(batch, MujocoVectorEnv)
    observation, _ = batch.reset(seed=2)
    first, _ = single.reset(seed=5)
    np.testing.assert_array_equal(observation["state"][3], first["state"])
    seen = assert_alike(batch, single, 3, 120, np.random.default_rng(0))
    assert seen >= {"term near", "truncated", "success", "no success", "contact"}
    batch.close()


def test_every_reward_and_end_agrees():
    single, batch = sim.make(REACHER, task=task()), sim.make_vec(REACHER, 2, task=task())
    batch.reset(seed=4), single.reset(seed=5)
    seen = assert_alike(batch, single, 1, 200, np.random.default_rng(1))
    assert seen >= {"term near", "term bent", "term formula", "terminated", "truncated"}


def test_states_do_not_depend_on_threads_nor_on_what_is_looked_at():
    states = []
    for threads, observation in ((1, STRINGS), (2, STRINGS), (3, (*STRINGS, *FORCES))):
        batch = sim.make_vec(REACHER, 6, threads=threads, task=task(observation=observation))
        batch.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(40):
            batch.step(rng.uniform(-1, 1, (6, 2)))
        states.append(batch.get_state())
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])


def test_states_are_restored_bit_for_bit_where_resets_write_into_the_model():
    batch, other = (
        sim.make_vec(REACHER, 3, threads=t, task=task(reset=(*DRAWS, *IN_MODEL))) for t in (2, 1)
    )
    batch.reset(seed=0), other.reset(seed=9)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 3, 2))
    for action in actions[:10]:
        batch.step(action)
    middle = batch.get_state()
    before = batch.step(actions[10])[0]["state"]
    assert len({model.body("post").pos[0] for model in batch.physics.models}) == 3
    shown = other.set_state(middle)["state"]
    assert (shown[1] != shown[2]).any()
    np.testing.assert_array_equal(other.step(actions[10])[0]["state"], before)
    np.testing.assert_array_equal(other.get_state(), batch.get_state())


def test_environments_share_the_model_unless_resets_write_into_it():
    shared = sim.make_vec(REACHER, 3, task=task())
    assert len({id(model) for model in shared.physics.models}) == 1


def test_rows_that_are_not_active_stay_as_they_are():
    batch, single = sim.make_vec(REACHER, 3, task=task()), sim.make(REACHER, task=task())
    batch.reset(seed=0), single.reset(seed=1)
    actions = np.full((3, 2), 0.5, np.float32)
    before = batch.get_state()
    observation, reward, *_ = batch.step(actions, active=np.array([False, True, False]))
    wanted = single.step(actions[1])
    np.testing.assert_array_equal(batch.get_state()[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(observation["state"][1], wanted[0]["state"])
    assert list(reward) == [0.0, wanted[1], 0.0]
    _, reward, *_ = batch.step(actions)
    assert reward[1] == single.step(actions[1])[1]


@pytest.mark.parametrize("observation", [STRINGS, FORCES], ids=["begun", "forward"])
def test_a_diverging_simulation_ends_its_episode_and_no_other(observation):
    chosen = task(observation=observation)
    batch, untouched = (sim.make_vec(REACHER, 3, task=chosen) for _ in range(2))
    single = sim.make(REACHER, task=chosen)
    batch.reset(seed=0), untouched.reset(seed=0), single.reset(seed=1)
    batch.physics.data[1].qvel[:] = np.nan
    single.data.qvel[:] = np.nan
    shown, _, _, truncated, info = batch.step(np.zeros((3, 2)))
    untouched.step(np.zeros((3, 2)))
    *_, ended, single_info = single.step(np.zeros(2))
    assert "diverged" in info["error"][1] and "diverged" in single_info["error"]
    assert list(truncated) == [False, True, False] and ended
    assert np.isfinite(shown["state"]).all()
    np.testing.assert_array_equal(batch.get_state()[[0, 2]], untouched.get_state()[[0, 2]])
    single.reset()
    assert assert_alike(batch, single, 1, 20, np.random.default_rng(0))


def test_python_calls_of_a_step_do_not_grow_with_the_batch():
    counts = []
    for n in (2, 32):
        batch = sim.make_vec(REACHER, n, threads=1, task=task())
        batch.reset(seed=0)
        actions = np.zeros((n, 2), np.float32)
        batch.step(actions)
        calls = []
        sys.setprofile(lambda frame, event, arg, calls=calls: calls.append(event))
        batch.step(actions)
        sys.setprofile(None)
        counts.append(sum(event.endswith("call") for event in calls))
    assert counts[0] == counts[1]


def test_a_fault_in_a_function_names_its_environment():
    def fails_from_one_second_on(model, data):
        return 1 / (data.time < 1)

    batch = sim.make_vec(REACHER, 3, task=task(reward={"mine": fails_from_one_second_on}))
    batch.reset(seed=0)
    batch.physics.data[2].time = 1.0
    with pytest.raises(WorkerError, match="environment 2: ZeroDivisionError"):
        batch.step(np.zeros((3, 2)))
