"""A table of kept results, as Markdown: means over seeds, with the range.

    python benchmarks/table.py slim variant coverage lift_share violations_per_episode.thrown

Reads ``benchmarks/results/<name>.json``. Rows that agree in the first column, in which commas join
several (``env,engine``), are summed up; a dot leads into a mapping. Missing values are left out.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def value(row: dict, name: str) -> Any:
    """Give the value that a name with dots leads to, None if there is none."""
    return reduce(lambda found, key: (found or {}).get(key), name.split("."), row)


def cell(values: Sequence[float | None]) -> str:
    """Say the mean of what there is, and from where to where it goes."""
    found = [float(value) for value in values if value is not None]
    if not found:
        return ""
    told = (sum(found) / len(found), min(found), max(found))
    mean, low, high = (f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}" for x in told)
    return mean if low == high else f"{mean} ({low} to {high})"


def table(rows: Sequence[dict], group: str, names: Sequence[str]) -> Iterator[str]:
    """Give the lines of a table with a row for each group, in the order in which they appear."""
    groups = defaultdict(list)
    for row in rows:
        groups[", ".join(str(value(row, name)) for name in group.split(","))].append(row)
    yield " | ".join(["", group, "runs", *(name.rpartition(".")[2] for name in names), ""]).strip()
    yield "|" + "---|" * (len(names) + 2)
    for found, members in groups.items():
        cells = [cell([value(row, name) for row in members]) for name in names]
        yield " | ".join(["", found, str(len(members)), *cells, ""]).strip()


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: table.py RESULTS GROUP COLUMN [COLUMN ...]")
    name, group, *names = sys.argv[1:]
    kept = json.loads((RESULTS / f"{name}.json").read_text())
    print(*table(kept["rows"], group, names), sep="\n")
