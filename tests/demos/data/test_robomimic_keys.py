"""robomimic's stock configuration for low-dimensional BC finds what it asks for in our index."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

import sim
from demos.data.dataset import Dataset
from demos.data.doctor import doctor, report_lines
from demos.data.robomimic_keys import robomimic_keys
from demos.session.record import circumstances
from robolearn.loops.rollout import Job, rollouts
from robolearn.types import ArraySpec, Spec

from ..conftest import INTERFACE, assert_same, episode_file, walk

ARM = ("eef_pos", "eef_quat", "gripper_qpos")
ASKED_FOR = [*(f"robot0_{part}" for part in ARM), "object"]  # by robomimic's BC configuration
STEPS = 4


class Random:
    """Acts at random."""

    def __init__(self, rng):
        self._rng = rng

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return self._rng.uniform(-1, 1, (len(observation["state"]), 7)).astype(np.float32)


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    """Give a dataset of robosuite and robosuite's own observations [T + 1] of its episodes."""
    env = sim.make("robosuite/NutAssemblySquare")
    dataset = Dataset.create(tmp_path_factory.mktemp("data") / "square", env.interface)
    jobs = [Job(Random(np.random.default_rng(i)), i) for i in range(2)]
    theirs = []
    for episode, _ in list(rollouts(env, jobs, horizon=STEPS)):
        about = episode.metadata | circumstances(env)
        dataset.append(dataclasses.replace(episode, metadata=about))
        theirs.append([observed_by_robosuite(env, state) for state in episode.states])
    env.close()
    return dataset, theirs


def observed_by_robosuite(env, state):
    """Give robosuite's own observation in a state; twice, as sensors take each other's values."""
    env.set_state(state)
    env.unwrapped._env._get_observations(force_update=True)
    return env.unwrapped._env._get_observations(force_update=True)


def as_robomimic_reads(path, keys, mask=None):
    """Read an index into memory as robomimic's SequenceDataset does: demo -> name -> array."""
    with h5py.File(path, "r", swmr=True, libver="latest") as file:
        names = list(file["data"].keys())
        if mask:
            names = [name.decode() for name in np.array(file[f"mask/{mask}"][:])]
        found = {}
        for name in sorted(names, key=lambda name: int(name[5:])):
            demo = file[f"data/{name}"]
            found[name] = {key: demo[key][()].astype("f4") for key in ("actions", "rewards")}
            found[name]["dones"] = demo["dones"][()]
            for group in ("obs", "next_obs"):
                found[name][group] = {key: demo[f"{group}/{key}"][()] for key in keys}
            assert demo.attrs["num_samples"] == len(demo["actions"])
    return found


def test_the_stock_configuration_reads_the_index(square):
    dataset, _ = square
    found = as_robomimic_reads(dataset.path / "index.hdf5", ASKED_FOR)
    assert list(found) == ["demo_0", "demo_1"]
    sizes = dict(zip(ASKED_FOR, (3, 4, 2, 14), strict=True))
    for demo in found.values():
        assert demo["actions"].shape == (STEPS, 7)
        assert demo["rewards"].shape == demo["dones"].shape == (STEPS,)
        for group in ("obs", "next_obs"):
            assert {k: a.shape for k, a in demo[group].items()} == {
                key: (STEPS, size) for key, size in sizes.items()
            }
            assert {a.dtype for a in demo[group].values()} == {np.dtype("float32")}
    with h5py.File(dataset.path / "index.hdf5") as file:
        about = json.loads(file["data"].attrs["env_args"])
        assert file["data"].attrs["total"] == 2 * STEPS
        assert file["data/demo_1/states"].shape[0] == STEPS
    assert (about["env_name"], about["type"]) == ("NutAssemblySquare", 1)
    assert about["env_version"] and {"robots", "control_freq"} <= about["env_kwargs"].keys()


def test_filter_keys_of_robomimics_tools_choose_episodes(square):
    dataset, _ = square
    with h5py.File(dataset.path / "index.hdf5", "a") as file:
        file["mask/train"] = np.array(["demo_1"], dtype="S")
    assert list(as_robomimic_reads(dataset.path / "index.hdf5", ASKED_FOR, "train")) == ["demo_1"]
    assert Dataset.open(dataset.path).names(mask="train") == ["demo_1"]


