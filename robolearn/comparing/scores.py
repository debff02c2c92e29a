"""The one number of a run that counts, out of its summary."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robolearn.errors import DataError, UserError, nearest
from robolearn.running.launch import flat

SUMMARY = "summary.json"
USUAL = (  # the first that a summary has
    "success", "return", "coverage", "auc", "best", "error_m", "validation_loss",
)  # fmt: skip
COSTS = ("loss", "error", "error_m", "violations")  # ends of names of which less is better
COUNTS = ("steps", "episodes", "replay_bytes", "demonstrations", "transitions", "length")


class Score(NamedTuple):
    """``evaluation.return`` and its value."""

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.name.rpartition('.')[2]} {self.value:.4g}"


def read_summary(run: Path) -> dict[str, Any]:
    """Read what a run found; DataError if it is missing or damaged."""
    file = run / SUMMARY
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: damaged: {error}") from error
    if not isinstance(summary, dict):
        raise DataError(f"{file}: damaged: no mapping")
    return summary


def score_of(summary: Mapping[str, Any], name: str | None = None) -> Score | None:
    """Give the entry ``name`` ("evaluation.return"), or the usual one; None if there is no number.

    Usual is, of an evaluation over whole episodes, the return, of another the success; without an
    evaluation the first of ``USUAL``, then the first number that is no mere count.
    """
    numbers = dict(_numbers(summary))
    name = name or _usual(summary, numbers)
    return None if name not in numbers else Score(name, numbers[name])


def require_score(summary: Mapping[str, Any], name: str | None, where: str) -> Score:
    """Give the score; UserError that begins with ``where`` if there is none."""
    found = score_of(summary, name)
    if found is None:
        numbers = dict(_numbers(summary))
        wrong = "no number to compare" if name is None else f"no number '{name}'"
        raise UserError(f"{where}: {wrong} in it{nearest(name or '', numbers)}")
    return found


def is_cost(name: str) -> bool:
    """Say whether less of it is better."""
    return any(name.endswith(end) for end in COSTS)


def _numbers(summary: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in flat(summary).items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)


def _usual(summary: Mapping[str, Any], numbers: Mapping[str, float]) -> str | None:
    evaluation = summary.get("evaluation")
    if isinstance(evaluation, dict) and "whole" in evaluation:
        name = "evaluation.return" if evaluation["whole"] else "evaluation.success"
        if name in numbers:
            return name
    ends = {name.rpartition(".")[2]: name for name in reversed(numbers)}
    known = [ends[end] for end in USUAL if end in ends]
    others = [name for name in numbers if name.rpartition(".")[2] not in COUNTS]
    return next(iter(known + others), None)
