import json

import numpy as np
import pytest

from demos.study.config import OperatorConfig, StudyConfig
from demos.study.replicate import HARM
from demos.study.results import auc, auc_of, choose_statistic, rejected_share, summarise
from robolearn.algos.compatibility import STATISTICS
from robolearn.running.config import EnvConfig

OPERATORS = {
    "twin": OperatorConfig("base_twin", compatible=True),
    "other": OperatorConfig("other_order"),
    "mild": OperatorConfig("diagonal"),
}


def config(**changes):
    values = {"env": EnvConfig("robosuite/Lift"), "operators": OPERATORS, "episodes": 10}
    return StudyConfig(**values | changes)


def scores(**values):
    """One statistic's values per operator; all other statistics are blind, all p-values 1."""
    blind = {name: (0.0, 1.0) for name in (*STATISTICS, HARM)}
    return {
        operator: [blind | {statistic: (v, p)} for statistic, v, p in rows]
        for operator, rows in values.items()
    }


def test_auc_counts_pairs_and_halves_ties():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 4, 7), rng.integers(0, 4, 5)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs))


def test_auc_is_taken_within_a_replicate_and_then_averaged():
    first = scores(twin=[("count", 1, 1)], other=[("count", 2, 1)])
    second = scores(twin=[("count", 30, 1)], other=[("count", 20, 1)])
    assert auc_of([first, second], "count", ["other"], ["twin"]) == 0.5


def test_the_statistic_is_chosen_on_tuning_operators_by_the_worst_of_them():
    tuning = {
        "like": OperatorConfig("base_twin", compatible=True),
        "a": OperatorConfig("diagonal"),
        "b": OperatorConfig("other_order"),
    }

    def rows(like, a, b):
        return {"like": like, "a": a, "b": b}

    def value(count, mean):
        blind = {name: (0.0, 1.0) for name in (*STATISTICS, HARM)}
        return [blind | {"count": (count, 1.0), "mean_error": (mean, 1.0)}]

    found = rows(like=value(1, 1), a=value(9, 2), b=value(0, 2))  # count is blind to b
    assert (
        choose_statistic(config(tuning_operators=tuning, verdict="compatibility"), [found])
        == "mean_error"
    )


def test_without_tuning_operators_the_configured_statistic_stays():
    paper = config(verdict="compatibility")
    assert choose_statistic(paper, []) == paper.judge.statistic


def test_rejected_share_pools_replicates():
    found = [scores(a=[("count", 1, 0.05), ("count", 1, 0.2)]), scores(a=[("count", 1, 0.01)])]
    assert rejected_share(found, "count", "a", 0.05) == pytest.approx(2 / 3)


def test_by_harm_those_are_rejected_that_are_beyond_their_line():
    found = [scores(a=[(HARM, 1.1, 0.5), (HARM, 1.0, 0.01)]), scores(a=[(HARM, 2.0, 0.5)])]
    assert rejected_share(found, HARM, "a", 0.05) == pytest.approx(2 / 3)


def test_nothing_is_chosen_where_harm_decides():
    assert choose_statistic(config(verdict="harm"), []) == HARM


class FakeReplicate:
    """Results as files would hold them."""

    def __init__(self, success):
        self.success = success

    def scores(self):
        row = {name: (1.0, 0.5) for name in (*STATISTICS, HARM)}
        return {name: [row] for name in ("base_held_out", *OPERATORS)}

    def evaluation(self, operator, condition):
        success = self.success[operator, condition]
        return {"success": success, "episodes": 10, "demonstrations": 3}


def test_summary_pools_success_and_says_what_was_won_back():
    success = {("base", "base"): 0.6}
    for name, naive, filtered in (("twin", 0.8, 0.8), ("other", 0.2, 0.7), ("mild", 0.75, 0.8)):
        success |= {(name, "naive"): naive, (name, "filtered"): filtered, (name, "matched"): 0.9}
    study = config(conditions=("naive", "matched", "filtered"), replicates=2)
    summary = summarise(study, [FakeReplicate(success)] * 2, "count")
    other = summary["operators"]["other"]
    assert summary["base"]["episodes"] == 20
    assert summary["base"]["success"] == pytest.approx(0.6)
    assert other["harm"] == pytest.approx(0.6)
    assert other["harm_of_steps"] == pytest.approx(0.7)
    assert other["filtered"]["won_back"] == pytest.approx(5 / 6)
    assert "won_back" not in summary["operators"]["mild"]["filtered"]  # harm of half a step
    assert summary["false_rejection_rate"] == 0.0
    json.dumps(summary)
