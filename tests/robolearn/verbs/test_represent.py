"""World models of recorded episodes: what is said of what their states hold."""

import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import robolearn.networks.world as module
from robolearn.__main__ import main
from robolearn.algos.dreamer import Dreamer
from robolearn.networks.rssm import Belief
from robolearn.types import ArraySpec, Episode, Spec
from robolearn.verbs import represent
from robolearn.viz.curves import read_curve
from sim.rendering.gl import backend_name

T = 31
LINE = (
    "infopower_offline", "episodes=4", "judged=3", "horizon=20", "updates=6", "log_updates=2",
    "checkpoint_updates=3",
)  # fmt: skip


def walks(seed, count=8):
    """Record episodes in which each action is added to the state."""
    rng, episodes = np.random.default_rng(seed), []
    for _ in range(count):
        actions = rng.uniform(-1, 1, (T, 2)).astype(np.float32)
        states = rng.normal(size=2) + np.pad(actions, ((1, 0), (0, 0))).cumsum(axis=0)
        seen = {"state": states, "eye": rng.integers(0, 256, (T + 1, 64, 64, 3)).astype(np.uint8)}
        rewards = rng.uniform(size=T).astype(np.float32)
        episodes.append(Episode(seen, actions, rewards, False, True, False))
    behind = [rng.integers(0, 256, (T, 12)).astype(np.uint8) for _ in range(count)]
    return represent.Recorded(episodes, behind)


PARTS = [walks(seed) for seed in range(3)]


class Knowing:
    """Believes in the true state, which stands where an image should."""

    cameras, device = ("state",), torch.device("cpu")

    def believe(self, batch):
        state = batch["observations"]["state"]
        return Belief(state, state)

    def foresee(self, belief, actions):
        states = belief.h + actions.cumsum(dim=0)
        return Belief(states, states)


class Still(Knowing):
    """Foresees that nothing moves."""

    def foresee(self, belief, actions):
        return Belief(*(part.expand(len(actions), *part.shape) for part in belief))


def test_who_knows_the_state_is_right_about_all_of_it():
    found = represent.judge(Knowing(), *PARTS)
    told = found["probe_state_r2"], found["probe_state_r2_seen"]
    assert told == pytest.approx((1.0, 1.0), abs=1e-3)
    assert min(found["similarity"], found["similarity_seen"]) > 0.9  # units are others
    assert min(found["path_similarity"], found["path_similarity_seen"]) > 0.8
    assert list(found["predicted_state_r2"].values()) == pytest.approx([1.0] * 3, abs=1e-3)
    assert found["probe_background_r2"] < 0.1

    ahead = list(represent.judge(Still(), *PARTS)["predicted_state_r2"].values())
    assert 0.99 > ahead[0] > ahead[1] > ahead[2]


def test_a_background_that_is_known_is_told_and_without_one_nothing_is():
    rng = np.random.default_rng(0)
    turn = rng.normal(size=(2, 12))
    known = [
        represent.Recorded(p.episodes, [e.observations["state"][1:] @ turn for e in p.episodes])
        for p in PARTS
    ]
    assert represent.judge(Knowing(), *known)["probe_background_r2"] == pytest.approx(1, abs=1e-3)
    nothing = represent.Recorded(PARTS[0].episodes, None)
    assert represent.judge(Knowing(), nothing, *PARTS[1:])["probe_background_r2"] is None


def test_the_replay_holds_every_moment_of_every_episode():
    episodes = PARTS[0].episodes
    spec = Spec("test/Eye", {"eye": ArraySpec((64, 64, 3), "uint8")}, ArraySpec((2,)), 0.1)
    held = represent.replayed(spec, episodes, 4).state_dict()
    eyes = np.concatenate([e.observations["eye"] for e in episodes])
    np.testing.assert_array_equal(held["observations/eye"][:, 0], eyes)
    led = np.concatenate([np.pad(e.actions, ((1, 0), (0, 0))) for e in episodes])
    np.testing.assert_array_equal(held["actions"][:, 0], led)
    assert np.flatnonzero(held["is_first"]).tolist() == [i * (T + 1) for i in range(len(episodes))]


needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.SIZES, "small", module.Sizes(1, 6, 4, 8, 3, 4))
        directory = tmp_path_factory.mktemp("represent") / "whole"
        assert main([*LINE, f"out={directory}"]) == 0
        yield directory


@needs_gl
def test_a_run_leaves_its_results(whole):
    found = json.loads((whole / "summary.json").read_text())
    assert {"image_loss", "kl_loss", "inverse_loss"} < found["losses"].keys()
    assert -1 <= found["similarity"] <= 1 and found["probe_background_r2"] <= 1
    assert 0 < found["path_similarity"] <= 1
    assert found["predicted_state_r2"].keys() == {"1", "5", "14"}
    assert read_curve(whole / "metrics.jsonl", "kl_loss")[0].tolist() == [2, 4, 6]
    assert cv2.imread(str(whole / "believed.png")).shape[0] > 3 * 64


@needs_gl
def test_a_stopped_run_goes_on_to_the_same_end(whole, tmp_path, monkeypatch):
    def stop(self, batch, update=Dreamer.learn_world):
        if stops and stops.pop() == 0:
            raise KeyboardInterrupt
        return update(self, batch)

    stops = [0, 1, 1, 1, 1]  # in the fifth update
    monkeypatch.setattr(Dreamer, "learn_world", stop)
    directory = tmp_path / "stopped"
    assert main([*LINE, f"out={directory}"]) != 0
    assert not (directory / "summary.json").exists()
    assert main([str(directory / "config.yaml"), f"resume={directory}"]) == 0
    ends = [json.loads((d / "summary.json").read_text()) for d in (whole, directory)]
    assert ends[0] == ends[1]
    logged = [read_curve(d / "metrics.jsonl", "kl_loss")[1].tolist() for d in (whole, directory)]
    assert logged[0] == logged[1]  # the third update, before the checkpoint, is in the second line


@needs_gl
def test_a_run_that_was_stopped_while_it_was_judged_still_tells_its_losses(whole, tmp_path):
    directory = tmp_path / "judged"
    shutil.copytree(whole, directory)
    (directory / "summary.json").unlink()
    assert main([str(directory / "config.yaml"), f"resume={directory}"]) == 0
    ends = [json.loads((d / "summary.json").read_text()) for d in (whole, directory)]
    assert ends[0] == ends[1] and ends[1]["losses"]


def test_what_cannot_be_judged_is_one_line():
    blind = Spec("test/Eye", {"eye": ArraySpec((64, 64, 3), "uint8")}, ArraySpec((2,)), 0.1)
    with pytest.raises(represent.UserError, match='test/Eye: it observes no "state" to judge by'):
        represent._of_images(blind)
    assert represent._behind(SimpleNamespace(unwrapped=SimpleNamespace())) is None


def test_episodes_that_are_too_short_are_refused_at_once(capsys, tmp_path):
    assert main([*LINE, "horizon=13", f"out={tmp_path}/run"]) == 2
    said = capsys.readouterr().err
    assert "horizon: in 13 steps none is foretold 14 steps before; 14 would be right" in said
