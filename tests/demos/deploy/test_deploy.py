"""A policy on a robot: it acts, everything is recorded, and what goes wrong is said."""

import json

import numpy as np
import pytest

import sim
from demos.data.dataset import Dataset
from demos.deploy.run import Answers
from robolearn.__main__ import main
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.errors import DataError
from robolearn.loops import checkpoint

LAUNCH = """
# A policy on the twin.
verb: deploy
checkpoint: policy
env:
  name: robot/twin
  options: {simulated_time: true, robot: {failing: 0.0}}
episodes: 2
horizon: 8
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Deploy an untrained policy as the launch file and the changes say; give (code, out, err)."""
    monkeypatch.chdir(tmp_path)
    env = sim.make("robot/twin", simulated_time=True)
    learner = BehaviorCloning(env.interface, BCConfig(members=1, widths=(4,)))
    checkpoint.save(tmp_path / "policy", learner)
    (tmp_path / "twin.yaml").write_text(LAUNCH)

    def deploy(*changes):
        code = main(["twin.yaml", "out=out", *changes])
        said = capsys.readouterr()
        return code, said.out, said.err

    return deploy


def summary():
    with open("out/summary.json") as file:
        return json.load(file)


def test_every_episode_is_kept_whatever_became_of_it(run):
    assert run()[0] == 0
    found = summary()
    assert found["episodes"] == 2 and found["success"] == 0.0 and found["stopped"] == ""
    assert found["interventions"] == 0.0 and found["servo"]["missed"] == 0
    dataset = Dataset.open(found["dataset"])
    assert dataset.names() == found["names"] == ["demo_0", "demo_1"]
    episode = dataset.load("demo_0")
    assert len(episode) == 8 and episode.metadata["outcome"] == "failure"


def test_an_arm_that_is_stopped_ends_it_with_the_reason_and_nothing_is_lost(run):
    code, _, err = run("env.options.robot.faults=[{kind: unplugged, at_s: 0.4}]", "episodes=5")
    assert code == 0 and "nothing answers: is it plugged in?" in err
    found = summary()
    assert "nothing answers" in found["stopped"] and found["episodes"] == 1
    episode = Dataset.open(found["dataset"]).load("demo_0")
    assert episode.truncated and len(episode) < 8


def test_a_policy_that_gives_nonsense_ends_it_in_one_line_and_nothing_is_lost(run, monkeypatch):
    given = iter([np.zeros((1, 6)), np.zeros((1, 6)), np.full((1, 6), np.nan)])
    monkeypatch.setattr(BehaviorCloning, "act", lambda self, *_: next(given))
    code, _, err = run()
    assert code == 2 and "not a finite number" in err.splitlines()[-1]
    assert len(Dataset.open("out/episodes").load("demo_0")) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "the policy gave .*not"),
        ("left", "the policy gave"),
        (np.zeros((1, 5)), r"of shape \(1, 5\), not \(1, 6\)"),
        (np.full((1, 6), np.inf), "not a finite number"),
    ],
)
def test_what_is_no_action_is_refused(given, words):
    class Policy:
        def act(self, observation, explore=False):
            return given

    with pytest.raises(DataError, match=words):
        Answers(Policy(), 6).act({"state": np.zeros((1, 3))})


def test_a_policy_of_another_robot_is_refused_before_anything_moves(run):
    code, _, err = run("env.options.action={kind: pose}")
    assert code == 2 and "action has shape (7,) instead of (6,)" in err
