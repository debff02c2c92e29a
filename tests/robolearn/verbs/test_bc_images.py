"""From what cameras see to a policy, by the command line: recorded, cloned, evaluated."""

import dataclasses
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import sim
from demos.data.dataset import Dataset
from demos.data.episode_file import read_stored
from demos.formats.convert import ConvertConfig, convert
from robolearn.__main__ import main
from robolearn.loops import checkpoint
from robolearn.loops.rollout import rollout

ENV = "{name: my_lab.envs:make_seen_bead, options: {start: 0.8}}"
PUSHER = "my_lab.operators:make_pusher"
SMALL = (
    "bc={members: 1, widths: [32], dropout: 0.0, learning_rate: 0.003}",
    "encoder={channels: [8, 8], points: 4, crop: 1.0}",
    "training={epochs: 30, batch_size: 32}",
    "obs=[camera, velocity]",
)
EVALUATION = "evaluation={episodes: 1, horizon: 30}"


def run(*arguments: str) -> dict:
    assert main(arguments) == 0
    out = next(a for a in arguments if a.startswith("out="))
    return json.loads((Path(out.removeprefix("out=")) / "summary.json").read_text())


def clone(*arguments: str) -> dict:
    return run("bc_lift", "operator=", *SMALL, *arguments)


@pytest.fixture
def beads(lab) -> Path:
    """Four demonstrations with a camera, in the folder of the lab."""
    env = sim.make("my_lab.envs:make_seen_bead", start=0.8)
    pusher = importlib.import_module("my_lab.operators").Pusher
    dataset = Dataset.create("beads", env.interface, {"start": 0.8}, images="lossless")
    for i in range(4):
        operator = pusher(env.interface, np.random.default_rng(i))
        episode = rollout(env, operator, horizon=30, seed=i, settle_steps=10)
        dataset.append(dataclasses.replace(episode, metadata={"operator": PUSHER}))
    return dataset.path


def test_demonstrations_are_recorded_where_they_are_missing(beads, capsys):
    def recording(episodes: int) -> str:
        said = f"operators: ['{PUSHER}'], episodes: {episodes}, horizon: 30, images: lossless"
        return f"recording={{env: {ENV}, {said}}}"

    brief = ("dataset=beads", "evaluation=", "training.epochs=1")
    assert clone(*brief, recording(4), "out=enough")["demonstrations"] == 4
    assert "goes on" not in capsys.readouterr().err
    assert clone(*brief, recording(5), "out=more")["demonstrations"] == 4 + 5  # another collection
    assert "goes on with beads (4 episodes)" in capsys.readouterr().err
    _, clips = read_stored(beads / "episodes/episode_000008.hdf5")
    assert clips.keys() == {"camera"}


def test_a_clone_by_camera_does_the_task_where_the_state_says_more(beads):
    done = clone("dataset=beads", EVALUATION, "out=run")
    assert done["demonstrations"] == 4 and done["evaluation"]["success"] == 1.0
    spec = checkpoint.read_spec("run/checkpoint")
    assert spec.observations.keys() == {"camera", "state"}
    assert spec.observations["state"].names == ("velocity",)  # the position is not told
    again = run("evaluate_lift", "checkpoint=run", f"env={ENV}", EVALUATION, "out=again")
    assert again == done["evaluation"]


def test_a_lerobot_dataset_gives_the_same_policy_as_it_lies(beads):
    clone("dataset=beads", "evaluation=", "out=ours")
    convert("beads", "lerobot", ConvertConfig(format="lerobot", images="lossless"))
    shutil.rmtree("lerobot/robolearn")  # what LeRobot's own would not have
    clone("dataset=lerobot", "evaluation=", "out=theirs")
    weights = [Path(out, "checkpoint/weights.safetensors") for out in ("ours", "theirs")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    policy = checkpoint.load_policy("theirs/checkpoint", checkpoint.read_spec("ours/checkpoint"))
    assert policy.name == "image_bc"


def test_the_launch_file_shows_the_policy_no_cube():
    seen = yaml.safe_load((Path(__file__).parents[3] / "launch/bc_lift_pixels.yaml").read_text())
    assert not [name for name in seen["obs"] if "cube" in name or name == "state"]
    assert set(seen["recording"]["env"]["options"]["cameras"]) <= set(seen["obs"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["obs=[camera, velocty]"], "obs: beads has no 'velocty'; did you mean 'velocity'?"),
        (["harden={smoothness: 1.0}"], "harden: a hardened clone sees no cameras, as camera"),
        (["encoder={crop: 0.2}"], "of camera, 5 x 5 pixels would be seen: 17 x 17 are needed"),
    ],
)
def test_what_is_wrong_is_one_line(beads, capsys, arguments, said):
    line = ["bc_lift", "dataset=beads", "operator=", "evaluation=", *arguments]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
