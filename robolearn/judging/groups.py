"""Verdicts on many demonstrations: who they come from, and what is most often said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.judging.harm import HarmVerdict

MECHANISMS = {
    "tempo": "slower than the base",
    "direction": "goes another way",
    "commands": "commands do not go with the motion",
}
COLUMN_GAP = "   "


@dataclass(frozen=True)
class Judged:
    """A demonstration and what the judge says of it."""

    name: str
    operator: str
    verdict: HarmVerdict

    def summary(self) -> dict[str, Any]:
        """Give all that is known of it, as plain values."""
        verdict = self.verdict
        return {
            "name": self.name,
            "operator": self.operator,
            "steps": len(verdict.lost),
            "accepted": verdict.accepted,
            "harm": verdict.harm,
            "p_value": verdict.p_value,
            "progress_lost": verdict.progress_lost,
            "command_mismatch": verdict.command_mismatch,
            "clipped": verdict.clipped,
            "reasons": [vars(reason) for reason in verdict.reasons],
        }


def grouped(found: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Sort demonstrations by operator, each once, in the order in which they first come."""
    groups: dict[str, list[Judged]] = {}
    for one in found:
        groups.setdefault(one.operator, []).append(one)
    return groups


def reasons_of(found: Sequence[Judged]) -> dict[str, int]:
    """Count the worst reason's mechanism of those that are rejected, most frequent first."""
    worst = [one.verdict.reasons[0].mechanism for one in found if one.verdict.reasons]
    return dict(Counter(worst).most_common())


def summary_of(found: Sequence[Judged]) -> dict[str, Any]:
    """Put a group's verdicts together: shares and medians."""
    verdicts = [one.verdict for one in found]
    return {
        "demonstrations": len(found),
        "accepted": float(np.mean([v.accepted for v in verdicts])),
        "harm": float(np.median([v.harm for v in verdicts])),
        "progress_lost": float(np.median([v.progress_lost for v in verdicts])),
        "reasons": reasons_of(found),
    }


def table_of_groups(groups: Mapping[str, Sequence[Judged]]) -> str:
    """Lay groups out as lines of text: how many, what share is accepted, medians, why."""
    heads = ("operator", "demonstrations", "accepted", "harm", "progress lost", "most often")
    return _table([heads, *(_row(name, found) for name, found in groups.items())])


def table_of_each(found: Sequence[Judged]) -> str:
    """Lay demonstrations out as lines of text, in their order."""
    rows = [("demonstration", "operator", "accepted", "harm", "progress lost", "why")]
    for one in found:
        verdict = one.verdict
        accepted, why = "yes" if verdict.accepted else "no", said(verdict)
        figures = f"{verdict.harm:.2f}", f"{verdict.progress_lost:.0%}"
        rows.append((one.name, one.operator, accepted, *figures, why))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Put names at the left of the first column, reasons at the left of the last one."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [str.ljust, *[str.rjust] * (len(widths) - 2), str.ljust]
    lines = [
        [align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)]
        for row in rows
    ]
    return "\n".join(COLUMN_GAP.join(line).rstrip() for line in lines)


def _row(name: str, found: Sequence[Judged]) -> tuple[str, ...]:
    of = summary_of(found)
    share, lost = f"{of['accepted']:.0%}", f"{of['progress_lost']:.0%}"
    return (name, str(len(found)), share, f"{of['harm']:.2f}", lost, _most_often(found))


def _most_often(found: Sequence[Judged]) -> str:
    """Say the most frequent reason, and in how many."""
    counts = reasons_of(found)
    if not counts:
        return ""
    mechanism, count = next(iter(counts.items()))
    rejected = sum(not one.verdict.accepted for one in found)
    return f"{MECHANISMS.get(mechanism, mechanism)} ({count} of {rejected} rejected)"


def said(verdict: HarmVerdict) -> str:
    """Say all reasons of a verdict, the worst first; "" where there are none."""
    return "; ".join(reason.text for reason in verdict.reasons)


def worst(found: Sequence[Judged], count: int) -> Iterator[str]:
    """Say of the most harmful demonstrations, those that are rejected, why; a line each."""
    rejected = [one for one in found if not one.verdict.accepted]
    for one in sorted(rejected, key=lambda one: -one.verdict.harm)[:count]:
        yield f"{one.name} ({one.operator}), harm {one.verdict.harm:.2f}: {said(one.verdict)}"
