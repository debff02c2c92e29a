"""The benchmark of world models: its runs can be read, what is in its rows is not run again."""

import json
from dataclasses import fields
from types import SimpleNamespace

import infopower
import pytest

from robolearn.algos.dreamer import DreamingConfig
from robolearn.loops.off_policy import updates_in
from robolearn.running import launch
from robolearn.verbs.dreamer import SequencesConfig


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(infopower, "ROWS", tmp_path / "rows.jsonl")
    monkeypatch.setattr(infopower, "knowing", lambda task, steps: f"runs/{task}-{steps}")


def settings(line):
    name, *overrides = line
    return launch.read(launch.find(name), overrides).settings()


def test_every_method_is_a_configuration_on_the_same_episodes():
    asked = SimpleNamespace(
        tasks=["walker-walk"], seeds=[3], methods=infopower.METHODS, updates=7, videos="films"
    )
    runs = {fixed["method"]: settings(line()) for fixed, line, _ in infopower.fixed_data(asked)}
    assert runs.keys() == infopower.METHODS.keys()
    for found in runs.values():
        assert (found["updates"], found["recorded_seed"]) == (7, 0)
        assert found["actors"] == ["runs/walker-walk-20000", "runs/walker-walk-100000"]
        for env, part in (("env", None), ("judged_in", "evaluation")):
            behind = found[env]["options"]["distractors"]
            assert behind["video"] == "films" and behind.get("part") == part
    assert runs["dreamer"]["learner"] == "dreamer"
    assert infopower.OWN.items() <= runs["dreamer"]["dreamer"].items()
    assert runs["c_dreamer"]["infopower"]["inverse_weight"] == 0
    assert not runs["c_dreamer"]["infopower"]["constrained"]
    assert runs["infopower"]["infopower"]["inverse_weight"] > 0


def test_clean_runs_are_the_launch_files():
    asked = SimpleNamespace(tasks=None, seeds=[0, 1], decisions=None)
    runs = [(fixed, settings(line())) for fixed, line, _ in infopower.clean(asked)]
    assert [(f["task"], f["seed"]) for f, _ in runs] == [
        (task, seed) for seed in (0, 1) for task in infopower.FROM_STATES
    ]
    assert all(s["env"]["name"] == f"dmc/{f['task']}" for f, s in runs)
    assert all(f["decisions"] == s["training"]["steps"] for f, s in runs)
    asked.decisions = 7000
    longer = [(fixed, settings(line())) for fixed, line, _ in infopower.clean(asked)]
    assert all((f["decisions"], s["training"]["steps"]) == (7000, 7000) for f, s in longer)


def test_every_method_learns_to_act_in_the_same_way_before_the_same():
    asked = SimpleNamespace(
        tasks=[*infopower.REPEATS], seeds=[3], methods=infopower.METHODS, decisions=7000, videos="v"
    )
    alike = {f.name for f in fields(DreamingConfig)} - {"kl_balance", "decoded"}  # Dreamer's own
    of_task = {}
    for videos in ("v", None):
        asked.videos = videos
        for fixed, line, _ in infopower.control(asked):
            found, task = settings(line()), fixed["task"]
            learner = infopower.kind(fixed["method"])
            assert found["verb"] == learner and found["training"]["steps"] == 7000
            own = infopower.OWN if learner == "dreamer" else {}
            shared = {"backdrop": videos is None} | own
            assert shared.items() <= found[learner].items()
            shared = {name: found[learner][name] for name in alike} | {
                "training": found["training"]
            }
            assert shared == of_task.setdefault((task, videos), shared)
            for env, part in (("env", None), ("evaluated_in", "evaluation")):
                assert found[env]["name"] == f"dmc/{task}"
                behind = found[env]["options"].get("distractors", {})
                assert not behind or behind["keep"] == infopower.KEEP.get(task, [])
                assert (behind.get("video"), behind.get("part")) == (videos, videos and part)
            repeat = found["env"]["options"]["action_repeat"]
            assert found["evaluation"]["horizon"] * repeat == 1000


def test_the_papers_size_makes_its_first_updates_before_videos_on_a_processor():
    asked = SimpleNamespace(seeds=[3], updates=200, videos="v")
    ((fixed, line, _),) = infopower.beginning(asked)
    found = settings(line())
    assert fixed["updates"] == 200 and found["infopower"]["size"] == "paper"
    assert found["device"] == "cpu" and not found["infopower"]["compiled"]
    assert found["env"]["options"]["distractors"]["video"] == "v"
    training, n = SequencesConfig(**found["training"]), found["environments"]
    learns = range(training.random_steps // n, training.rounds(n) + 1)
    assert sum(updates_in(rounds, n, training) for rounds in learns) == 200


def test_what_was_measured_is_not_missing():
    assert infopower.missing({"stage": 2, "seed": 0})
    infopower.append({"stage": 2, "seed": 0, "similarity": 0.5})
    assert not infopower.missing({"stage": 2, "seed": 0})
    assert infopower.missing({"stage": 2, "seed": 1})
    assert json.loads(infopower.ROWS.read_text())["similarity"] == 0.5


def test_numbers_are_rounded_wherever_they_stand():
    found = infopower.rounded({"r2": 0.12345, "ahead": {"1": 0.98765}, "updates": 7, "none": None})
    assert found == {"r2": 0.123, "ahead": {"1": 0.988}, "updates": 7, "none": None}
