"""``report.html``: the table, the picture and every run on one page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from robolearn.comparing.compare import Comparison
from robolearn.comparing.table import HEADER, notes_of, number, rows_of

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem;
        margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }}
th, td {{ padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid #e5e5e5; }}
th, td {{ white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; white-space: normal; overflow-wrap: anywhere;
                                 min-width: 12rem; }}
img {{ max-width: 100%; }}
p, summary {{ color: #555; }}
</style>
</head>
<body>
<h1>{title}</h1>
{table}
{notes}
<img alt="the same as a picture, with learning curves" src="data:image/png;base64,{picture}">
<details><summary>Every run</summary>
{runs}
</details>
</body>
</html>
"""


def page_of(found: Comparison, picture: Path) -> str:
    """Give the page; ``picture`` is put into it."""
    count = sum(row.runs for row in found.rows)
    return PAGE.format(
        title=html.escape(f"{found.score} of {count} runs"),
        table=_table(HEADER, rows_of(found)),
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in notes_of(found)),
        picture=base64.b64encode(picture.read_bytes()).decode(),
        runs=_table(("run", "condition", "task", "seed", found.score), list(_runs(found))),
    )


def _runs(found: Comparison) -> Iterator[tuple[str, ...]]:
    for row in found.rows:
        for task, scores in row.scores.items():
            for run, score in zip(row.condition.runs[task], scores, strict=True):
                seed = str(run.settings.get("seed"))
                yield str(run.folder), row.condition.name, task, seed, number(score)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        inside = "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells)
        return f"<tr>{inside}</tr>"

    lines = [line(header, "th"), *(line(row, "td") for row in rows)]
    return "\n".join(["<table>", *lines, "</table>"])
