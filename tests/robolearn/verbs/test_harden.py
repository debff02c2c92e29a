"""Verbs that make policies hard to attack, end to end on dm_control, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from robolearn.__main__ import main
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.decision_transformer import DecisionTransformer, DecisionTransformerConfig
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.sac import SAC, SACConfig
from robolearn.loops import checkpoint
from sim.registry import make

ENV = "env={name: dmc/cartpole-balance, options: {horizon: 20}}"
SHORT = "evaluation={episodes: 3, horizon: 20, whole: true}"
GUARD = (
    "harden_detection", ENV, SHORT, "checkpoint=ppo", "episodes=12",
    "detection={false_alarm_rate: 0.2, widths: [8], steps: 20, horizon: 3}",
)  # fmt: skip
ATLA = (
    "harden_atla", ENV, SHORT, "checkpoint=ppo", "intention={policy: sac}", "turns=2",
    "environments=2", "rat.widths=[8]", "collection={rounds: 2, episodes: 1, updates: 3}",
    "training={steps: 80, horizon: 20, checkpoint_updates: 1}",
)  # fmt: skip
PPO_LINE = (
    "harden_worst_value", ENV, SHORT, "intention=sac", "environments=2", "ppo.widths=[8]",
    "training={steps: 80, horizon: 20}",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with untrained policies."""
    folder = tmp_path_factory.mktemp("harden")
    interface = make("dmc/cartpole-balance").interface
    for name, learner in {
        "ppo": PPO(interface, PPOConfig(widths=(8,))),
        "sac": SAC(interface, SACConfig(widths=(8,))),
        "bc": BehaviorCloning(interface, BCConfig(members=1, widths=(8,))),
        "dt": DecisionTransformer(interface, DecisionTransformerConfig(width=8, layers=1)),
    }.items():
        checkpoint.save(folder / name, learner)
    return folder


@pytest.fixture
def here(runs, monkeypatch) -> Path:
    monkeypatch.chdir(runs)
    return runs


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def weights(folder: Path) -> bytes:
    return (folder / "checkpoint/weights.safetensors").read_bytes()


