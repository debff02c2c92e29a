"""The verb decision_transformer on dm_control, through the command line, and attacks on it."""

import json
from pathlib import Path

import numpy as np
import pytest

from demos.data.dataset import Dataset
from robolearn.__main__ import main
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.loops import checkpoint
from robolearn.loops.rollout import rollout
from sim.registry import make

ENV = "dmc/cartpole-balance"
OPTIONS = {"horizon": 12}
LINE = (
    "dt_metaworld", "dataset=data",
    "decision_transformer={context: 4, width: 8, layers: 1, warmup: 5}",
    "training={updates: 6, batch: 4, period: 2}",
    "evaluation={episodes: 2, horizon: 12, whole: true}", "asked=[0.5]",
)  # fmt: skip


class Random:
    memoryless = True

    def __init__(self, rng):
        self.rng = rng

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return self.rng.uniform(-1, 1, (1, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with recorded episodes, an intention, and a finished run."""
    folder = tmp_path_factory.mktemp("sequences")
    env = make(ENV, **OPTIONS)
    dataset = Dataset.create(folder / "data", env.interface, OPTIONS)
    policy = Random(np.random.default_rng(0))
    for seed in range(4):
        dataset.append(rollout(env, policy, horizon=12, seed=seed, settle_steps=12))
    dataset.flush()
    checkpoint.save(folder / "other/checkpoint", PPO(env.interface, PPOConfig(widths=(8,))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*LINE, "out=whole"]) == 0
    return folder


@pytest.fixture
def here(folder, monkeypatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def summary(path: Path) -> dict:
    return json.loads((path / "summary.json").read_text())


def test_a_run_leaves_its_results(here):
    found = summary(Path("whole"))
    assert (found["demonstrations"], found["transitions"]) == (4, 48)
    least, mean, best = found["returns"]
    assert least < mean < best and found["evaluation"]["episodes"] == 2
    (half,) = found["asked"]
    assert half["target"] == pytest.approx(best / 2) and half["length"] == 12
    lines = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "log_likelihood" in line] == [2, 4, 6]
    assert not Path("whole/checkpoint/training").exists()


def test_a_stopped_run_goes_on_to_the_same_end(here, require_same_after_a_stop):
    require_same_after_a_stop(LINE, 4, Path("whole").absolute())


def test_it_is_evaluated_as_any_other_policy(here, tmp_path):
    line = ["evaluate_lift", "checkpoint=whole", f"env={{name: {ENV}, options: {{horizon: 12}}}}"]
    line += ["evaluation={episodes: 2, horizon: 12, whole: true}", f"out={tmp_path}/again"]
    assert main(line) == 0
    assert summary(tmp_path / "again") == summary(Path("whole"))["evaluation"]


ATTACK = (
    "rat_metaworld", "victim.checkpoint=whole", "home=null", "intention={policy: other}",
    f"env={{name: {ENV}, options: {{horizon: 12}}}}", "budget={size: 0.5, unit: std}",
    "evaluation={episodes: 2, horizon: 12, whole: true}", "measured=2", "pgd={steps: 3}",
    "rat.widths=[8]", "collection={rounds: 2, episodes: 2, updates: 3, batch: 8}",
)  # fmt: skip


def test_it_is_attacked_in_the_episode_that_it_is_in(here, tmp_path):
    assert main([*ATTACK, "method=pgd", f"out={tmp_path}/pgd"]) == 0
    found = summary(tmp_path / "pgd")
    assert found["attacked"]["return"] != found["control"]["return"]


def test_rat_learns_from_its_moments_and_goes_on_after_a_stop(here, tmp_path, interrupted):
    line = [*ATTACK, "method=rat"]
    assert main([*line, f"out={tmp_path}/whole"]) == 0
    interrupted([*line, f"out={tmp_path}/stopped"], 2)
    kept = checkpoint.read_tensors(tmp_path / "stopped/checkpoint/training/state.safetensors")
    assert len(kept["moments"]) == len(kept["observations/state"]) > 0
    assert main([*line, f"resume={tmp_path}/stopped"]) == 0
    assert summary(tmp_path / "stopped") == summary(tmp_path / "whole")


def test_what_cannot_be_attacked_is_one_line(here, tmp_path, capsys):
    for change, said in {
        "method=pa_ad": "victim: it is not memoryless",
        "method=pgd intention.policy=whole": "intention 'decision_transformer': what it does",
    }.items():
        assert main([*ATTACK, *change.split(), f"out={tmp_path}/wrong"]) == 2
        error = capsys.readouterr().err
        assert said in error, change


def test_an_audit_leaves_out_what_cannot_be(here, tmp_path, capsys):
    line = [
        "audit", "checkpoint=whole", f"environment={ENV}", "options={horizon: 12}", "home=null",
        "intention=other", "methods=null", "sizes=[0.5]", "budget={unit: std}",
        *(part for part in ATTACK if part.startswith("collection")),
        "evaluation={episodes: 1, horizon: 4, whole: true}",
    ]  # fmt: skip
    assert main([*line, f"out={tmp_path}/audit"]) == 0
    assert [row["method"] for row in summary(tmp_path / "audit")["rows"]] == [
        "random",
        "pgd",
        "rat",
    ]
    assert "no sa_rl, pa_ad: the victim has a memory" in capsys.readouterr().err


def test_wrong_input_is_one_line(here, tmp_path, capsys):
    for change, said in {
        "dataset=nowhere": "nowhere",
        "decision_transformer.contxt=3": "did you mean 'context'",
        "training.epochs=3": "unknown key 'training.epochs'",
    }.items():
        assert main([*LINE, change, f"out={tmp_path}/wrong"]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
