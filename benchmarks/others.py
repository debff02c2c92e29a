"""Do the others' own tools read what we write, and do we read what theirs write?

Each command runs where its tool is installed; only ``expect`` needs this project. In between lie
files, so that Minari, LeRobot (Python 3.12) and robomimic may each have their own environment:

    python -m venv minari && minari/bin/pip install "minari[hdf5,create]==0.5.4" pillow
    python3.12 -m venv lerobot && lerobot/bin/pip install "lerobot[dataset]==0.6.1"
    pip install --no-deps robomimic==0.3.0

    python benchmarks/others.py expect DATASET expected.npz
    robolearn convert DATASET there format=lerobot images=lossless
    lerobot/bin/python benchmarks/others.py read lerobot there expected.npz

    lerobot/bin/python benchmarks/others.py write lerobot small
    python benchmarks/others.py write robosuite raw.hdf5 Lift 12

``read`` prints a JSON line: what was compared, and the largest difference. What ``write`` makes
lies in ``tests/demos/formats/others``, and is what the tests import.
"""

import ast
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

STEPS, EPISODES, SIZE = 8, 2, 64
FPS = 10


def main() -> None:
    """Carry out one command; see above."""
    command, kind, *rest = sys.argv[1:]
    if command == "expect":
        expect(kind, rest[0])
    elif command == "write":
        WRITERS[kind](Path(rest[0]), *rest[1:])
    else:
        print(json.dumps({"reader": kind, **READERS[kind](rest[0], np.load(rest[1]))}))


def expect(dataset: str, path: str) -> None:
    """Write a dataset's arrays, of any format, as they are here: "0/actions", "0/state", ..."""
    from demos.formats.guess import open_source

    source, found = open_source(dataset), {}
    for i, name in enumerate(source.names):
        episode = source.load(name)
        found[f"{i}/actions"], found[f"{i}/rewards"] = episode.actions, episode.rewards
        found |= {f"{i}/{key}": array for key, array in episode.observations.items()}
    np.savez(path, **found)


def gap(theirs, ours) -> float:
    """Give the largest difference of two arrays, infinite if their shapes differ."""
    theirs = np.asarray(theirs, np.float64).reshape(-1)
    ours = np.asarray(ours, np.float64).reshape(-1)
    return float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else float("inf")


def episodes(expected) -> int:
    """Count the episodes that are expected."""
    return len({name.partition("/")[0] for name in expected})


# -- they read what we wrote ---------------------------------------------------------------------


def read_lerobot(path: str, expected) -> dict:
    """Read frame by frame with LeRobot's own class, and once more with its batches."""
    from importlib.metadata import version

    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/there", root=path, video_backend="pyav")
    worst, frame = {}, 0
    for i in range(episodes(expected)):
        for t in range(len(expected[f"{i}/actions"])):
            item = dataset[frame]
            assert int(item["episode_index"]) == i and int(item["frame_index"]) == t
            for key, value in item.items():
                name = {"action": "actions", "next.reward": "rewards"}.get(key, _ours(key))
                name = name if f"{i}/{name}" in expected else name.replace(".", "/")
                if f"{i}/{name}" in expected and torch.is_tensor(value):
                    value = value.numpy()
                    if key.startswith("observation.images."):
                        value = np.round(value.transpose(1, 2, 0) * 255.0)
                    worst[key] = max(worst.get(key, 0.0), gap(value, expected[f"{i}/{name}"][t]))
            frame += 1
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)
    return {
        "version": version("lerobot"),
        "frames": frame,
        "of": dataset.meta.total_frames,
        "batches": sum(1 for _ in loader),
        "largest_difference": worst,
    }


def _ours(key: str) -> str:
    for prefix in ("observation.images.", "observation."):
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key


def read_minari(path: str, expected) -> dict:
    """Read with Minari's own class."""
    from importlib.metadata import version

    from minari import MinariDataset

    dataset, worst = MinariDataset(Path(path) / "data"), {}
    for i, episode in enumerate(dataset.iterate_episodes()):
        found = {"actions": episode.actions, "rewards": episode.rewards}
        found |= _flat(episode.observations)
        for key, value in found.items():
            worst[key] = max(worst.get(key, 0.0), gap(value, expected[f"{i}/{key}"]))
            assert dataset.action_space.contains(episode.actions[0])
    return {
        "version": version("minari"),
        "episodes": dataset.total_episodes,
        "of": episodes(expected),
        "largest_difference": worst,
    }


def _flat(observations, prefix: str = "") -> dict:
    found = {}
    for key, value in observations.items():
        inside = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{key}/") if inside else {prefix + key: value}
    return found


