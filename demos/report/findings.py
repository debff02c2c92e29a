"""What stands out in a dataset, in sentences, and by which lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pydantic
from annotated_types import Gt

from demos.report.measures import Measured
from demos.report.quality import Quality
from robolearn.settings import Settings, Share

Multiple = Annotated[float, Gt(1)]
MOST_NAMED = 4
FEW_STARTS = 1 / 3  # of the episodes: fewer are distinct
LEAST_STARTS = 10  # episodes of which that is said


@dataclass(frozen=True)
class Lines(Settings):
    """From where on an episode, or a dataset, stands out."""

    length: Multiple = 2.0
    """Times the median length, or less than one of so many parts of it."""
    jerk: Multiple = 2.0
    """Times the median jerk."""
    paused: Share = 0.2
    """Share of an episode's steps that are in pauses."""
    idle_s: pydantic.PositiveFloat = 1.0
    """Seconds without motion before the first motion, or after the last."""
    saturated: Share = 0.25
    """Share of an episode's steps at which an entry of the action is at its limit."""
    late: Share = 0.01
    """Share of the intervals between steps that are longer than 1.5 periods."""
    repeated: Share = 0.1
    """Share of the steps with motion at which a camera's image stays the same."""
    dark: Share = 0.1
    """Share of a camera's images in which nothing is seen."""
    duplicate: pydantic.PositiveFloat = 0.02
    """Distance of two episodes, in standard deviations, below which they are near duplicates."""
    even: Share = 0.5
    """Share of an entry's range at the starts that is filled, of what even draws would fill."""


@dataclass(frozen=True)
class Finding:
    """One thing that stands out: of which episodes, or of the dataset if there are none."""

    measure: str
    text: str
    episodes: tuple[str, ...] = ()


def findings_of(quality: Quality, lines: Lines) -> list[Finding]:
    """Say what stands out: what cannot be read first, then by episodes, then of the whole."""
    rules = (_unreadable, _failed, _lengths, _by_measure, _switching, _recorded, _alike, _starting)
    told = [finding for rule in rules for finding in rule(quality, lines)]
    return [*told, *_judged(quality)]


def flagged(findings: Sequence[Finding], measure: str) -> set[str]:
    """Name the episodes that stand out by a measure."""
    return {name for one in findings if one.measure == measure for name in one.episodes}


