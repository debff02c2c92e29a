"""The whole study, as small as it can be, on the real task."""

import dataclasses
import json
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from demos.data.dataset import Dataset
from demos.operators import make_operator
from demos.study.config import OperatorConfig, StudyConfig
from demos.study.replicate import HARM, Replicate, drop_runs, judge_together
from demos.study.report import report_text
from demos.study.run import run_study
from robolearn.algos.bc import BCConfig
from robolearn.errors import UserError
from robolearn.judging.judge import JudgeConfig
from robolearn.judging.repair import harmless, mended
from robolearn.loops.offline import OfflineConfig
from robolearn.loops.rollout import Job, rollouts
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run

SMALL = StudyConfig(
    env=EnvConfig("robosuite/Lift", {"robot": "Panda", "horizon": 200}),
    operators={
        "twin": OperatorConfig("base_twin", compatible=True),
        "other": OperatorConfig("other_order"),
    },
    base_demonstrations=4,
    demonstration_horizon=200,
    held_out=1,
    demonstrations=1,
    attempts=2,
    judge=JudgeConfig(false_rejection_rate=0.4, folds=2),
    policies=(
        BCConfig(members=2, widths=(16,), dropout=0.0),
        BCConfig(members=2, widths=(8,), dropout=0.0),
    ),
    training=OfflineConfig(epochs=2, validation_share=0.25),
    replicates=1,
    episodes=1,
    horizon=5,
    workers=1,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with Run(folder, seed=0) as run:
        return folder, run_study(SMALL, run)


def test_every_operator_gets_every_condition(finished):
    _, summary = finished
    assert set(summary["operators"]) == {"twin", "other"}
    for operator in summary["operators"].values():
        for condition in SMALL.conditions:
            assert operator[condition]["episodes"] == 1
            assert (
                0 <= operator[condition]["interval"][0] <= operator[condition]["interval"][1] <= 1
            )
    assert {"auc", "auc_by_operator", "auc_paper", "false_rejection_rate", "base"} <= set(summary)


@pytest.mark.parametrize("filter_by", ["demonstrations", "stretches"])
def test_harm_decides_what_is_left(finished, filter_by):
    folder, _ = finished
    config = dataclasses.replace(SMALL, verdict="harm", filter_by=filter_by)
    replicate = Replicate(config, folder, 0, 0)
    judge, (mine,) = replicate.judge(HARM), replicate.demonstrations("other")
    ((states, actions),) = replicate._filtered([mine], HARM)
    verdict = judge.score(*mine)
    stays = harmless(judge, *mine) if filter_by == "stretches" else verdict.accepted
    np.testing.assert_array_equal(actions, mine[1][np.broadcast_to(stays, len(mine[1]))])
    assert len(states) == len(actions)
    *base, repaired = replicate._data("other", "repaired", HARM, None)
    np.testing.assert_array_equal(repaired[1], mended(judge, *mine).actions)
    assert len(base) == SMALL.base_demonstrations


def test_what_is_too_short_to_judge_is_not_accepted_and_keeps_nobody_from_being_judged(
    finished, monkeypatch
):
    folder, _ = finished
    replicate = Replicate(dataclasses.replace(SMALL, verdict="harm"), folder, 0, 0)
    base = replicate.demonstrations("base")
    short = tuple(array[:6] for array in base[0])
    judge = replicate.judge(HARM)
    verdicts = judge_together(judge, [short, *base])
    assert verdicts[0] is None and all(verdict is not None for verdict in verdicts[1:])
    assert judge_together(judge, [short]) == [None]
    monkeypatch.setattr(
        Replicate,
        "demonstrations",
        lambda _, name: [*base, short] if name == "base" else [short, base[0]],
    )
    assert len(replicate.judge(HARM).own_lost) == len(base)
    for condition in ("filtered", "repaired"):
        _, *left = replicate._data("other", condition, HARM, None)
        assert all(len(actions) != 6 for _, actions in left[len(base) :])


def test_the_picture_is_there(finished):
    folder, _ = finished
    assert (folder / "report.png").stat().st_size > 10_000


def test_the_table_is_there_for_the_command_line(finished):
    folder, summary = finished
    assert (folder / "report.txt").read_text() == report_text(summary)
    assert summary["filter_by"] == SMALL.filter_by


def test_an_informed_operator_keeps_its_attempts_with_their_verdicts(finished):
    folder, _ = finished
    dataset = Dataset.open(folder / "replicate_0" / "demonstrations" / "other_informed")
    about = dataset.metadata(dataset.names()[0])
    assert about["operator"] == "other"
    verdict = about["verdict"]
    assert verdict["accepted"] == (about["decision"] == "kept")
    assert 0 < verdict["p_value"] <= 1 and len(verdict["worst_window"]) == 2
    assert verdict["trait"] in ("order", "grasp", "transport", "tempo")


def test_an_informed_operators_session_gives_the_episode_of_the_loop_alone(finished):
    folder, _ = finished
    replicate = Replicate(SMALL, folder, 0, 0)
    stored = Dataset.open(folder / "replicate_0" / "demonstrations" / "other_informed").load(
        "demo_0"
    )
    envs = replicate.make_envs()
    rng = np.random.default_rng([*replicate.seeds("elicit other"), 0])
    job = Job(make_operator("robosuite/Lift", "other_order", envs.interface, rng), start(rng))
    episode, _ = next(rollouts(envs, [job], horizon=200, settle_steps=SMALL.settle_steps))
    envs.close()
    assert stored.metadata["seed"] == episode.metadata["seed"]
    np.testing.assert_array_equal(stored.states, episode.states)
    np.testing.assert_array_equal(stored.actions, episode.actions)


def start(rng: np.random.Generator) -> int:
    """Draw the seed of an attempt's start."""
    return int(rng.integers(2**31))


class Here:
    """Does jobs in this process, which has imported all that they need."""

    def __init__(self, workers, initializer):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def test_a_stopped_study_goes_on_where_it_was(finished, monkeypatch):
    monkeypatch.setattr("demos.study.run.Processes", Here)
    folder, summary = finished
    result = folder / "replicate_0" / "conditions" / "twin-naive" / "evaluation.json"
    kept = folder / "replicate_0" / "conditions" / "other-naive" / "evaluation.json"
    before, untouched = json.loads(result.read_text()), kept.stat().st_mtime_ns
    result.unlink()
    with Run(folder, seed=0) as run:
        again = run_study(SMALL, run)
    after = json.loads(result.read_text())
    after.pop("same_data_as", None)
    before.pop("same_data_as", None)
    assert after == before
    assert kept.stat().st_mtime_ns == untouched
    assert again == summary


def test_the_same_training_data_are_not_trained_on_twice(finished, monkeypatch):
    folder, _ = finished
    replicate = Replicate(SMALL, folder, 0, 0)
    base = replicate.demonstrations("base")
    trained = []

    def train(self, folder, data, envs):
        folder.mkdir()
        trained.append(data)
        return {"success": 1.0}

    monkeypatch.setattr(Replicate, "make_envs", lambda _: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(Replicate, "_train_and_evaluate", train)
    monkeypatch.setattr(Replicate, "_data", lambda *_: base)
    replicate.condition("other", "copied", "")
    copied, original = (replicate.evaluation(*c) for c in (("other", "copied"), ("base", "base")))
    assert not trained and copied == original | {"same_data_as": "base-base"}
    conditions = folder / "replicate_0" / "conditions"
    weights = [
        (conditions / name / "checkpoint" / "weights.safetensors").read_bytes()
        for name in ("other-copied", "base-base")
    ]
    assert weights[0] == weights[1]
    monkeypatch.setattr(Replicate, "_data", lambda *_: base[:-1])
    replicate.condition("other", "shorter", "")
    assert len(trained) == 1 and "same_data_as" not in replicate.evaluation("other", "shorter")


def test_replicates_and_purposes_do_not_share_seeds(tmp_path):
    first, second = (Replicate(SMALL, tmp_path, 0, i) for i in (0, 1))
    drawn = [r.seeds(p, 50) for r in (first, second) for p in ("evaluate", "demonstrate base")]
    assert len({seed for seeds in drawn for seed in seeds}) == 200


@pytest.mark.parametrize(
    ("lengths", "count"),
    [([30, 35, 38], 10), ([34, 36, 36], 11), ([12], 1), ([16], 2), ([2], 1), ([500], 40)],
)
def test_matched_demonstrations_last_as_long(tmp_path, monkeypatch, lengths, count):
    config = dataclasses.replace(SMALL, conditions=("naive", "matched"))
    replicate = Replicate(config, tmp_path, 0, 0)
    assert (
        "matched" in replicate.datasets
        and "matched" not in Replicate(SMALL, tmp_path, 0, 0).datasets
    )
    lengths = {"base": [7], "other": lengths, "matched": [10] * 40}
    data = {
        name: [(np.full((n, 2), n), np.full((n, 1), i)) for i, n in enumerate(steps)]
        for name, steps in lengths.items()
    }
    monkeypatch.setattr(Replicate, "demonstrations", lambda _, name: data[name])
    base, *matched = replicate._data("other", "matched", "", None)
    assert len(base[1]) == 7
    assert [int(actions[0, 0]) for _, actions in matched] == list(range(count))


def test_matched_demonstrations_are_the_first_compatible_operators(tmp_path):
    operators = {"odd": OperatorConfig("diagonal")} | SMALL.operators
    replicate = Replicate(dataclasses.replace(SMALL, operators=operators), tmp_path, 0, 0)
    assert replicate._operator("matched") == ("base_twin", 4)


def test_the_random_control_drops_as_much_from_everything():
    base = [(np.full((9, 2), i), np.full((9, 1), i)) for i in range(30)]
    new = [(np.full((5, 2), i), np.full((5, 1), i)) for i in range(30, 40)]
    left = drop_runs(base + new, [5] * 10 + [0, 0], seed=0)
    assert sum(len(actions) for _, actions in left) == 30 * 9 + 10 * 5 - 50
    assert all(len(states) == len(actions) for states, actions in left)
    whole = {int(states[0, 0]) for states, _ in left if len(states) in (9, 5)}
    assert len(whole) == 30 + 10 - 10
    assert whole & set(range(30)) and whole & set(range(30, 40))  # not all of either


def test_the_random_control_drops_as_much_where_runs_are_longer_than_demonstrations():
    base = [(np.zeros((9, 2)), np.zeros((9, 1)))] * 30
    new = [(np.zeros((40, 2)), np.zeros((40, 1)))] * 5
    for seed in range(5):
        left = drop_runs(base + new, [40, 25, 7], seed)
        assert sum(len(actions) for _, actions in left) == 30 * 9 + 5 * 40 - 72
    assert sum(len(actions) for _, actions in drop_runs(base, [1000], 0)) == 0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"replicates": 0}, "replicates should"),
        ({"conditions": ()}, "conditions"),
        ({"heed": 1.5}, "heed should"),
        ({"horizon": 201}, "horizon: 201 is more than env.options.horizon"),
        ({"tuning_operators": {"twin": OperatorConfig("diagonal")}}, "'twin' is taken"),
        ({"tuning_operators": {"matched": OperatorConfig("diagonal")}}, "'matched' is taken"),
        ({"operators": {"base": OperatorConfig("diagonal")}}, "'base' is taken"),
        (
            {"conditions": ("repaired",), "verdict": "compatibility"},
            "'repaired' is for the verdict 'harm'",
        ),
        ({"filter_by": "pairs", "verdict": "harm"}, "'pairs' is not for the verdict 'harm'"),
        ({"replicate": 1}, "replicate: 1 is not below 1 replicates"),
        ({"replicate": 0, "gathered": "x"}, "not beside gathered"),
        (
            {
                "replicate": 0,
                "verdict": "compatibility",
                "tuning_operators": {"odd": OperatorConfig("diagonal")},
            },
            "replicate: the tuning operators of all replicates choose the statistic",
        ),
        ({"base": "bass"}, "did you mean 'base'"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_a_study_without_both_kinds_of_operators_is_refused():
    with pytest.raises(UserError, match="at least one compatible operator"):
        dataclasses.replace(SMALL, operators={"other": OperatorConfig("other_order")})
