"""Frozen skills: what the policy is shown, which skill leads to a goal, what is refused."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.slim import SLIM, SLIMConfig
from robolearn.errors import SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.rewards.base import Metric, MetricConfig, SkillConfig
from robolearn.rewards.skill import DIAYN, LSD, METRA, LSDConfig, METRAConfig
from robolearn.skills.env import with_skill
from robolearn.skills.frozen import FrozenSkills, goals_of, load_skills
from robolearn.types import ArraySpec, Spec
from sim import make

ROBOT = ("hand_pos_x", "hand_pos_y")
AXES = ("pos_x", "pos_y", "pos_z", "xaxis_x", "xaxis_y")
ACTION = ArraySpec((2,), names=("hand_x", "hand_y"), units=("m", "m"), scale=(0.05, 0.05))
GOALS = tuple(f"goal_{name}_pos_{axis}" for name in ("cube2", "cube") for axis in "xyz")


def interface(*objects, more=(), action=ACTION):
    names = (*ROBOT, *(f"{name}_{axis}" for name in objects for axis in AXES), *more)
    return Spec("test/Table", {"state": ArraySpec((len(names),), names=names)}, action, 0.1)


ONE, TWO = interface("cube"), interface("cube", "cube2", more=GOALS)
WEIGHTED = MetricConfig(weights=(1.0, 1.0, 2.0))


def observed(n=4, spec=TWO, seed=0):
    state = np.random.default_rng(seed).normal(size=(n, *spec.observations["state"].shape))
    return {"state": state.astype(np.float32)}


def columns(*names, spec=TWO):
    return [spec.observations["state"].names.index(name) for name in names]


def frozen(phi=None, size=3, spec=TWO):
    shown = []

    def act(observation):
        shown.append(observation["state"])
        return np.zeros((len(observation["state"]), 2), np.float32)

    policy = SimpleNamespace(interface=with_skill(ONE, size), act=act, shown=shown)
    phi = phi or Metric(policy.interface, WEIGHTED)
    return FrozenSkills(policy, phi, spec), policy


def test_the_policy_sees_the_object_that_it_shall_move_under_the_name_it_knows():
    skills, policy = frozen()
    observation, z = observed(), np.arange(12, dtype=np.float32).reshape(4, 3)
    for name in ("cube", "cube2"):
        skills.act(observation, z, name)
        own = columns(*ROBOT, *(f"{name}_{axis}" for axis in AXES))
        wanted = np.concatenate([observation["state"][:, own], z], axis=1)
        np.testing.assert_array_equal(policy.shown[-1], wanted)
        assert policy.shown[-1].dtype == np.float32


def test_z_points_along_the_weighted_way_to_the_goal():
    skills, _ = frozen()
    observation, goal = observed(), np.array([0.1, -0.2, 0.3])
    z = skills.towards(observation, goal, "cube2")
    place = observation["state"][:, columns("cube2_pos_x", "cube2_pos_y", "cube2_pos_z")]
    way = (goal - place) * (1, 1, 2)
    np.testing.assert_allclose(z, way / np.linalg.norm(way, axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("kind", ["lsd", "metra", "metric"])
def test_z_is_the_normalised_difference_of_phi_where_only_the_position_differs(kind):
    entries = ("cube_xaxis", "cube_pos")
    spec = with_skill(ONE, 2 if kind != "metric" else 5)
    phi = {
        "lsd": lambda: LSD(spec, LSDConfig(entries=entries, skills=2)),
        "metra": lambda: METRA(spec, METRAConfig(entries=entries, skills=2)),
        "metric": lambda: Metric(spec, MetricConfig(entries=entries, weights=(1, 2, 3, 4, 5))),
    }[kind]()
    skills, _ = frozen(phi, size=2 if kind != "metric" else 5)
    observation, goals = observed(), np.random.default_rng(1).normal(size=(4, 3))
    z = skills.towards(observation, goals, "cube2")
    pose = columns("cube2_xaxis_x", "cube2_xaxis_y", *(f"cube2_pos_{axis}" for axis in "xyz"))
    for i, (state, goal) in enumerate(zip(observation["state"], goals, strict=True)):
        here = torch.tensor(state[pose])
        there = torch.cat([here[:2], torch.tensor(goal, dtype=torch.float32)])
        way = (phi.phi(there[None]) - phi.phi(here[None]))[0].numpy()
        np.testing.assert_allclose(z[i], way / np.linalg.norm(way), atol=1e-5)


def test_skills_of_a_part_of_the_position_lead_to_goals_too():
    phi = Metric(with_skill(ONE, 1), MetricConfig(entries=("cube_pos_y",), weights=(1.0,)))
    skills, _ = frozen(phi, size=1)
    observation = observed()
    y = observation["state"][:, columns("cube_pos_y")]
    np.testing.assert_array_equal(skills.towards(observation, np.zeros(3), "cube"), -np.sign(y))
    np.testing.assert_allclose(skills.distance(observation, np.zeros(3), "cube"), np.abs(y[:, 0]))


def test_numbers_stand_for_the_nearest_skill():
    skills, _ = frozen()
    np.testing.assert_allclose(skills.skill(np.array([[3.0, 0, -4]])), [[0.6, 0, -0.8]], rtol=1e-6)
    numbered, _ = frozen(DIAYN(with_skill(ONE, 3), SkillConfig(skills=3)))
    assert numbered.skill(np.array([[0.1, 0.3, 0.2]])).tolist() == [[0, 1, 0]]
    with pytest.raises(UserError, match="skills of 'diayn' are no directions"):
        numbered.towards(observed(), np.zeros(3), "cube")


def test_what_does_not_fit_is_refused():
    faster = dataclasses.replace(ACTION, scale=(0.1, 0.1))
    with pytest.raises(SpecError, match="test/Table has other actions than the skills"):
        frozen(spec=interface("cube", action=faster))
    skills, _ = frozen(spec=interface("mug"))
    with pytest.raises(
        SpecError, match="test/Table does not show 'cube_pos_x', which skills that move '"
    ):
        skills.act(observed(), np.zeros((4, 3)), "cube")


def test_goals_are_found_by_name():
    found = goals_of(TWO)
    assert list(found) == ["cube", "cube2"]
    assert found["cube2"].tolist() == columns(*GOALS[:3])
    with pytest.raises(SpecError, match="test/Table shows no goals"):
        goals_of(ONE)


@pytest.fixture
def learner():
    terms = {"weights": {"discovery": 1.0}, "widths": (8,), "discovery": "metric"}
    return SLIM(with_skill(ONE, 3), SLIMConfig(**terms), seed=3)


def test_a_checkpoint_comes_back_from_its_run_or_a_folder_of_runs(learner, tmp_path):
    checkpoint.save(tmp_path / "runs" / "20300101-000000-0" / "checkpoint", learner)
    observation, z = observed(), np.eye(4, 3, dtype=np.float32)
    own = columns(*ROBOT, *(f"cube_{axis}" for axis in AXES))
    state = np.concatenate([observation["state"][:, own], z], axis=1)
    for folder in ("runs", "runs/20300101-000000-0", "runs/20300101-000000-0/checkpoint"):
        skills = load_skills(str(tmp_path / folder), TWO)
        actions = skills.act(observation, z, "cube")
        np.testing.assert_array_equal(actions, learner.act({"state": state}))


def test_no_skills_is_an_error_of_one_line_that_says_how_to_get_some(tmp_path):
    with pytest.raises(UserError, match="skills: no checkpoint in .*`robolearn slim_tabletop`"):
        load_skills(str(tmp_path / "nowhere"), TWO)
    checkpoint.save(tmp_path / "checkpoint", PPO(ONE, PPOConfig(widths=(8,))))
    with pytest.raises(UserError, match="holds a policy of 'ppo', which has no skills"):
        load_skills(str(tmp_path), TWO)


def test_a_policy_without_discovery_has_no_skills(tmp_path):
    config = SLIMConfig(weights={"near": 1.0}, terms={"near": {"reach": 1.0}}, widths=(8,))
    checkpoint.save(tmp_path / "checkpoint", SLIM(with_skill(ONE, 3), config))
    with pytest.raises(UserError, match="without 'discovery', so it has no skills"):
        load_skills(str(tmp_path), TWO)


def test_a_checkpoint_whose_replacement_was_cut_short_is_found(learner, tmp_path):
    checkpoint.save(tmp_path / "run" / "checkpoint", learner)
    (tmp_path / "run" / "checkpoint").rename(tmp_path / "run" / "checkpoint.previous")
    (tmp_path / "run" / "config.yaml").write_text("verb: slim")
    assert load_skills(str(tmp_path / "run"), TWO).size == 3


def test_scripted_skills_know_any_object_of_a_tabletop():
    env = make("tabletop/mug+cube", goal="pose")
    skills = load_skills("scripted", env.interface)
    state = env.reset(seed=0)[0]["state"][None]
    env.close()
    for name in ("mug", "cube"):
        columns = env.interface.observations["state"].index(f"{name}_pos")
        z = skills.towards({"state": state}, state[:, columns] + (0, 0, 0.1), name)
        np.testing.assert_allclose(z, [[0, 0, 1]], atol=1e-5)
    cube = skills.act({"state": state}, z, "cube"), skills.act({"state": state}, z, "mug")
    assert (cube[0] != cube[1]).any()
