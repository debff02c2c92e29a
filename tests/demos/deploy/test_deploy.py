"""A policy on a robot: it acts, everything is recorded, and what goes wrong is said."""

import json
import os
import signal

import numpy as np
import pytest

import sim
from demos.data.dataset import Dataset
from demos.deploy import run as verb
from demos.deploy.answers import Answers, Chunks
from demos.deploy.config import ChunkConfig, DeployConfig
from demos.deploy.words import words_of
from demos.devices.contracts import Button, Signal
from demos.session.clock import SimulatedClock
from demos.session.contracts import Phase, State, Status
from robolearn.__main__ import main
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.errors import DataError, UserError
from robolearn.loops import checkpoint
from robolearn.running.config import EnvConfig
from robots.twin import Twin

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
    code, _, said = run()
    assert code == 0
    assert "policy: episode 1 of 2: the policy" in said
    assert "policy: 0 of 2 episodes succeeded: done; the last episode: failed (time was" in said
    assert "demonstrat" not in said and "kept" not in said
    found = summary()
    assert found["episodes"] == 2 and found["success"] == 0.0 and found["stopped"] == ""
    assert found["ended"] == {"time": 2} and found["chunks"] is None
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
    assert episode.metadata["ended"] == "stopped" and "answers" in episode.metadata["stopped"]


def test_a_policy_that_gives_nonsense_ends_it_in_one_line_and_nothing_is_lost(run, monkeypatch):
    given = iter([np.zeros((1, 6)), np.zeros((1, 6)), np.full((1, 6), np.nan)])
    monkeypatch.setattr(BehaviorCloning, "act", lambda self, *_: next(given))
    code, _, err = run()
    assert code == 2 and "not a finite number" in err.splitlines()[-1]
    assert len(Dataset.open("out/episodes").load("demo_0")) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "the policy gave nothing"),
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("checkpoint=nowhere",), "checkpoint: none in nowhere"),
        (("success=person",), "standard input is no terminal"),
        (("takeover={kind: terminal}",), "standard input is no terminal"),
        (("learner=nowhere:Policy",), "learner: no module 'nowhere'"),
    ],
)
def test_what_is_not_there_is_said_before_the_robot_is_made(run, monkeypatch, changes, words):
    monkeypatch.setattr(verb.Run, "make_env", None)
    code, _, err = run(*changes)
    assert code == 2 and words in err and err.count("\n") == 1


class Keys:
    """A keyboard whose keys are pressed at the times that it is asked, one after the other."""

    name, help = "keys", ()

    def __init__(self, *pressed):
        self.pressed, self.asked = iter(pressed), 0

    def open(self):
        pass

    def close(self):
        pass

    def poll(self, now_s):
        self.asked += 1
        assert self.asked < 100, "nobody presses what is waited for"
        button = next(self.pressed, None)
        return Signal(buttons=() if button is None else (button,))


@pytest.fixture
def operator(run, monkeypatch):
    """Deploy beside somebody who presses keys; give what ``run`` gives."""

    def deploy(pressed, *changes, kind=Keys):
        monkeypatch.setattr(verb, "_require_person", lambda config: None)
        monkeypatch.setattr(verb, "_keyboard", lambda config: kind(*pressed))
        monkeypatch.setattr(verb, "_clock", lambda config: SimulatedClock())
        return run(*changes)

    return deploy


def test_who_judges_is_told_when_to_begin():
    config = DeployConfig("policy", EnvConfig("robot/twin"), success="person", episodes=3)
    words = words_of(config, earlier=0)
    assert words.messages[State.WAITING] == "ready: begin when all is in place"
    status = Status(Phase.TEACH, State.WAITING, attempts=1, kept=1)
    assert words.headline(status) == "policy: episode 2 of 3, 1 succeeded so far"


def test_an_operator_says_what_succeeded_and_what_failed(operator):
    begin, soon = Button.START, (None, None)
    pressed = (None, begin, *soon, Button.KEEP, None, begin, *soon, Button.DISCARD, None, begin)
    code, _, err = operator(pressed, "success=person", "episodes=3")
    assert code == 0 and "policy: 1 of 3 episodes succeeded: done" in err
    found = summary()
    assert found["ended"] == {"success": 1, "failure": 1, "time": 1}
    assert found["success"] == pytest.approx(1 / 3)
    good, bad, late = map(Dataset.open("out/episodes").load, found["names"])
    assert (len(good), len(bad), len(late)) == (3, 3, 8)
    assert good.success and good.rewards.tolist() == [0, 0, 1]
    assert good.reward_terms["task"].tolist() == [0, 0, 1]
    assert not bad.success and bad.truncated and not bad.rewards.any()
    assert good.metadata["outcome"] == "success" and good.metadata["success_by"] == "person"
    assert bad.metadata["outcome"] == "failure" and bad.metadata["ended"] == "failure"


