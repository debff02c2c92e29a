"""Where a benchmark's rows are kept: ``benchmarks/results/<name>.json``."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows with the command, the commit and the machine that gave them."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} processors, Python {sys.version.split()[0]}"
    command = " ".join(["python", *sys.argv])
    result = {"command": command, "commit": commit, "machine": machine, "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
