"""How well harm is predicted, and what filtering wins back: the tables of ``harm.json``.

    python benchmarks/harm_summary.py

Reads what ``harm.py`` and ``harm_verdicts.py`` have measured so far and writes
``benchmarks/results/harm.json``: ``summary`` for the operators of the part "fresh", on which
nothing was chosen, ``looked_at`` for the others, each with

- ``spearman``: of the predicted harm (median over an operator's demonstrations, mean over the
  replicates in which harm was measured) and max(0, harm) over all pairs of task and operator;
  ``spearman_equal_length`` over those whose demonstrations are within 15% of the base's length;
  ``baselines``: the same for other predictors;
- ``candidates``: the same for what was proposed as a measure (``harm_candidates.py``), and for the
  judge (``judge``), the baselines beside it, on the same ``pairs`` and replicates;
- ``agreement``: Spearman of one replicate's harm and the mean of the others', mean over replicates:
  how far the truth agrees with itself;
- ``tasks``: of every operator ``harm`` in points with ``interval`` (Student, over replicates),
  ``harm_by_steps`` against as many steps of the compatible operator, ``rejected`` (share), and what
  share of the harm ``filtered_back``, ``informed_back``, ``repaired_back``, ``random_back`` won, of
  those that harm by 10 points, and ``base_back`` the base alone, without any of the operator's
  demonstrations; of others, and where those trainings show no harm, the points that filtering cost
  (``filtering_costs``).

Beside them, ``base`` is the share of the base's own held-out demonstrations that is rejected, and
``spoilt`` says of corruptions ``auc`` (mean, and least) and the share ``rejected`` of each.
"""

import json
import sys
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from harm import COMPATIBLE, JUDGED, PARTS, TASKS, measure_of, rows_of
from harm import ROWS as TRUTH
from harm_candidates import ROWS as CANDIDATES
from harm_verdicts import ROWS as VERDICTS
from keep import RESULTS, about
from scipy.stats import spearmanr

from demos.study.replicate import BASE, HELD_OUT
from robolearn.judging.verdicts import HarmJudgeConfig
from robolearn.loops.evaluate import student_interval

HARMFUL = 10.0  # points
EQUAL = 0.15  # of the base's length
BACK = {
    "filtered_back": "filtered",
    "informed_back": "informed",
    "repaired_back": "repaired",
    "random_back": "random_drop",
    "base_back": BASE,
}
Success = dict[tuple[str, str, str], dict[int, float]]  # task, operator, condition -> replicate ->


