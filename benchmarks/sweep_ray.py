"""A sweep on a Ray cluster of two nodes: the same numbers as locally, and what survives a kill.

    python benchmarks/sweep_ray.py [case ...]

Appends a JSON line for each case to ``benchmarks/results/sweep_ray.jsonl``, and gathers them in
``sweep_ray.json``. A sweep of 12 small runs of SAC (three learning rates, four seeds; the replay is
kept, so that a run goes on bit for bit) is made on this machine alone, and on two nodes that
``ray start`` makes on loopback, with one core each: undisturbed (``ray``); with one node killed in
the middle, SIGKILL to all of its processes (``node_killed``); with the command killed in the
middle, and given again (``driver_killed``); with Ctrl-C in the middle (``interrupted``). ``same``
counts the runs whose summary and weights are those of the local sweep, byte for byte; ``left`` the
processes of runs that are there 20 s after the command was killed, or at once after Ctrl-C.
``overhead``: what a task costs beside a local process, of runs that do nothing, one at a time, as
the median time from the end of one to the end of the next; both engines twice, in turn.
"""

import contextlib
import itertools
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from keep import commit, gather
from swept import known

from robolearn.settings import Settings

HERE = Path(__file__).resolve().parent
ROWS = HERE / "results" / "sweep_ray.jsonl"
PORT = 6391
ADDRESS = f"127.0.0.1:{PORT}"
SWEEP = (
    "sac_cartpole", "sweep.seed=[0, 1, 2, 3]", "sweep.sac.learning_rate=[0.0003, 0.001, 0.003]",
    "sac.widths=[32, 32]", "training.steps=1600", "training.random_steps=400",
    "training.checkpoint_steps=400", "training.keep_replay=true", "training.capacity=2000",
    "evaluation={episodes: 1, horizon: 200}",
)  # fmt: skip
RUNS = 12
ON_RAY = ("sweep.engine=ray", f"sweep.address={ADDRESS}")
IN_THE_MIDDLE = 3  # runs that have ended when something is killed
TRIVIAL = 8
PATIENCE_S = 1800.0
TOKEN = secrets.token_hex(32)  # of these clusters alone


@dataclass(frozen=True)
class NothingConfig(Settings):
    """No settings."""


def nothing(config: NothingConfig, run: object) -> dict[str, float]:
    """Do nothing."""
    return {"score": 0.0}