def read_robomimic(path: str, expected) -> dict:
    """Read with robomimic's own sequence dataset, by which it trains."""
    from importlib.metadata import version

    import robomimic.utils.obs_utils as obs_utils
    from robomimic.utils.dataset import SequenceDataset
    from robomimic.utils.file_utils import get_env_metadata_from_dataset

    expected = {
        f"{i}/{n.replace('/', '_')}": expected[f"{i}/{n}"]
        for i, _, n in (name.partition("/") for name in expected)
    }
    names = sorted({n.partition("/")[2] for n in expected} - {"actions", "rewards"})
    images = [name for name in names if expected[f"0/{name}"].ndim == 4]
    vectors = [name for name in names if name not in images]
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": vectors, "rgb": images}})
    dataset = SequenceDataset(
        path, obs_keys=names, dataset_keys=("actions", "rewards", "dones"), load_next_obs=True,
        hdf5_cache_mode=None,
    )  # fmt: skip
    worst, row = {}, 0
    for i in range(episodes(expected)):
        for t in range(len(expected[f"{i}/actions"])):
            item = dataset[row]
            pairs = [(f"obs/{n}", item["obs"][n][0], expected[f"{i}/{n}"][t]) for n in vectors]
            pairs += [
                (f"next_obs/{n}", item["next_obs"][n][0], expected[f"{i}/{n}"][t + 1])
                for n in vectors
            ]
            pairs += [(f"obs/{n}", item["obs"][n][0], expected[f"{i}/{n}"][t]) for n in images]
            pairs.append(("actions", item["actions"][0], expected[f"{i}/actions"][t]))
            for key, theirs, ours in pairs:
                worst[key] = max(worst.get(key, 0.0), gap(theirs, ours))
            row += 1
    return {
        "version": version("robomimic"),
        "rows": row,
        "of": len(dataset),
        "environment": get_env_metadata_from_dataset(path)["env_name"],
        "largest_difference": worst,
    }


# -- they write what we read ---------------------------------------------------------------------


def write_lerobot(path: Path, images: str = "video") -> None:
    """Record two short episodes with LeRobot's own class: a camera, a quaternion, degrees."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    pose = ["x", "y", "z", "qx", "qy", "qz", "qw"]
    features = {
        "observation.state": {"dtype": "float32", "shape": (7,), "names": pose},
        "observation.images.front": {
            "dtype": images,
            "shape": (SIZE, SIZE, 3),
            "names": ["height", "width", "channels"],
        },
        "action": {"dtype": "float32", "shape": (2,), "names": ["shoulder.pos", "gripper.pos"]},
    }
    dataset = LeRobotDataset.create(
        "local/small", fps=FPS, features=features, root=path, robot_type="so101",
        use_videos=images == "video",
    )  # fmt: skip
    for i in range(EPISODES):
        for t in range(STEPS + i):
            dataset.add_frame(_frame(i, t) | {"task": f"reach {i}"})
        dataset.save_episode()
    dataset.finalize()


def _frame(i: int, t: int) -> dict:
    """Give what a frame of the small dataset holds: everything follows from i and t."""
    half = 0.1 * t
    state = [0.1 * t, i, -0.5, 0.0, 0.0, np.sin(half), np.cos(half)]
    return {
        "observation.state": np.array(state, np.float32),
        "observation.images.front": picture(i, t),
        "action": np.array([10.0 * t - 40.0, 5.0 * i + t], np.float32),
    }


def picture(i: int, t: int) -> np.ndarray:
    """Draw a bright square that goes on with t, in one of two colours."""
    image = np.full((SIZE, SIZE, 3), 40, np.uint8)
    image[16:32, 4 * t : 4 * t + 16, i] = 220
    return image


def write_minari(path: Path) -> None:
    """Record two episodes of a pendulum with Minari's collector, and copy the dataset."""
    import shutil

    import gymnasium
    import minari

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        env = minari.DataCollector(gymnasium.make("Pendulum-v1", max_episode_steps=STEPS))
        for i in range(EPISODES):
            env.reset(seed=i)
            env.action_space.seed(i)
            for _ in range(STEPS):
                env.step(env.action_space.sample())
        env.create_dataset(dataset_id="small/pendulum-v0", algorithm_name="random")
        shutil.copytree(Path(folder) / "small/pendulum-v0", path)


def write_robosuite(path: Path, task: str = "Lift", steps: str = "12") -> None:
    """Record two episodes with robosuite's wrapper, gathered by robosuite's own script."""
    import datetime
    from glob import glob

    import h5py
    import robosuite
    from robosuite.controllers import load_composite_controller_config
    from robosuite.wrappers import DataCollectionWrapper

    script = Path(robosuite.__file__).parent / "scripts/collect_human_demonstrations.py"
    wanted = "gather_demonstrations_as_hdf5"  # alone: the script imports devices
    whole = ast.parse(script.read_text()).body
    found = [node for node in whole if getattr(node, "name", "") == wanted]
    known = {"os": os, "h5py": h5py, "np": np, "json": json, "glob": glob}
    known |= {"datetime": datetime, "suite": robosuite}
    exec(compile(ast.Module(found, []), str(script), "exec"), known)
    config = {
        "env_name": task,
        "robots": "Panda",
        "controller_configs": load_composite_controller_config(robot="Panda"),
    }
    env = robosuite.make(
        **config, has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False,
        ignore_done=True, control_freq=20,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    np.random.seed(3)  # noqa: NPY002  (robosuite's starts)
    with tempfile.TemporaryDirectory() as folder:
        env = DataCollectionWrapper(env, folder)
        for _ in range(EPISODES):
            env.reset()
            for _ in range(int(steps)):
                env.step(np.append(rng.uniform(-1, 1, env.action_dim - 1), -1.0))
            env.successful = True  # the script gathers no others
        env.close()
        known[wanted](folder, folder, json.dumps(config))
        os.replace(Path(folder) / "demo.hdf5", path)


READERS = {"lerobot": read_lerobot, "minari": read_minari, "robomimic": read_robomimic}
WRITERS = {"lerobot": write_lerobot, "minari": write_minari, "robosuite": write_robosuite}

if __name__ == "__main__":
    main()
