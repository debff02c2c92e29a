"""What a task says of many environments at once."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from robolearn.errors import UserError
from sim.mujoco.arrays import TaskArrays
from sim.mujoco.task import Formula, Goal, MujocoTask

MODEL = str(Path(__file__).parents[1] / "models" / "reacher.xml")


def bind(**fields) -> tuple[TaskArrays, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_path(MODEL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return TaskArrays(MujocoTask(**fields), model, data, "here"), data


def readings(arrays: TaskArrays, data: mujoco.MjData, elbows: list[float]) -> np.ndarray:
    """Give what is read where the elbow has these angles, [N, Q]."""
    rows = np.zeros((len(elbows), arrays.layout.width))
    for row, angle in zip(rows, elbows, strict=True):
        data.joint("elbow").qpos[:] = angle
        mujoco.mj_kinematics(data.model, data)
        arrays.read(data, row)
        arrays.call(data.model, data, row)
    return rows


def test_terms_success_and_failure_by_hand():
    arrays, data = bind(
        observation=("joint_pos:elbow", "joint_pos:elbow - time"),
        reward={
            "bent": Goal("joint_pos:elbow", low=0.5, high=1.0, margin=0.5, weight=3.0),
            "square": Formula(("joint_pos:elbow",), lambda angle: angle**2),
            "mine": lambda model, data: -data.joint("elbow").qpos[0],
        },
        success=(Goal("joint_pos:elbow", high=1.0), Goal("joint_pos:elbow", low=0.5, high=2.0)),
        failure=(Goal("joint_pos:elbow", low=-9.0, high=-1.0),),
    )
    data.time = 2.0
    outcome = arrays.evaluate(readings(arrays, data, [0.75, 0.0, -1.5]))
    terms = arrays.named(outcome.terms)
    np.testing.assert_allclose(terms["bent"], [3.0, 0.3, 3 * 0.1**16])
    np.testing.assert_allclose(terms["square"], [0.5625, 0.0, 2.25])
    np.testing.assert_allclose(terms["mine"], [-0.75, 0.0, 1.5])
    np.testing.assert_allclose(outcome.reward, sum(terms.values()))
    np.testing.assert_allclose(outcome.observation, [[0.75, -1.25], [0, -2], [-1.5, -3.5]])
    assert list(outcome.success) == [True, False, False]
    assert list(outcome.failure) == [False, False, True]


def test_a_formula_is_evaluated_once_and_cannot_change_what_was_read():
    calls = []

    def halved(angle):
        calls.append(len(angle))
        angle /= 2
        return angle

    formula = Formula(("joint_pos:elbow",), halved)
    arrays, data = bind(
        observation=("joint_pos:elbow", formula), reward={"a": formula}, success=(Goal(formula),)
    )
    calls.clear()
    outcome = arrays.evaluate(readings(arrays, data, [1.0, 0.0, -2.0]))
    assert calls == [3]
    np.testing.assert_array_equal(outcome.observation, [[1, 0.5], [0, 0], [-2, -1]])
    np.testing.assert_array_equal(outcome.reward, [0.5, 0, -1])
    assert list(outcome.success) == [False, True, False]


def test_the_orientation_and_the_centre_of_mass_of_a_body():
    arrays, data = bind(observation=("body_mat:lower", "body_com:lower", "xmat"))
    seen = arrays.evaluate(readings(arrays, data, [0.5])).observation[0]
    body = data.body("lower")
    np.testing.assert_allclose(seen, [*body.xmat, *body.xipos, *data.xmat.ravel()], rtol=1e-6)


def test_the_size_of_a_vector_is_its_norm():
    arrays, data = bind(reward={"far": Goal("site_pos:tip - body_pos:upper", low=0.55, high=0.65)})
    outcome = arrays.evaluate(readings(arrays, data, [0.0, 1.5]))
    assert list(arrays.named(outcome.terms)["far"]) == [1.0, 0.0]


def test_without_rules_there_is_no_reward_and_no_end():
    arrays, data = bind()
    outcome = arrays.evaluate(readings(arrays, data, [0.0, 1.0]))
    assert list(arrays.named(outcome.terms)["task"]) == list(outcome.reward) == [0.0, 0.0]
    assert not outcome.success.any() and not outcome.failure.any()


@pytest.mark.parametrize(
    ("quantity", "forward"),
    [
        ("qvel", False),
        ("sensor:elbow_speed", False),
        ("sensor:tip_touch", True),
        ("sensor:tip_acceleration", True),
        (Formula(("joint_pos:elbow",), np.sin), False),
        (lambda model, data: data.qacc, True),
    ],
)
def test_forces_are_computed_where_somebody_may_look_at_them(quantity, forward):
    assert bind(observation=(quantity,))[0].forward is forward


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"observation": ("qpos - joint_pos:top",)}, "'qpos - joint_pos:top': 13 entries less 4"),
        ({"observation": (Formula(("qpos",), np.sum),)}, r"formula of qpos gives shape \(\) for 2"),
        ({"observation": (Formula(("qpso",), np.sum),)}, "unknown quantity 'qpso'"),
        ({"reward": {"r": Formula(("qpos",), np.cos)}}, "r: 13 values instead of one"),
        ({"success": lambda model, data: data.qpos}, "success: 13 values instead of one"),
        ({"failure": (Goal("qpos"), Goal(lambda m, d: ()))}, r"failure\[1\]: the quantity has no"),
    ],
)
def test_faults_are_named(fields, message):
    with pytest.raises(UserError, match=f"here: .*{message}"):
        bind(**fields)
