"""The benchmark of world models: what is measured is what its rows say."""

import json
from types import SimpleNamespace

import infopower
import numpy as np
import pytest
import torch

import robolearn.algos.dreamer as dreamer
from robolearn.algos.dreamer import Sizes
from robolearn.networks.rssm import Belief

TINY = Sizes(depth=1, deterministic=6, stochastic=4, units=8, batch=3, length=4)
T = 31


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setitem(dreamer.SIZES, "small", TINY)
    for name, value in {"HORIZON": T - 1, "BATCH": 2, "LENGTH": 4, "KEPT": tmp_path}.items():
        monkeypatch.setattr(infopower, name, value)
    monkeypatch.setattr(infopower, "ROWS", tmp_path / "rows.jsonl")


def walks(seed, count=8):
    """Give episodes in which each action is added to the state."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (count, T, 2)).astype(np.float32)
    actions[:, 0] = 0
    return {
        "images": rng.integers(0, 256, (count, T, 64, 64, 3)).astype(np.uint8),
        "state": rng.normal(size=(count, 1, 2)) + actions.cumsum(axis=1),
        "behind": rng.integers(0, 256, (count, T, 12)).astype(np.uint8),
        "actions": actions,
        "rewards": rng.uniform(size=(count, T)),
    }


DATA = {name: walks(seed) for seed, name in enumerate(("train", "seen", "unseen"))}


def knowing(learner, rows):
    """Believe in the true state."""
    state = torch.from_numpy(rows["state"])
    return Belief(state, state)


def test_who_knows_the_state_is_right_about_all_of_it(monkeypatch):
    monkeypatch.setattr(infopower, "believe", knowing)

    def foresee(belief, actions):
        states = belief.h + actions.cumsum(dim=0)
        return Belief(states, states)

    found = infopower.judged(SimpleNamespace(foresee=foresee), DATA)
    told = [found[key] for key in ("probe_state_r2", "z_probe_state_r2", "probe_state_r2_seen")]
    assert told == pytest.approx([1.0] * 3, abs=0.01)
    assert min(found["similarity"], found["z_similarity_seen"]) > 0.9  # units are another's
    assert found["predicted_state_r2"] == pytest.approx({"1": 1, "5": 1, "15": 1}, abs=0.01)
    assert found["probe_background_r2"] < 0.1

    still = SimpleNamespace(foresee=lambda b, a: Belief(*(p.expand(15, -1, -1) for p in b)))
    ahead = infopower.judged(still, DATA)["predicted_state_r2"]
    assert ahead["1"] > ahead["5"] > ahead["15"] and ahead["1"] < 0.95


@pytest.mark.parametrize("method", ["dreamer", "infopower"])
def test_a_model_is_learnt_once_and_judged_alike(method, capsys):
    job = {"task": "walk", "method": method, "seed": 3, "updates": 2}
    learner, told = infopower.learnt(job, DATA)
    assert "kl_loss" in told["losses"] and capsys.readouterr().out.startswith("2 {")
    again, said = infopower.learnt(job, DATA)
    assert said == told and capsys.readouterr().out == ""
    assert infopower.judged(again, DATA) == infopower.judged(learner, DATA)


def test_the_replay_holds_every_moment_of_every_episode():
    rows = DATA["train"]
    replay = infopower.filled(infopower.interface(rows), rows)
    held = replay.state_dict()
    np.testing.assert_array_equal(
        held["observations/eye"][:, 0], rows["images"].reshape(-1, 64, 64, 3)
    )
    np.testing.assert_array_equal(held["actions"][:, 0], infopower.flat(rows["actions"]))
    assert held["is_first"].sum() == len(rows["images"])


def test_what_was_measured_is_not_missing():
    assert infopower.missing({"stage": 2, "seed": 0})
    infopower.append({"stage": 2, "seed": 0, "similarity": 0.5})
    assert not infopower.missing({"stage": 2, "seed": 0})
    assert infopower.missing({"stage": 2, "seed": 1})
    assert json.loads(infopower.ROWS.read_text())["similarity"] == 0.5