def error_of(capsys, *line: str) -> str:
    """Give the one line that a wrong launch file ends with."""
    assert main([*line, "out=wrong"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("robolearn: ") and not Path("wrong/checkpoint").exists()
    return error


@pytest.mark.usefixtures("drawn")
def test_a_guarded_policy_is_evaluated_and_attacked_like_any(here, tmp_path, capsys):
    assert main([*GUARD, "checkpoint=bc", f"out={tmp_path}/guarded"]) == 0
    found = summary(tmp_path / "guarded")
    assert found["line"] > 0 and found["unguarded"]["episodes"] == 3
    assert 0 <= found["guarded"]["alarmed"] <= 1
    given = f"checkpoint={tmp_path}/guarded"
    assert main(["evaluate_lift", ENV, SHORT, given, f"out={tmp_path}/again"]) == 0
    assert summary(tmp_path / "again") == found["guarded"]
    line = [
        "audit", given, "environment=dmc/cartpole-balance", "options={horizon: 20}", "home=null",
        "intention=sac", "methods=null", "sizes=[0.5]", "budget.unit=std", SHORT,
        "collection={rounds: 1, episodes: 1, updates: 2}",
    ]  # fmt: skip
    assert main([*line, f"out={tmp_path}/audit"]) == 0
    rows = summary(tmp_path / "audit")["rows"]
    assert [row["method"] for row in rows] == ["random", "pgd", "rat"]
    assert rows[0]["alarmed"] == 0 and rows[0]["unaware_alarmed"] == 1
    assert "alarm, unaware" in (tmp_path / "audit/report.txt").read_text()
    assert "sa_rl needs a victim without a memory" in error_of(capsys, *line, "methods=[sa_rl]")


def test_an_audit_of_a_guarded_policy_that_remembers_leaves_rat_out(here, tmp_path, capsys):
    assert main([*GUARD, "checkpoint=dt", f"out={tmp_path}/guarded"]) == 0
    line = [
        "audit", f"checkpoint={tmp_path}/guarded", "environment=dmc/cartpole-balance", "home=null",
        "options={horizon: 20}", "intention=sac", "sizes=[0.5]", "budget.unit=std", SHORT,
    ]  # fmt: skip
    assert main([*line, "methods=null", f"out={tmp_path}/audit"]) == 0
    assert [row["method"] for row in summary(tmp_path / "audit")["rows"]] == ["random", "pgd"]
    assert "no rat, sa_rl, pa_ad: the victim has a memory" in capsys.readouterr().err
    assert "rat needs a victim without a memory" in error_of(capsys, *line, "methods=[rat]")


def test_what_cannot_be_guarded_is_one_line(here, tmp_path, capsys):
    assert "no checkpoint in nowhere" in error_of(capsys, *GUARD, "checkpoint=nowhere")
    assert "unknown key 'detection.awnser'; did you mean 'answer'" in error_of(
        capsys, *GUARD, "detection.awnser=hold"
    )
    assert "false_alarm_rate should be" in error_of(capsys, *GUARD, "detection.false_alarm_rate=0")
    assert "give 8 or more" in error_of(capsys, *GUARD, "episodes=4")
    assert "does not fit" in error_of(capsys, *GUARD, "env={name: dmc/reacher-easy}")
    assert main([*GUARD, "also=[dmc/reacher-easy]", "out=wrong"]) == 2
    said = capsys.readouterr().err
    assert "does not fit" in said and said.count("\n") == 1  # before any episode
    assert "still.0 should be less than" in error_of(capsys, *GUARD, "detection.still=[2.0]")
    assert "detection.still: 2 entries" in error_of(capsys, *GUARD, "detection.still=[0.0, 1.0]")
    assert main([*GUARD, f"out={tmp_path}/guarded"]) == 0
    assert "has a detector already" in error_of(capsys, *GUARD, f"checkpoint={tmp_path}/guarded")


def test_turns_harden_a_policy_and_go_on_where_they_were_stopped(here, tmp_path, interrupted):
    assert main([*ATLA, f"out={tmp_path}/whole"]) == 0
    assert summary(tmp_path / "whole")["steps"] == 2 * 80
    assert weights(tmp_path / "whole") != (here / "ppo/weights.safetensors").read_bytes()
    for n in (2, 6):  # in the first adversary, in the second one
        interrupted([*ATLA, f"out={tmp_path}/{n}"], n)
        assert main([*ATLA, f"resume={tmp_path}/{n}"]) == 0
        assert weights(tmp_path / f"{n}") == weights(tmp_path / "whole")
        assert summary(tmp_path / f"{n}") == summary(tmp_path / "whole")


def test_turns_are_for_policies_of_ppo(here, capsys):
    assert "with a policy of ppo only, not with 'bc'" in error_of(capsys, *ATLA, "checkpoint=bc")
    assert "budget.size should be greater than 0" in error_of(capsys, *ATLA, "budget.size=0")
    assert "budget.size" in error_of(capsys, *ATLA, "budget.size=.nan")
    assert "no checkpoint in exprt" in error_of(capsys, *ATLA, "intention={policy: exprt}")
    assert "unknown key 'trns'; did you mean 'turns'" in error_of(capsys, *ATLA, "trns=1")


@pytest.mark.parametrize("term", ["worst value", "smooth"])
def test_ppo_learns_with_a_term_that_hardens(here, tmp_path, term):
    line = [*PPO_LINE, f"harden.term={term}", f"intention={'sac' if 'v' in term else 'null'}"]
    assert main([*line, f"out={tmp_path}/hard"]) == 0
    plain = [*PPO_LINE, "harden=null", "intention=null"]
    assert main([*plain, f"out={tmp_path}/plain"]) == 0
    assert weights(tmp_path / "hard") != weights(tmp_path / "plain")
    lines = (tmp_path / "hard/metrics.jsonl").read_text().splitlines()
    assert all("hardness" in line for line in lines[:2])


def test_a_term_that_does_not_fit_is_one_line(here, capsys):
    assert "needs one" in error_of(capsys, *PPO_LINE, "intention=null")
    assert "only harden.term" in error_of(capsys, *PPO_LINE, "harden.term=smooth")
    assert "has no Q" in error_of(capsys, *PPO_LINE, "intention=ppo")
    assert "no checkpoint in nowhere" in error_of(capsys, *PPO_LINE, "intention=nowhere")
    assert "harden.size should be greater than 0" in error_of(capsys, *PPO_LINE, "harden.size=0")
    assert "harden.wait'; did you mean 'weight'" in error_of(capsys, *PPO_LINE, "harden.wait=1")


def test_a_clone_is_hardened(tmp_path, monkeypatch):
    from demos.data.dataset import Dataset
    from robolearn.types import Episode

    monkeypatch.chdir(tmp_path)
    interface = make("dmc/cartpole-balance").interface
    dataset, rng = Dataset.ensure("data", interface, {}), np.random.default_rng(0)
    for _ in range(4):
        states = rng.normal(size=(21, 5)).astype(np.float32)
        actions = np.sign(states[:-1, :1])
        rewards, told = np.zeros(20, np.float32), {"operator": "base"}
        episode = Episode({"state": states}, actions, rewards, False, True, True, metadata=told)
        dataset.append(episode)
    line = ["harden_lipschitz", "dataset=data", "bc={widths: [16], members: 1}", "evaluation=null"]
    assert main([*line, "training.epochs=5", "harden.lipschitz=0.1", "out=lipschitz"]) == 0
    policy = checkpoint.load_policy("lipschitz/checkpoint", interface)
    assert policy.name == "hard_bc" and policy.config.harden.lipschitz == 0.1
    actions = policy.act({"state": rng.normal(size=(50, 5)).astype(np.float32)})
    assert np.ptp(actions) < 1.0  # of 2
