"""From what cameras see to a policy, by the command line: recorded, cloned, evaluated."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from demos.data.dataset import Dataset
from demos.formats.convert import ConvertConfig, convert
from robolearn.__main__ import main
from robolearn.loops import checkpoint

ENV = "{name: my_lab.envs:make_seen_bead, options: {start: 0.8}}"
SMALL = (
    "bc={members: 1, widths: [32], dropout: 0.0, learning_rate: 0.003}",
    "encoder={channels: [8, 8], points: 4, crop: 1.0}",
    "training={epochs: 30, batch_size: 32}",
    "obs=[camera, velocity]",
)
EVALUATION = "evaluation={episodes: 2, horizon: 30}"


def run(*arguments: str) -> dict:
    assert main(arguments) == 0
    out = next(a for a in arguments if a.startswith("out="))
    return json.loads((Path(out.removeprefix("out=")) / "summary.json").read_text())


def clone(*arguments: str) -> dict:
    return run("bc_lift", "operator=", *SMALL, *arguments)


@pytest.fixture
def recording(lab) -> str:
    said = "operators: ['my_lab.operators:make_pusher'], episodes: 4, horizon: 30, images: lossless"
    return f"recording={{env: {ENV}, {said}}}"


def test_demonstrations_are_recorded_cloned_from_images_and_evaluated(recording, capsys):
    done = clone("dataset=beads", recording, EVALUATION, "out=run")
    assert done["demonstrations"] == 4 and done["evaluation"]["success"] == 1.0
    spec = checkpoint.read_spec("run/checkpoint")
    assert spec.observations.keys() == {"camera", "state"}
    assert spec.observations["state"].names == ("velocity",)  # the position is not told
    again = run("evaluate_lift", "checkpoint=run", f"env={ENV}", EVALUATION, "out=again")
    assert again == done["evaluation"]

    capsys.readouterr()
    before = sorted(Path("beads/episodes").iterdir())
    clone("dataset=beads", recording, "evaluation=", "training.epochs=1", "out=more", "seed=3")
    assert sorted(Path("beads/episodes").iterdir()) == before  # there are enough
    more = recording.replace("episodes: 4", "episodes: 5")
    clone("dataset=beads", more, "evaluation=", "training.epochs=1", "out=five")
    assert len(Dataset.open("beads")) == 5
    assert "goes on with beads (4 episodes)" in capsys.readouterr().err


def test_a_lerobot_dataset_gives_a_policy_as_it_lies(recording):
    clone("dataset=beads", recording, "evaluation=", "training.epochs=1", "out=first")
    convert("beads", "lerobot", ConvertConfig(format="lerobot", images="lossless"))
    shutil.rmtree("lerobot/robolearn")  # what LeRobot's own would not have
    clone("dataset=lerobot", "evaluation=", "out=run")
    done = run("evaluate_lift", "checkpoint=run", f"env={ENV}", EVALUATION, "out=evaluated")
    assert done["success"] == 1.0


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
def test_what_is_wrong_is_one_line(recording, capsys, arguments, said):
    clone("dataset=beads", recording, "evaluation=", "training.epochs=1", "out=first")
    capsys.readouterr()
    line = ["bc_lift", "dataset=beads", "operator=", "evaluation=", *arguments]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