def main(cases: list[str]) -> None:
    """Measure some cases, in a folder that is removed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("nothing.yaml").write_text("verb: sweep_ray:nothing\n")
        if set(cases) & {"ray", "node_killed", "driver_killed"}:
            finish("local", start("local"))
        for case in cases:
            append({"case": case} | CASES[case]())
    gather(ROWS)


def undisturbed() -> dict:
    """Let nothing happen."""
    with cluster():
        finish("ray", start("ray", *ON_RAY))
    return compared("ray")


def node_killed() -> dict:
    """Kill one node when some runs have ended."""
    with cluster() as nodes:
        sweep = start("node_killed", *ON_RAY)
        wait_for_runs("node_killed", IN_THE_MIDDLE)
        kill_tree(nodes[1].pid)
        told = finish("node_killed", sweep)
    return compared("node_killed") | {"retried": len(re.findall("retry", told))}


def driver_killed() -> dict:
    """Kill the command when some runs have ended, then give it again."""
    with cluster():
        sweep = start("driver_killed", *ON_RAY)
        wait_for_runs("driver_killed", IN_THE_MIDDLE)
        sweep.kill()
        sweep.wait()
        time.sleep(20)
        left, ended = runs_at_work(), len(ended_runs("driver_killed"))
        finish("driver_killed", start("driver_killed", *ON_RAY))
    return compared("driver_killed") | {"ended_before": ended, "left": left}


def interrupted() -> dict:
    """Interrupt the command when a run has ended."""
    with cluster():
        sweep = start("interrupted", *ON_RAY)
        wait_for_runs("interrupted", 1)
        sweep.send_signal(signal.SIGINT)
        sweep.communicate(timeout=PATIENCE_S)
        left = runs_at_work()
    return {"exit_code": sweep.returncode, "left": left}


def overhead() -> dict:
    """Compare what a run costs that does nothing, by a task and by a local process."""
    found: dict[str, list[float]] = {"local": [], "ray": []}
    with cluster():
        for turn, (engine, more) in itertools.product(range(2), (("local", ()), ("ray", ON_RAY))):
            seeds = f"sweep={{seed: {list(range(TRIVIAL))}, at_once: 1}}"
            folder = f"nothing_{engine}_{turn}"
            command = ["nothing.yaml", seeds, *more, f"out={folder}"]
            subprocess.run([sys.executable, "-m", "robolearn", *command], check=True,
                           env=environment(), capture_output=True)  # fmt: skip
            ends = sorted(path.stat().st_mtime for path in Path(folder).glob("*/summary.json"))
            found[engine] += [b - a for a, b in itertools.pairwise(ends)]
    row = {f"{engine}_s": round(median(gaps), 2) for engine, gaps in found.items()}
    return row | {"overhead_s": round(row["ray_s"] - row["local_s"], 2)}


CASES = {
    "ray": undisturbed,
    "node_killed": node_killed,
    "driver_killed": driver_killed,
    "interrupted": interrupted,
    "overhead": overhead,
}


def start(folder: str, *more: str) -> subprocess.Popen:
    """Start the sweep in a folder."""
    command = [sys.executable, "-m", "robolearn", *SWEEP, *more, f"out={folder}"]
    return subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)  # fmt: skip


def finish(folder: str, sweep: subprocess.Popen) -> str:
    """Wait for the end of a sweep; give what it said. RuntimeError if it failed."""
    _, told = sweep.communicate(timeout=PATIENCE_S)
    if sweep.returncode:
        raise RuntimeError(f"{folder}: exit code {sweep.returncode}\n{told[-3000:]}")
    return told


def append(row: dict) -> None:
    """Add a row, with the commit that it is of, and show it."""
    line = json.dumps(row | {"commit": commit()})
    print(line, flush=True)
    with ROWS.open("a") as file:
        file.write(line + "\n")


def compared(folder: str) -> dict:
    """Count the runs that have ended, and those that came to what they do locally."""
    ended = ended_runs(folder)
    same = sum(results(path) == results(Path("local", path.name)) for path in ended)
    return {"runs": RUNS, "ended": len(ended), "same": same}


def results(run: Path) -> list[bytes]:
    """Read what a run came to."""
    files = ("summary.json", "checkpoint/weights.safetensors")
    return [(run / name).read_bytes() for name in files]


def ended_runs(folder: str) -> list[Path]:
    """Give the runs that have ended."""
    return [path.parent for path in Path(folder).glob("*/summary.json")]


def wait_for_runs(folder: str, count: int) -> None:
    """Wait until so many runs have ended."""
    deadline = time.monotonic() + PATIENCE_S
    while len(ended_runs(folder)) < count and time.monotonic() < deadline:
        time.sleep(0.1)


@contextlib.contextmanager
def cluster() -> Iterator[list[subprocess.Popen]]:
    """Start two nodes with a core each, as two machines would; end all of their processes."""
    head = ("--head", f"--port={PORT}", "--include-dashboard=false")
    nodes = []
    try:
        for place in (head, (f"--address={ADDRESS}",)):
            command = [
                "ray", "start", "--block", "--num-cpus=1", "--disable-usage-stats",
                "--memory=4000000000", "--object-store-memory=200000000", *place,
            ]  # fmt: skip
            quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            nodes.append(subprocess.Popen(command, env=environment(), **quiet))
            time.sleep(15)
        yield nodes
    finally:
        for node in reversed(nodes):
            kill_tree(node.pid)
            node.wait()
        time.sleep(5)


def environment() -> dict[str, str]:
    """Give the environment of commands: they find this module, and know the clusters' token."""
    paths = filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    return os.environ | secret | {"PYTHONPATH": os.pathsep.join(paths), "PATH": path}


def kill_tree(pid: int) -> None:
    """Kill a process and all that have come of it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
    doomed = [pid]
    for one in doomed:
        doomed += [child for child, parent in parents.items() if parent == one]
    for one in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def runs_at_work() -> int:
    """Count the processes that work in a scratch folder of a task."""
    found = 0
    for link in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            found += "/robolearn-" in os.readlink(link)
    return found


if __name__ == "__main__":
    main(known(sys.argv[1:], CASES))
