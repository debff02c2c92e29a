"""The figures of a comparison as a table, for a terminal and for a page."""

from __future__ import annotations

from robolearn.comparing.compare import Comparison, Interval, Row

HEADER = ("condition", "runs", "mean", "IQM", "P(better than the base)")
ON_INTERVALS = "intervals (brackets, bars, bands): 95%, bootstrapped over runs"
MOST_NAMED = 3  # runs in a note
FEW_RUNS = "with fewer than 5 runs they are too narrow"


def rows_of(found: Comparison) -> list[tuple[str, ...]]:
    """Give a row of text for each condition, as HEADER has it; the base first."""
    return [_row(row) for row in found.rows]


def notes_of(found: Comparison) -> list[str]:
    """Say what the figures are, and what is to be kept in mind."""
    better = "less" if found.less_is_better else "more"
    notes = [f"{found.score}, {better} is better; {ON_INTERVALS}"]
    if found.few:
        notes[0] += f"; {FEW_RUNS}"
    if len(found.tasks) > 1:
        tasks = ", ".join(found.tasks)
        notes.append(f"{len(found.tasks)} tasks count together, on one scale: {tasks}")
    if found.left_out:
        named = ", ".join(map(str, found.left_out[:MOST_NAMED]))
        more = len(found.left_out) - MOST_NAMED
        others = f" and {more} more" if more > 0 else ""
        notes.append(f"left out, as they have not ended: {named}{others}")
    if len(found.commits) > 1:
        notes.append(f"made by different code: {', '.join(found.commits)}")
    return notes


def lines_of(found: Comparison) -> list[str]:
    """Set the table for a terminal, and the notes below it."""
    rows = [HEADER, *rows_of(found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:{'>' if i else '<'}{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [*lines, "", *notes_of(found)]


def number(value: float) -> str:
    """Write a number to four digits, a large one to the last before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _row(row: Row) -> tuple[str, ...]:
    better = "the base"
    if row.improvement is not None and row.improvement_interval is not None:
        low, high = (f"{end:.2f}" for end in row.improvement_interval)
        better = f"{row.improvement:.2f} ({low} to {high})"
    return (
        row.condition.name,
        str(row.runs),
        _with_interval(row.mean, row.mean_interval),
        _with_interval(row.iqm, row.iqm_interval),
        better,
    )


def _with_interval(value: float, interval: Interval) -> str:
    low, high = map(number, interval)
    return f"{number(value)} ({low} to {high})"
