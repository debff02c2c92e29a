"""Dreamer end to end on dm_control, through the command line and its launch file."""

import json
import os

import cv2
import mujoco
import numpy as np
import pytest

import robolearn.networks.world as module
import sim
from robolearn.__main__ import main
from robolearn.running import launch
from robolearn.verbs import dreamer as verb
from robolearn.verbs import dreaming
from robolearn.viz import strips
from robolearn.viz.curves import read_curve
from sim.rendering.gl import backend_name

pytestmark = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")
LINE = (
    "dreamer_cartpole_balance", "env.options.horizon=10", "environments=1", "training.steps=80",
    "training.random_steps=24", "training.updates_per_step=0.1", "training.batch=2",
    "training.length=4", "training.capacity=60", "training.log_steps=20",
    "training.checkpoint_steps=40", "dreamer.starts=4", "evaluation.episodes=2",
    "evaluation.horizon=10", "training.keep_replay=true",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A small network, and one process for each batch: it takes longer to start than to step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.SIZES, "small", module.Sizes(1, 6, 4, 8, 3, 4))
        patch.setattr(os, "sched_getaffinity", lambda _: {0})
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dreamer") / "whole"
    assert main([*LINE, f"out={directory}"]) == 0
    return directory


def test_a_run_leaves_its_results(whole):
    found = json.loads((whole / "summary.json").read_text())
    assert found["steps"] == 80
    assert found["replay_bytes"] == 60 * (64 * 64 * 3 + 5 * 4 + 4 + 4 + 1 + 1)
    assert {"image_loss", "kl_loss", "policy_loss", "value_loss"} < found["losses"].keys()
    assert found["evaluation"]["length"] == 10
    assert read_curve(whole / "metrics.jsonl", "kl_loss")[0].tolist() == [40, 60, 80]


def test_what_is_believed_is_drawn(whole):
    picture = cv2.imread(str(whole / "believed.png"))
    steps = 10 // dreaming.EVERY + 1
    assert picture.shape == (3 * 64 + 2 * strips.GAP, strips.MARGIN + steps * 64, 3)


def test_an_interrupted_run_goes_on_with_the_same_curve(whole, require_same_after_a_stop):
    require_same_after_a_stop(LINE, 60, whole, ("return", "image_loss", "policy_loss"))


def test_a_run_that_was_stopped_in_its_evaluation_goes_on(whole, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(verb, "measure", stop)
        assert main([*LINE, f"out={tmp_path}/run"]) == 130
    assert main([*LINE, f"resume={tmp_path}/run"]) == 0
    folders = (tmp_path / "run", whole)
    found, expected = (json.loads((d / "summary.json").read_text()) for d in folders)
    assert found["evaluation"] == expected["evaluation"]


def test_what_does_not_fit_is_one_line(capsys, tmp_path):
    wrong = {
        "env.options.image_size=[84,84]": "camera 'lookatcart' has 84 x 84 pixels; the encoder",
        "training.random_steps=3": "hold no sequence of 4; 4 would be right",
    }
    for i, (line, said) in enumerate(wrong.items()):
        assert main([*LINE, *line.split(), f"out={tmp_path / str(i)}"]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            "{image_size: [32, 32], cameras: [lookatcart]}",
            "evaluated_in does not fit the policy: lo",
        ),
        (
            "{cameras: [lookatcart], distractors: {video: none.mp4}}",
            "none.mp4: no such file or fol",
        ),
    ],
)
def test_where_it_is_evaluated_is_looked_at_before_anything_is_learnt(
    capsys, tmp_path, options, said
):
    where = f"evaluated_in={{name: dmc/cartpole-balance, options: {options}}}"
    assert main([*LINE, where, f"out={tmp_path}/run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_infopower_learns_before_a_backdrop_and_is_evaluated_before_another(tmp_path):
    line = [
        "infopower_cartpole_balance",
        *(entry.replace("dreamer.", "infopower.") for entry in LINE[1:]),
    ]
    assert main([*line, "training.steps=40", f"out={tmp_path}/run"]) == 0
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {"information_loss", "inverse_share", "multiplier"} < found["losses"].keys()
    assert found["evaluation"]["length"] == 10
    assert not (tmp_path / "run" / "believed.png").exists()  # it draws nothing


def test_a_backdrop_that_cannot_be_read_is_one_line(capsys, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    for i in range(49):
        cv2.imwrite(str(tmp_path / "few" / f"{i:02}.png"), np.zeros((4, 4, 3), np.uint8))
    said = {
        "bad.mp4": "not a video that can be read",
        "empty": "no videos and no images in this folder",
        "few": "49 frames; a clip needs 50 or more",
    }
    for name, fault in said.items():
        video = f"env.options.distractors.video={tmp_path / name}"
        assert main(["infopower_cartpole_balance", video, f"out={tmp_path}/{name}-run"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert fault in line


@pytest.mark.parametrize("task", ["cheetah_run", "walker_run"])
def test_the_floor_that_shows_how_fast_it_runs_is_never_covered(task):
    config = launch.read(launch.find(f"infopower_{task}")).settings()
    for where in (config["env"], config["evaluated_in"]):
        looks = where["options"] | {"cameras": ["side", "side_segmentation"]}
        plain = {name: option for name, option in looks.items() if name != "distractors"}
        env, clean = (sim.make(where["name"], **options) for options in (looks, plain))
        image, expected = (made.reset(seed=0)[0] for made in (env, clean))
        number, kind = np.moveaxis(image["side_segmentation"], -1, 0)
        planes = np.flatnonzero(env.model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
        floor = (kind == mujoco.mjtObj.mjOBJ_GEOM) & np.isin(number, planes)
        assert floor.sum() > 300 and (image["side"] != expected["side"]).any()
        np.testing.assert_array_equal(image["side"][floor], expected["side"][floor])
        env.close(), clean.close()