def named(names: Sequence[str]) -> str:
    """List names; of many the first four."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _which(
    quality: Quality, measure: str, text: str, beyond: Callable[[Measured], bool]
) -> Iterator[Finding]:
    """Yield a finding if some episodes are beyond a line."""
    names = tuple(one.name for one in quality.found if beyond(one))
    if names:
        count = f"{len(names)} of {len(quality.found)}"
        yield Finding(measure, f"{count} {text}: {named(names)}", names)


def _unreadable(quality: Quality, lines: Lines) -> Iterator[Finding]:
    if quality.unreadable:
        name, why = next(iter(quality.unreadable.items()))
        total = len(quality.found) + len(quality.unreadable)
        text = f"{len(quality.unreadable)} of {total} cannot be read; {name}: {why}"
        yield Finding("unreadable", text, tuple(quality.unreadable))


def _failed(quality: Quality, lines: Lines) -> Iterator[Finding]:
    yield from _which(quality, "success", "did not succeed", lambda e: e.success is False)


def _lengths(quality: Quality, lines: Lines) -> Iterator[Finding]:
    median = float(np.median([one.steps for one in quality.found]))
    long = f"are longer than {lines.length:g} times the median"
    yield from _which(quality, "length", long, lambda e: e.steps > lines.length * median)
    short = f"are shorter than 1/{lines.length:g} of the median"
    yield from _which(quality, "length", short, lambda e: e.steps < median / lines.length)


def _by_measure(quality: Quality, lines: Lines) -> Iterator[Finding]:
    jerk = [one.jerk for one in quality.found if np.isfinite(one.jerk)]
    line = lines.jerk * float(np.median(jerk)) if jerk else np.inf
    text = f"have more than {lines.jerk:g} times the median jerk"
    yield from _which(quality, "jerk", text, lambda e: e.jerk > line > 0)
    text = f"pause for more than {lines.paused:.0%} of their steps"
    yield from _which(quality, "pauses", text, lambda e: e.paused > lines.paused)
    if period_s := quality.scales.period_s:
        text = f"begin with more than {lines.idle_s:g} s without motion"
        yield from _which(quality, "idle", text, lambda e: e.idle_before * period_s > lines.idle_s)
        text = f"end with more than {lines.idle_s:g} s without motion"
        yield from _which(quality, "idle", text, lambda e: e.idle_after * period_s > lines.idle_s)
    worst = [
        f"{name} {share:.0%}"
        for name, share in zip(quality.scales.actions, saturation(quality), strict=True)
        if share > lines.saturated
    ]
    of_all = f" (of all steps: {', '.join(worst[:MOST_NAMED])})" if worst else ""
    text = f"have an action at its limit in more than {lines.saturated:.0%} of the steps{of_all}"
    yield from _which(quality, "saturation", text, lambda e: most(e.saturated) > lines.saturated)


def _switching(quality: Quality, lines: Lines) -> Iterator[Finding]:
    counts = [one.switches for one in quality.found if one.switches is not None]
    if not counts:
        return
    median = float(np.median(counts))
    if median >= 1:
        text = f"never switch the gripper (median: {median:g} times)"
        yield from _which(quality, "switches", text, lambda e: e.switches == 0)
    many = 2 * median + 2
    text = f"switch the gripper more than {many:g} times (median: {median:g})"
    yield from _which(quality, "switches", text, lambda e: (e.switches or 0) > many)


def _recorded(quality: Quality, lines: Lines) -> Iterator[Finding]:
    late = f"have more than {lines.late:.0%} of their steps later than 1.5 periods"
    yield from _which(
        quality, "stamps", late, lambda e: bool(e.stamps) and e.stamps.late > lines.late
    )
    back = "have time stamps that go back, or stand twice"
    yield from _which(quality, "stamps", back, lambda e: bool(e.stamps) and e.stamps.backwards > 0)
    for camera in quality.scales.cameras:
        text = f"have the same image of {camera} in more than {lines.repeated:.0%} of their motion"
        yield from _which(
            quality, "frames", text, lambda e, c=camera: e.repeated.get(c, 0.0) > lines.repeated
        )
        text = f"have more than {lines.dark:.0%} dark images of {camera}"
        yield from _which(
            quality, "frames", text, lambda e, c=camera: e.dark.get(c, 0.0) > lines.dark
        )


def _alike(quality: Quality, lines: Lines) -> Iterator[Finding]:
    pairs = [
        (one.name, quality.found[near.other].name)
        for one, near in zip(quality.found, quality.nearest, strict=True)
        if near is not None and near.distance < lines.duplicate
    ]
    if pairs:
        text = f"{len(pairs)} are nearly the same as another: {pairs[0][0]} as {pairs[0][1]}"
        rest = [name for name, _ in pairs[1:]]
        told = f"{text}; {named(rest)}" if rest else text
        yield Finding("duplicates", told, tuple(name for name, _ in pairs))


def _starting(quality: Quality, lines: Lines) -> Iterator[Finding]:
    starts, count = quality.starts, len(quality.found)
    if count < LEAST_STARTS or not len(quality.scales.spread):
        return
    if starts.distinct <= FEW_STARTS * count:
        yield Finding("starts", f"only {starts.distinct} distinct start states in {count} episodes")
        return
    uneven = [name for name, about in starts.entries.items() if about["filled"] < lines.even]
    if uneven:
        text = f"start states fill less than {lines.even:.0%} of their range in {named(uneven)}"
        yield Finding("starts", text)


def _judged(quality: Quality) -> Iterator[Finding]:
    judged = quality.compatibility.judged
    rejected = tuple(one.name for one in judged if one.verdict and not one.accepted)
    if rejected:
        text = f"{len(rejected)} of {len(judged)} would harm a policy cloned from "
        text += f"{quality.compatibility.base}: {named(rejected)}"
        yield Finding("harm", text, rejected)


def saturation(quality: Quality) -> np.ndarray:
    """Give the share [A] of all steps at which an entry is at its limit; NaN of what switches."""
    steps = np.array([one.steps for one in quality.found], float)
    shares = np.stack([one.saturated for one in quality.found])
    return (shares * steps[:, None]).sum(axis=0) / steps.sum()


def most(shares: np.ndarray) -> float:
    """Give the greatest of shares, but for those that are NaN."""
    known = shares[np.isfinite(shares)]
    return float(known.max()) if len(known) else 0.0
