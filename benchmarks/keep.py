"""Run a benchmark or a launch file and keep its results under ``benchmarks/results/``.

    python benchmarks/keep.py render -- python benchmarks/render.py
    python benchmarks/keep.py quickstart -- robolearn quickstart

A benchmark prints JSON lines, which become ``rows``; a launch file's ``summary.json`` becomes
``summary``. Beside them stand the command, the commit and the machine.
"""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from robolearn.running.run import MEASURED

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the command after ``--`` and write ``results/<name>.json``."""
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        sys.exit("usage: keep.py NAME -- COMMAND ...")
    name, _, *command = sys.argv[1:]
    kept = about(command)
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{result.stdout}{' '.join(command)}: exit code {result.returncode}; not kept")
    rows = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    kept |= {"rows": rows} if rows else {"summary": _summary(result.stdout)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def about(command: list[str]) -> dict[str, str]:
    """Say by which command, from which commit and on which machine results were made."""
    return {"command": " ".join(command), "commit": commit(), "machine": _machine()}


def gather(rows: Path) -> None:
    """Put the rows of ``results/<name>.jsonl``, which come one by one, into ``<name>.json``.

    Each row says itself of which commit it is.
    """
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    kept = {"command": " ".join(["python", *sys.argv]), "rows": found}
    rows.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")


def _summary(output: str) -> dict:
    """Read the summary whose path the command line printed last."""
    return json.loads(Path(output.strip().splitlines()[-1]).read_text())


def commit() -> str:
    """Name the commit that the code is of; results that were added since do not count."""

    def git(*arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], text=True, cwd=RESULTS.parent).strip()

    changes = git("status", "--porcelain", "--", ":/", MEASURED)
    return git("rev-parse", "HEAD") + (" with changes" if changes else "")


def short_commit() -> str:
    """Do the same by the first digits."""
    digits, *changes = commit().split(maxsplit=1)
    return " ".join([digits[:12], *changes])


def _machine() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    processor = found.group(1) if found else platform.processor()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