def test_values_are_those_of_the_state(square):
    dataset, _ = square
    found = as_robomimic_reads(dataset.path / "index.hdf5", ASKED_FOR)
    spec = dataset.interface.observations["state"]
    for name, demo in found.items():
        state = dataset.load(name).observations["state"]
        for group, rows in (("obs", slice(None, -1)), ("next_obs", slice(1, None))):
            np.testing.assert_array_equal(
                demo[group]["robot0_eef_pos"], state[rows, spec.index("robot0_eef_pos")]
            )
            w, x, y, z = spec.index("robot0_eef_quat")
            np.testing.assert_array_equal(demo[group]["robot0_eef_quat"], state[rows, [x, y, z, w]])


def test_values_are_those_that_robosuite_observes(square):
    """Quaternions up to their sign; poses in the hand's frame to the rounding of robosuite's."""
    dataset, theirs = square
    found = as_robomimic_reads(dataset.path / "index.hdf5", ASKED_FOR)
    for demo, observed in zip(found.values(), theirs, strict=True):
        for group, rows in (("obs", observed[:-1]), ("next_obs", observed[1:])):
            ours = demo[group]
            for key in ("robot0_eef_pos", "robot0_gripper_qpos"):
                expected = np.array([row[key] for row in rows]).astype(np.float32)
                np.testing.assert_array_equal(ours[key], expected)
            assert_same_rotation(ours["robot0_eef_quat"], [row["robot0_eef_quat"] for row in rows])
            expected = np.array([row["object-state"] for row in rows])
            for place in (slice(0, 3), slice(7, 10)):
                np.testing.assert_allclose(ours["object"][:, place], expected[:, place], atol=1e-6)
            for place in (slice(3, 7), slice(10, 14)):
                assert_same_rotation(ours["object"][:, place], expected[:, place])