def test_an_operator_stops_the_arm(operator):
    code, _, err = operator((None, None, Button.QUIT), "episodes=5")
    assert code == 0 and "the operator stopped it" in err
    found = summary()
    assert found["ended"] == {"stopped": 1} and "the operator stopped it" in found["stopped"]
    episode = Dataset.open("out/episodes").load("demo_0")
    assert len(episode) == 2 and "the operator stopped it" in episode.metadata["stopped"]
    assert not episode.success


def test_an_operator_stops_it_in_a_pause(operator):
    code, _, err = operator((None, None, Button.PAUSE, None, Button.QUIT), "episodes=5")
    assert code == 0 and "the operator stopped it" in err
    assert summary()["ended"] == {"stopped": 1}
    about = Dataset.open("out/episodes").metadata("demo_0")
    assert "the operator stopped it" in about["stopped"] and about["ended"] == "stopped"


def test_who_does_not_judge_can_only_stop(operator):
    assert operator((None, Button.KEEP, Button.DISCARD, Button.END))[0] == 0
    assert summary()["ended"] == {"time": 2}
    assert Dataset.open("out/episodes").metadata("demo_0")["success_by"] == "environment"


class Counter:
    """Foretells the time: at t its chunk is t, t + 1 ...; it is asked at the times ``asked``."""

    def __init__(self, length):
        self.length, self.asked, self.resets = length, [], 0

    def reset(self, n):
        self.resets += 1

    def act_chunk(self, observation, explore=False):
        (now,) = observation["state"][0]
        self.asked.append(int(now))
        return now + np.arange(self.length, dtype=np.float32)[None, :, None]


def at(time):
    return {"state": np.full((1, 1), time, np.float32)}


@pytest.mark.parametrize(
    ("steps", "ahead", "asked"),
    [
        (None, 0, [0, 6, 12]),
        (2, 0, [0, 2, 4, 6, 8, 10, 12]),
        (None, 2, [0, 4, 8, 12]),
        (3, 1, [0, 2, 5, 8, 11]),
        (None, 9, [0, 1, 7, 8]),
    ],
)
def test_every_action_of_a_chunk_is_carried_out_when_it_is_for(steps, ahead, asked):
    policy = Counter(6)
    chunks = Chunks(policy, 1, ChunkConfig(steps, ahead))
    chunks.reset(1)
    given = [chunks.act(at(t)) for t in range(14)]
    chunks.drop()
    assert [float(action.item()) for action in given] == list(range(14))
    assert given[0].shape == (1, 1) and policy.asked == asked == sorted(policy.asked)
    assert chunks.asked == len(asked)
    chunks.close()


def test_what_was_planned_before_a_person_took_over_is_dropped():
    chunks = Chunks(Counter(6), 1, ChunkConfig(None, 2))
    chunks.reset(1)
    assert [chunks.act(at(t)).item() for t in range(3)] == [0, 1, 2]
    chunks.drop()
    assert chunks.act(at(50)).item() == 50
    chunks.reset(1)
    assert chunks.act(at(0)).item() == 0
    chunks.close()


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (np.zeros((1, 1)), r"a chunk of shape \(1, 1\), not \(1, H, 1\)"),
        (np.zeros((1, 4, 2)), r"a chunk of shape \(1, 4, 2\)"),
        (np.full((1, 4, 1), np.nan), "not a finite number"),
        (np.zeros((1, 2, 1)), "a chunk of 2 actions; chunk.steps and chunk.ahead need 3"),
        (np.zeros((1, 0, 1)), "a chunk of 0 actions"),
        (None, "the policy gave"),
    ],
)
def test_what_is_no_chunk_is_refused(chunk, words):
    policy = Counter(4)
    policy.act_chunk = lambda *_: chunk
    chunks = Chunks(policy, 1, ChunkConfig(3))
    with pytest.raises(DataError, match=words):
        chunks.act(at(0))
    chunks.close()