def main() -> None:
    """Put the tables together."""
    truth = rows_of(TRUTH)
    measure = measure_of(HarmJudgeConfig())
    decided = {name: measure_of(HarmJudgeConfig(), code) for name, code in JUDGED.items()}
    verdicts = [row for row in rows_of(VERDICTS) if row["measure"] == measure]
    success: Success = {}
    for row in truth:
        if row["condition"] in JUDGED and row.get("measure") != decided[row["condition"]]:
            continue  # another judge decided
        key = row["task"], row["operator"], row["condition"]
        success.setdefault(key, {})[row["replicate"]] = 100.0 * row["success"]
    found = about(["python", *sys.argv])
    found |= {"summary": part_of(("fresh",), success, verdicts)}
    found |= {"looked_at": part_of(("tuning", "apart", "last"), success, verdicts)}
    found |= {"base": _base(verdicts), "spoilt": _spoilt(verdicts)}
    (RESULTS / "harm.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


def part_of(parts: Sequence[str], success: Success, verdicts: list[dict]) -> dict:
    """Sum up the operators of some parts, as far as they were measured."""
    operators = [operator for part in parts for operator in PARTS[part]]
    measured = {
        (task, operator): found
        for task, operator in product(TASKS, operators)
        if (found := harm_of(success, task, operator))
    }
    judged = {
        pair: [
            row
            for row in verdicts
            if (row["task"], row["operator"]) == pair and row["replicate"] in found
            if "corruption" not in row
        ]
        for pair, found in measured.items()
    }
    pairs = [pair for pair in measured if judged[pair]]
    harms = {pair: float(np.mean(list(measured[pair].values()))) for pair in pairs}
    alike = [
        pair for pair in pairs if abs(np.log(_relative_length(judged, verdicts, pair))) < EQUAL
    ]
    names = judged[pairs[0]][0]["baselines"] if pairs else ()
    base = {task: _base_length(verdicts, task) for task in TASKS}
    predictors = {n: lambda r, n=n: r["baselines"][n] for n in names}
    predictors["length"] = lambda r: r["baselines"]["length"] / base[r["task"]]
    return {
        "pairs": len(pairs),
        "replicates": sum(len(measured[pair]) for pair in pairs),
        "spearman": _spearman(pairs, harms, judged, _predicted),
        "spearman_equal_length": _spearman(alike, harms, judged, _predicted),
        "pairs_equal_length": len(alike),
        "baselines": {n: _spearman(pairs, harms, judged, p) for n, p in predictors.items()},
        "candidates": _candidates(pairs, harms, judged, predictors),
        "agreement": _agreement({pair: measured[pair] for pair in pairs}),
        "tasks": {
            task: {
                operator: operator_of(success, measured[task, operator], judged, task, operator)
                for _, operator in (pair for pair in pairs if pair[0] == task)
            }
            for task in dict.fromkeys(task for task, _ in pairs)
        },
    }


def harm_of(success: Success, task: str, operator: str, against: str = "") -> dict[int, float]:
    """Give the points lost in each replicate in which both sides were measured."""
    mine = success.get((task, operator, "naive"), {})
    if against:
        good = success.get((task, operator, against), {})
    else:
        both = [success.get((task, name, "naive"), {}) for name in COMPATIBLE]
        good = {i: float(np.mean([b[i] for b in both])) for i in mine if all(i in b for b in both)}
    return {i: good[i] - mine[i] for i in mine if i in good}


def operator_of(
    success: Success, harms: dict[int, float], judged: dict, task: str, operator: str
) -> dict:
    """Give the figures of one operator at one task."""
    found = list(harms.values())
    harm, by_steps = float(np.mean(found)), harm_of(success, task, operator, "matched")
    figures = {
        "harm": harm,
        "interval": student_interval(found),
        "replicates": len(found),
        "harm_by_steps": float(np.mean(list(by_steps.values()))) if by_steps else None,
        "predicted": float(np.mean([r["harm"] for r in judged[task, operator]])),
        "rejected": float(np.mean([r["rejected"] for r in judged[task, operator]])),
    }
    naive = success[task, operator, "naive"]
    for name, condition in BACK.items():
        whose = BASE if condition == BASE else operator
        after = success.get((task, whose, condition), {})
        both = [i for i in harms if i in after]
        if both:
            gain = float(np.mean([after[i] - naive[i] for i in both]))
            lost = float(np.mean([harms[i] for i in both]))
            if harm >= HARMFUL and lost > 0:
                figures[name] = gain / lost
            elif condition == "filtered":
                figures["filtering_costs"] = -gain
    return figures


def _predicted(row: dict) -> float:
    return row["harm"]


def _spearman(
    pairs: Sequence[tuple], harms: dict, judged: dict, predict: Callable[[dict], float]
) -> float | None:
    if len(pairs) < 3:
        return None
    predicted = [np.mean([predict(row) for row in judged[pair]]) for pair in pairs]
    rho = float(spearmanr(predicted, [max(0.0, harms[pair]) for pair in pairs]).statistic)
    return rho if np.isfinite(rho) else None


def _candidates(
    pairs: Sequence[tuple], harms: dict, judged: dict, predictors: dict[str, Callable]
) -> dict[str, float | None]:
    """Hold what was proposed against the same harm as the judge, on the same demonstrations."""
    told = {
        (row["task"], row["operator"], row["replicate"]): row["candidates"]
        for row in rows_of(CANDIDATES)
    }
    both = {
        pair: [
            row | {"candidates": told[*pair, row["replicate"]]}
            for row in judged[pair]
            if (*pair, row["replicate"]) in told
        ]
        for pair in pairs
    }
    some = [pair for pair in pairs if both[pair]]
    names = both[some[0]][0]["candidates"] if some else ()
    beside = {"judge": _predicted} | predictors
    beside |= {n: lambda r, n=n: r["candidates"][n] for n in names}
    found = {n: _spearman(some, harms, both, predict) for n, predict in beside.items()}
    return {"pairs": len(some)} | found


def _agreement(measured: dict[tuple, dict[int, float]]) -> float | None:
    """Give how well the other replicates' harm predicts that of one."""
    several = {pair: found for pair, found in measured.items() if len(found) > 1}
    rhos = []
    for one in sorted({i for found in several.values() for i in found}):
        with_it = [found for found in several.values() if one in found]
        if len(with_it) > 2:
            mine = [max(0.0, found[one]) for found in with_it]
            others = [np.mean([h for i, h in found.items() if i != one]) for found in with_it]
            rhos.append(spearmanr(mine, np.maximum(0.0, others)).statistic)
    return float(np.mean(rhos)) if rhos else None


def _relative_length(judged: dict, verdicts: list[dict], pair: tuple[str, str]) -> float:
    mine = np.mean([r["baselines"]["length"] for r in judged[pair]])
    return float(mine / _base_length(verdicts, pair[0]))


def _base_length(verdicts: list[dict], task: str) -> float:
    """Give the mean length of the base's held-out demonstrations, steps; 1 if nobody knows it."""
    own = [
        r["baselines"]["length"]
        for r in verdicts
        if (r["task"], r["operator"]) == (task, HELD_OUT) and "baselines" in r
    ]
    return float(np.mean(own)) if own else 1.0


def _base(verdicts: list[dict]) -> dict[str, float]:
    """Give the share of the base's own held-out demonstrations that is rejected."""
    return {
        task: float(np.mean([r["rejected"] for r in own]))
        for task in TASKS
        if (
            own := [
                r
                for r in verdicts
                if r["task"] == task and r["operator"] == HELD_OUT and "corruption" not in r
            ]
        )
    }


def _spoilt(verdicts: list[dict]) -> dict[str, dict]:
    """Give for each task and kind of action how well spoilt demonstrations are told apart."""
    tables = {}
    for row in (r for r in verdicts if "corruption" in r):
        key = f"{row['task']}, {row['actions']}"
        ways = tables.setdefault(key, {}).setdefault(row["corruption"], [])
        ways.append((row["auc"], row["rejected"]))
    return {
        key: {
            "auc": float(np.mean([auc for way in ways.values() for auc, _ in way])),
            "least_auc": float(min(np.mean([auc for auc, _ in way]) for way in ways.values())),
            "rejected": {n: float(np.mean([share for _, share in w])) for n, w in ways.items()},
        }
        for key, ways in tables.items()
    }


if __name__ == "__main__":
    main()