def assert_same_rotation(ours, theirs):
    """Compare quaternions [T, 4] of the same order of entries."""
    theirs = np.asarray(theirs)
    sign = np.sign((ours * theirs).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(ours, sign * theirs, atol=2e-6)


# From names to keys


def keys_of(*names, **others):
    """Give the keys of a state with these entries, by the entries' names."""
    state = ArraySpec((len(names),), names=names)
    interface = dataclasses.replace(INTERFACE, observations={"state": state, **others})
    return {k: [names[i] for i in columns] for k, columns in robomimic_keys(interface).items()}


def entries(stem, suffixes):
    return [f"{stem}_{suffix}" for suffix in suffixes]


def test_two_arms_have_keys_each():
    arms = [f"robot{i}_eef_{part}" for i in (0, 1) for part in ("pos", "quat")]
    names = [e for arm in arms for e in entries(arm, "wxyz" if arm.endswith("quat") else "xyz")]
    keys = keys_of(*names, *entries("pot_quat", "wxyz"), *entries("gripper0_to_handle0", "xyz"))
    assert list(keys) == [*arms, "object"]
    assert keys["robot1_eef_quat"] == entries("robot1_eef_quat", "xyzw")
    assert keys["object"] == [*entries("pot_quat", "xyzw"), *entries("gripper0_to_handle0", "xyz")]


def test_hands_of_one_robot_and_other_grippers_keep_robosuites_names():
    names = [*entries("robot0_left_eef_pos", "xyz"), *entries("robot0_gripper_qpos", range(12))]
    keys = keys_of(*names, "robot0_gripper", "nut_id")
    assert keys["robot0_left_eef_pos"] == names[:3] and keys["robot0_gripper_qpos"] == names[3:]
    assert keys["robot0_gripper"] == ["robot0_gripper"] and keys["object"] == ["nut_id"]


def test_an_object_in_the_hands_frame_is_no_part_of_the_robot():
    pose = entries("object_to_robot0_eef_quat", "wxyz")
    keys = keys_of("robot0_gripper_qpos", *pose)
    assert keys["object"] == entries("object_to_robot0_eef_quat", "xyzw")


def test_a_w_that_is_no_quaternions_stays():
    keys = keys_of("robot0_q", *entries("a", "wxy"), "b_z")
    assert keys["object"] == [*entries("a", "wxy"), "b_z"]


@pytest.mark.parametrize(
    "interface",
    [
        INTERFACE,
        dataclasses.replace(INTERFACE, observations={"state": ArraySpec((2,))}),
        dataclasses.replace(INTERFACE, observations={"pixels": ArraySpec((8, 8, 3), "uint8")}),
    ],
    ids=["other names", "no names", "no state"],
)
def test_other_environments_have_no_keys(interface):
    assert robomimic_keys(interface) == {}


def test_observations_of_that_name_are_left_alone():
    camera = ArraySpec((8, 8, 3), "uint8")
    keys = keys_of("robot0_q", "cube", **{"object": camera, "robot0_q/left": camera})
    assert keys == {}


# Datasets of earlier versions

ROBOT = Spec(
    "robosuite/Fake",
    {"state": ArraySpec((2,), names=("robot0_gripper_qpos", "cube"))},
    INTERFACE.action,
    period_s=0.05,
)


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """Give a dataset of three episodes, the first two written before there were keys."""
    dataset = Dataset.create(tmp_path / "earlier", ROBOT)
    with monkeypatch.context() as patch:
        patch.setattr("demos.data.dataset.robomimic_keys", lambda interface: {})
        dataset.append(walk(0))
        dataset.append(walk(1))
    dataset.append(walk(2))
    return dataset


def test_a_repair_gives_keys_to_episodes_of_earlier_versions(earlier):
    report = doctor(earlier.path)
    assert report_lines(report) == [
        "index.hdf5: stale (robomimic's keys are missing in 2 of the files); --repair mends it",
        f"{earlier.path}: 3 of 3 episodes in order",
    ]
    untouched = episode_file(earlier, 2).read_bytes()
    assert doctor(earlier.path, repair=True).healthy
    assert {finding.status for finding in doctor(earlier.path).findings} == {"ok"}
    assert episode_file(earlier, 2).read_bytes() == untouched
    found = as_robomimic_reads(earlier.path / "index.hdf5", ["robot0_gripper_qpos", "object"])
    for seed, demo in enumerate(found.values()):
        episode = walk(seed)
        assert_same(Dataset.open(earlier.path).load(f"demo_{seed}"), episode)
        state = episode.observations["state"]
        np.testing.assert_array_equal(demo["obs"]["robot0_gripper_qpos"], state[:-1, :1])
        np.testing.assert_array_equal(demo["next_obs"]["object"], state[1:, 1:])


@pytest.mark.parametrize("group", ["obs", "next_obs"])
def test_an_episode_without_windows_is_in_order_and_a_repair_gives_them(earlier, group):
    with h5py.File(episode_file(earlier, 2), "r+") as file:
        del file["data/demo_0"][group]
    assert report_lines(doctor(earlier.path))[-1].endswith("3 of 3 episodes in order")
    assert doctor(earlier.path, repair=True).healthy
    with h5py.File(episode_file(earlier, 2)) as file:
        assert "object" in file["data/demo_0"][group]


def test_a_repair_keeps_what_a_file_says_of_its_environment(earlier):
    with h5py.File(episode_file(earlier, 0), "r+") as file:
        file["data"].attrs["env_args"] = json.dumps({"env_version": "1.4"})
    doctor(earlier.path, repair=True)
    with h5py.File(episode_file(earlier, 0)) as file:
        assert "object" in file["data/demo_0/obs"]
        assert json.loads(file["data"].attrs["env_args"]) == {"env_version": "1.4"}


def test_a_damaged_file_of_an_earlier_version_is_left_alone(earlier):
    with h5py.File(episode_file(earlier, 0), "r+") as file:
        file["data/demo_0/actions"][1] += 1
    before = episode_file(earlier, 0).read_bytes()
    assert not doctor(earlier.path, repair=True).healthy
    assert episode_file(earlier, 0).read_bytes() == before
    with h5py.File(episode_file(earlier, 1)) as file:
        assert "object" in file["data/demo_0/obs"]