def test_chunks_are_recorded_as_single_steps(run, monkeypatch):
    ramp = np.linspace(-1, 1, 5, dtype=np.float32)

    def act_chunk(self, observation, explore=False):
        return np.broadcast_to(ramp[:, None], (1, 5, 6))

    monkeypatch.setattr(BehaviorCloning, "act_chunk", act_chunk, raising=False)
    assert run("chunk={steps: 4, ahead: 1}")[0] == 0
    episode = Dataset.open("out/episodes").load("demo_0")
    np.testing.assert_array_equal(episode.actions[:, 0], [*ramp[:4], *ramp[1:5]])
    assert episode.metadata["chunk"] == {"steps": 4, "ahead": 1}
    assert summary()["chunks"]["asked"] == 6


def test_chunks_of_a_policy_without_are_refused(run):
    code, _, err = run("chunk={}")
    assert code == 2 and "chunk: this policy gives single actions" in err
    with pytest.raises(UserError, match="single actions"):
        Chunks(Answers(None, 1), 1, ChunkConfig())


def test_a_policy_of_another_robot_is_refused_before_anything_moves(run):
    code, _, err = run("env.options.action={kind: pose}")
    assert code == 2 and "action has shape (7,) instead of (6,)" in err


@pytest.mark.parametrize(
    ("kind", "name"),
    [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")],
)
def test_told_to_end_it_stops_the_arm_saves_the_episode_and_gives_its_summary(
    run, monkeypatch, kind, name
):
    asked, halted = [], []
    halt = Twin._halt
    monkeypatch.setattr(Twin, "_halt", lambda self: (halted.append(len(asked)), halt(self)))

    def act(self, *_):
        asked.append(True)
        if len(asked) == 3:
            halted.clear()
            os.kill(os.getpid(), kind)
        return np.zeros((1, 6))

    monkeypatch.setattr(BehaviorCloning, "act", act)
    assert run()[0] == 0
    assert len(asked) == 3 and halted
    found = summary()
    assert f"told to end by {name}" in found["stopped"] and found["episodes"] == 1
    episode = Dataset.open(found["dataset"]).load("demo_0")
    assert len(episode) >= 2 and episode.truncated
    assert f"told to end by {name}" in episode.metadata["stopped"]


def test_told_to_end_in_a_pause_it_saves_the_reason(operator):
    class Interrupts(Keys):
        def poll(self, now_s):
            if self.asked == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return super().poll(now_s)

    assert operator((None, None, Button.PAUSE), kind=Interrupts)[0] == 0
    about = Dataset.open("out/episodes").metadata("demo_0")
    assert about["ended"] == "stopped" and "told to end by Ctrl-C" in about["stopped"]
    assert "told to end by Ctrl-C" in summary()["stopped"]


def test_told_to_end_before_it_has_begun_it_ends_as_well(run, monkeypatch):
    activate = Twin._enable

    def told(self):
        os.kill(os.getpid(), signal.SIGTERM)
        activate(self)

    monkeypatch.setattr(Twin, "_enable", told)
    assert run()[0] == 0
    assert summary()["episodes"] == 0 and "told to end by SIGTERM" in summary()["stopped"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_told_twice_it_is_interrupted(run, monkeypatch, kind):
    def act(self, *_):
        os.kill(os.getpid(), kind)
        os.kill(os.getpid(), kind)

    monkeypatch.setattr(BehaviorCloning, "act", act)
    code, _, err = run()
    assert code == 130 and "interrupted" in err


def clone_of_chunks(*changes):
    """Clone what was deployed, three actions at a time; give the exit code."""
    with open("bc.yaml", "w") as file:
        file.write("# A clone of chunks.\nverb: bc\ndataset: out/episodes\nsuccess:\nchunk: 3\n")
    return main(["bc.yaml", "evaluation=", "out=cloned", *changes])


def test_a_clone_of_chunks_is_deployed_in_chunks(run):
    run()
    assert clone_of_chunks("bc={members: 1, widths: [8]}", "training.epochs=1") == 0
    assert run("checkpoint=cloned", "chunk={}", "out=again")[0] == 0
    with open("again/summary.json") as file:
        assert json.load(file)["chunks"]["asked"] == 6  # 8 steps, twice


def test_a_clone_of_chunks_is_not_hardened(run, capsys):
    run()
    assert clone_of_chunks("harden={}") == 2
    assert "harden: a hardened clone gives single actions" in capsys.readouterr().err
