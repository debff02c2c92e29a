"""The batched physics against mujoco's own steps, and how threads share the work."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mujoco
import numpy as np
import pytest

from sim.engine.batch import BatchPhysics, take
from sim.engine.segments import Layout, Segment, whole

MODEL = str(Path(__file__).parents[1] / "models" / "reacher.xml")
ARRAYS = ("qpos", "qvel", "act", "xpos", "site_xpos", "sensordata", "ctrl")


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def make(n: int, forward: bool = False, **options):
    model = mujoco.MjModel.from_xml_path(MODEL)
    for name, value in options.items():
        setattr(model.opt, name, value)
    layout = Layout()
    columns = {name: layout.add(whole(mujoco.MjData(model), name)) for name in ARRAYS}
    return BatchPhysics([model] * n, 4, layout, forward), columns


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("integrator", ["EULER", "IMPLICIT", "IMPLICITFAST", "RK4"])
def test_steps_and_readings_are_those_of_mujoco(integrator, forward, pool):
    number = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator}")
    physics, columns = make(3, forward, integrator=number)
    model, wanted = physics.models[0], mujoco.MjData(physics.models[0])
    shown = mujoco.MjData(model)
    forces = model.sensor_needstage == mujoco.mjtStage.mjSTAGE_ACC
    rng = np.random.default_rng(0)
    for _ in range(30):
        physics.ctrl[:] = rng.uniform(-1, 1, physics.ctrl.shape)
        physics.step(np.arange(3), pool, 2)
        wanted.ctrl[:] = physics.ctrl[1]
        mujoco.mj_step(model, wanted, 4)
        mujoco.mj_copyData(shown, model, wanted)
        mujoco.mj_forward(model, shown)
        assert physics.readings[1, Layout.TIME] == wanted.time
        for name, place in columns.items():
            got, right = physics.readings[1, place], getattr(shown, name).ravel()
            if name == "sensordata" and not forward:
                got, right = (
                    got[: model.sensor_adr[forces][0]],
                    right[: model.sensor_adr[forces][0]],
                )
            np.testing.assert_array_equal(got, right, err_msg=name)
    assert wanted.ncon > 0 and forces.any()


def test_only_the_rows_asked_for_move(pool):
    physics, _ = make(4)
    physics.step(np.array([2, 0]), pool, 2)
    assert list(physics.readings[:, Layout.TIME]) == [0.02, 0.0, 0.02, 0.0]


def test_threads_take_each_row_once():
    rows, counter = np.array([4, 7, 1]), np.zeros(1, np.int64)
    assert [take(counter, rows) for _ in range(5)] == [4, 7, 1, -1, -1]


def test_many_threads_do_all_the_work(pool):
    physics, columns = make(64)
    rng = np.random.default_rng(1)
    for data, i in zip(physics.data, itertools.count(), strict=False):
        data.qvel[0] = rng.uniform(-1, 1)
        physics.look(i)
    before = physics.readings[:, columns["qpos"]].copy()
    for _ in range(20):
        physics.step(np.arange(64), pool, 3)
    assert (physics.readings[:, Layout.TIME] == physics.data[0].time).all()
    assert (physics.readings[:, columns["qpos"]] != before).any(1).all()


def test_looking_forgets_an_old_divergence_and_leaves_the_state(pool):
    physics, columns = make(2)
    physics.data[1].qvel[0] = 1e12
    physics.step(np.arange(2), pool, 1)
    assert list(physics.failures([0, 1])) == [1]
    assert physics.failures([0]) == {}
    mujoco.mj_resetData(physics.models[1], physics.data[1])
    physics.data[1].qpos[0] = 0.3
    physics.look(1)
    assert physics.failures([0, 1]) == {}
    assert physics.data[1].qpos[0] == physics.readings[1, columns["qpos"].start] == 0.3


def test_arrays_that_are_not_of_float64_are_refused():
    model = mujoco.MjModel.from_xml_path(MODEL)
    layout = Layout()
    layout.add(Segment("eq_active", 0, 0))
    with pytest.raises(TypeError, match="eq_active is not of float64"):
        BatchPhysics([model], 1, layout)
