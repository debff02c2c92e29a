"""From the files of a study to its summary: AUCs, false-rejection rate, success by condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from demos.study.config import StudyConfig
from demos.study.replicate import HARM, HELD_OUT, Replicate, Scores
from robolearn.algos.compatibility import STATISTICS
from robolearn.loops.evaluate import wilson_interval

PAPER = "count"  # the paper's statistic of a demonstration


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Give the probability that a positive is above a negative, ties counting half."""
    return float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))


def auc_of(
    scores: Sequence[Scores], statistic: str, incompatible: Sequence[str], compatible: Sequence[str]
) -> float:
    """Tell operators apart by a statistic, in every replicate by itself; give the mean AUC."""
    return float(
        np.mean(
            [
                auc(_values(s, incompatible, statistic), _values(s, compatible, statistic))
                for s in scores
            ]
        )
    )


def choose_statistic(config: StudyConfig, scores: Sequence[Scores]) -> str:
    """Choose on the tuning operators: the best AUC, then most rejections, of the worst of them.

    Without a compatible tuning operator and one that is not, it is the configured statistic. Harm
    is the same for every task: nothing is chosen.
    """
    if config.verdict == "harm":
        return HARM
    compatible, incompatible = _sides(config.tuning_operators)
    if not compatible or not incompatible:
        return config.judge.statistic
    alpha = config.judge.false_rejection_rate

    def merit(statistic: str) -> tuple[float, float]:
        return (
            min(auc_of(scores, statistic, [name], compatible) for name in incompatible),
            min(rejected_share(scores, statistic, name, alpha) for name in incompatible),
        )

    return max(STATISTICS, key=merit)


def rejected_share(scores: Sequence[Scores], statistic: str, operator: str, alpha: float) -> float:
    """Give the share of an operator's demonstrations that are ``rejected``."""
    found = [row[statistic] for s in scores for row in s[operator]]
    return float(rejected(found, statistic, alpha).mean())


def rejected(found: Sequence[tuple[float, float]], statistic: str, alpha: float) -> np.ndarray:
    """Say which demonstrations are rejected [N]; ``found`` are values with their p-values [N, 2].

    By harm those are rejected that are beyond their line, 1, by others those of at most alpha.
    """
    values, p_values = np.array(found).T
    return values > 1.0 if statistic == HARM else p_values <= alpha


def summarise(
    config: StudyConfig, replicates: Sequence[Replicate], statistic: str
) -> dict[str, Any]:
    """Give the summary of a finished study.

    Success intervals are Wilson's over the episodes of all replicates; ``by_replicate`` shows how
    much training seeds and demonstrations add to that.
    """
    scores = [r.scores() for r in replicates]
    compatible, incompatible = _sides(config.operators)
    alpha = config.judge.false_rejection_rate
    operators = {
        name: {
            "compatible": operator.compatible,
            "style": operator.style,
            "rejected_share": rejected_share(scores, statistic, name, alpha),
        }
        | {c: _pooled([r.evaluation(name, c) for r in replicates]) for c in config.conditions}
        for name, operator in config.operators.items()
    }
    _add_harm(operators, compatible)
    by_statistic = {
        name: {o: auc_of(scores, name, [o], compatible) for o in incompatible}
        for name in (*STATISTICS, HARM)
    }
    return {
        "task": config.env.name,
        "replicates": config.replicates,
        "statistic": statistic,
        "filter_by": config.filter_by,
        "alpha": alpha,
        "auc": auc_of(scores, statistic, incompatible, compatible),
        "auc_by_operator": by_statistic[statistic],
        "auc_paper": auc_of(scores, PAPER, incompatible, compatible),
        "auc_paper_by_operator": by_statistic[PAPER],
        "auc_by_statistic": by_statistic,
        "false_rejection_rate": rejected_share(scores, statistic, HELD_OUT, alpha),
        "held_out_demonstrations": sum(len(s[HELD_OUT]) for s in scores),
        "base": _pooled([r.evaluation("base", "base") for r in replicates]),
        "operators": operators,
    }


def _sides(operators: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Name the compatible operators and the others."""
    compatible = [name for name, operator in operators.items() if operator.compatible]
    return compatible, [name for name in operators if name not in compatible]


def _values(scores: Scores, operators: Sequence[str], statistic: str) -> list[float]:
    return [row[statistic][0] for name in operators for row in scores[name]]


def _pooled(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put the evaluations of all replicates together."""
    episodes = sum(e["episodes"] for e in evaluations)
    successes = round(sum(e["success"] * e["episodes"] for e in evaluations))
    return {
        "success": successes / episodes,
        "interval": list(wilson_interval(successes, episodes)),
        "episodes": episodes,
        "by_replicate": [e["success"] for e in evaluations],
        "demonstrations": float(np.mean([e["demonstrations"] for e in evaluations])),
    }


def _add_harm(operators: dict[str, dict[str, Any]], compatible: Sequence[str]) -> None:
    """Add the harm of each operator's data, and what share of it each condition wins back.

    harm = (naive success with compatible operators, their mean) - (naive success with this one)
    harm_of_steps = (success with as many steps of a compatible operator) - (naive with this one)
    """
    if any("naive" not in operator for operator in operators.values()):
        return
    best = float(np.mean([operators[name]["naive"]["success"] for name in compatible]))
    for operator in operators.values():
        naive = operator["naive"]["success"]
        operator["harm"] = best - naive
        if "matched" in operator:
            operator["harm_of_steps"] = operator["matched"]["success"] - naive
        for condition in ("filtered", "repaired", "random_drop", "informed"):
            if condition in operator and operator["harm"] >= 0.1:
                gain = operator[condition]["success"] - naive
                operator[condition]["won_back"] = gain / operator["harm"]
