"""The report as a table on a terminal, and as ``report.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from demos.report.findings import Finding, Lines, most, saturation
from demos.report.measures import Measured
from demos.report.operators import Compatibility
from demos.report.quality import Quality
from demos.report.scales import quantiles
from robolearn.judging.groups import summary_of

HEADS = ("", "5 %", "median", "95 %", "greatest")
GAP = "   "


def series(quality: Quality) -> dict[str, tuple[str, list[float]]]:
    """Give each measure's unit, and its value of every episode (NaN where there is none)."""
    found, period_s = quality.found, quality.scales.period_s
    unit, scale = ("s", period_s) if period_s else ("steps", 1.0)
    told = {
        "length": (unit, [one.steps * scale for one in found]),
        "jerk": (quality.unit_of_jerk, [one.jerk for one in found]),
        "log dimensionless jerk": ("", [one.smoothness for one in found]),
        "paused": ("%", [100 * one.paused for one in found]),
        "longest pause": (unit, [one.longest_pause * scale for one in found]),
        "idle before the first motion": (unit, [one.idle_before * scale for one in found]),
        "idle after the last": (unit, [one.idle_after * scale for one in found]),
        "at a limit": ("%", [100 * most(one.saturated) for one in found]),
        "gripper switches": ("", [_or_nan(one.switches) for one in found]),
        "late steps": ("%", [100 * _stamp(one, "late") for one in found]),
        "longest interval": ("ms", [1e3 * _stamp(one, "longest_s") for one in found]),
        "nearest other episode": ("sd", [n.distance if n else np.nan for n in quality.nearest]),
    }
    for camera in quality.scales.cameras:
        same = [100 * one.repeated.get(camera, np.nan) for one in found]
        told[f"{camera}: same image"] = ("%", same)
    return {name: both for name, both in told.items() if np.isfinite(both[1]).any()}


def lines_of(quality: Quality, findings: Sequence[Finding]) -> Iterator[str]:
    """Lay the report out as lines of text."""
    yield headline(quality)
    yield from quality.notes
    yield ""
    rows = [HEADS]
    for name, (unit, values) in series(quality).items():
        told = quantiles(values)
        figures = [_short(told[key]) for key in ("q05", "median", "q95", "greatest")]
        rows.append((f"{name} ({unit})" if unit else name, *figures))
    yield from _laid_out(rows)
    yield from _starts(quality)
    yield from _operators(quality)
    yield ""
    yield "what stands out:" if findings else "nothing stands out"
    yield from (f"  {one.text}" for one in findings)


def headline(quality: Quality) -> str:
    """Say how much there is: episodes, steps, minutes, operators."""
    steps = sum(one.steps for one in quality.found)
    said = [f"{len(quality.found)} episodes", f"{steps:,} steps"]
    if quality.rate_hz:
        minutes = steps / quality.rate_hz / 60
        lasted = f"{minutes:.1f} min" if minutes >= 1 else f"{60 * minutes:.1f} s"
        said.append(f"{lasted} at {quality.rate_hz:g} Hz")
    else:
        said.append("at an unknown rate")
    count = len(quality.operators)
    said.append(f"{count} operator{'s' * (count != 1)}")
    return f"{quality.name} ({quality.format}): {', '.join(said)}"


def _starts(quality: Quality) -> Iterator[str]:
    starts = quality.starts
    if not len(quality.scales.spread):
        return
    yield ""
    told = f"start states: {starts.distinct} distinct"
    if starts.entries:
        worst = min(starts.entries, key=lambda name: starts.entries[name]["filled"])
        filled = starts.entries[worst]["filled"]
        told += f"; entries that vary: {len(starts.entries)}, least evenly {worst}"
        told += f" ({filled:.0%} of its range)"
    yield told


def _operators(quality: Quality) -> Iterator[str]:
    compatibility, groups = quality.compatibility, quality.compatibility.groups
    yield ""
    if compatibility.why_not:
        yield f"compatibility: not judged: {compatibility.why_not}"
    else:
        yield f"compatibility: base {compatibility.base} ({compatibility.chosen})"
        yield from compatibility.notes
    if len(quality.operators) < 2 and not groups:
        return
    heads = ["operator", "episodes", "succeeded", "length", "jerk", "paused", "accepted", "harm"]
    rows: list[Sequence[str]] = [heads]
    for name, some in quality.operators.items():
        rows.append((name, *_of_operator(quality, some), *_verdict(compatibility, name)))
    yield from _laid_out(rows)


def _of_operator(quality: Quality, some: Sequence[Measured]) -> list[str]:
    period_s = quality.scales.period_s or 1.0
    known = [one.success for one in some if one.success is not None]
    return [
        str(len(some)),
        f"{np.mean(known):.0%}" if known else "-",
        _short(np.median([one.steps for one in some]) * period_s),
        _short(np.median([one.jerk for one in some])),
        f"{np.median([one.paused for one in some]):.0%}",
    ]


def _verdict(compatibility: Compatibility, name: str) -> tuple[str, str]:
    judged = compatibility.groups.get(name)
    if judged:
        told = summary_of(judged)
        return f"{told['accepted']:.0%}", "-" if told["harm"] is None else f"{told['harm']:.2f}"
    if name == compatibility.base and compatibility.own:
        return "base", f"{np.median(list(compatibility.own.values())):.2f}"
    return "-", "-"


def _laid_out(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        yield GAP.join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]).rstrip()


def _short(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _stamp(one: Measured, name: str) -> float:
    return float("nan") if one.stamps is None else getattr(one.stamps, name)


def as_json(quality: Quality, findings: Sequence[Finding], lines: Lines) -> dict[str, Any]:
    """Give all that is known as plain values, arrays among them."""
    scales, compatibility, starts = quality.scales, quality.compatibility, quality.starts
    names = [one.name for one in quality.found]
    return {
        "dataset": quality.name,
        "format": quality.format,
        "episodes": len(quality.found),
        "steps": sum(one.steps for one in quality.found),
        "rate_hz": quality.rate_hz or None,
        "motion": {"what": scales.motion.what, "unit_of_jerk": quality.unit_of_jerk},
        "lines": dataclasses.asdict(lines),
        "measures": {
            name: {"unit": unit, **quantiles(values)}
            for name, (unit, values) in series(quality).items()
        },
        "saturated": dict(zip(scales.actions, saturation(quality), strict=True)),
        "starts": {"distinct": starts.distinct, "entries": starts.entries},
        "compatibility": {
            "base": compatibility.base or None,
            "chosen": compatibility.chosen,
            "not_judged": compatibility.why_not or None,
            "operators": {name: summary_of(some) for name, some in compatibility.groups.items()},
            "demonstrations": [one.summary() for one in compatibility.judged],
        },
        "findings": [dataclasses.asdict(one) for one in findings],
        "unreadable": quality.unreadable,
        "each": {
            one.name: one.summary(scales.period_s)
            | {"nearest": near and {"episode": names[near.other], "distance": near.distance}}
            for one, near in zip(quality.found, quality.nearest, strict=True)
        },
    }
