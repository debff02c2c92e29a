"""What an operator's demonstrations do to a policy: the truth that verdicts are held against.

    python benchmarks/harm.py [--tasks square ...] [--replicates 0 1 2] [--part tuning apart ...]
                              [--operators slow ...] [--conditions naive matched ...]
                              [--workers 2] [--minutes 100]

For each task, replicate and operator it trains a policy on the base operator's demonstrations and
this operator's (``naive``), and one on the base's and as many steps of a compatible operator
(``matched``), and appends a JSON line with the share of successes of each to
``benchmarks/results/harm.jsonl``. Other conditions are those that the judge of harm decides:
``filtered``, ``repaired``, ``random_drop``, ``informed`` (``demos/study/run.py`` says what they
are), and their rows name its ``measure``, a digest of its code and configuration: after a change
they are measured anew. Whatever else is in there is not; after ``--minutes`` no new training
begins. Harm is the success of the compatible operators' ``naive`` policies less that of the
operator's, in the same replicate.

No choice of a measure looks at operators of the part "fresh". Those "apart" and "last" were kept
for that; then they were looked at, and choices have been made on them since.
"""

import argparse
import ast
import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path

import torch
from keep import commit

from demos.study.config import OperatorConfig, StudyConfig
from demos.study.replicate import BASE, HARM, Replicate
from robolearn.algos import commands, contrary, progress, waiting
from robolearn.judging import demonstrations, reasons, repair, verdicts
from robolearn.judging import harm as judging_harm
from robolearn.judging.verdicts import HarmJudgeConfig
from robolearn.running import launch
from robolearn.running.processes import Processes, as_done

FOLDER = Path("runs/benchmarks/harm")
ROWS = Path(__file__).parent / "results" / "harm.jsonl"
SEED = 15
EPISODES = 200
CONDITIONS = ("naive", "matched", "filtered", "repaired", "random_drop", "informed")
MEASURE = tuple(
    m.__file__
    for m in (progress, waiting, contrary, commands, demonstrations, judging_harm, verdicts)
)  # its code
TOLD = (*MEASURE, reasons.__file__)  # and what those are told whom it rejects
DECIDED = (*TOLD, repair.__file__)  # and what stays of their demonstrations
JUDGED = {  # what the judge decides, and the code by which
    "filtered": DECIDED, "repaired": DECIDED, "random_drop": DECIDED, "informed": TOLD,
}  # fmt: skip
COMPATIBLE = ("base_twin", "base_calm")
TASKS = ("square", "round", "can", "nuts", "tabletop")
PARTS = {
    "tuning": (
        *COMPATIBLE,
        "opposite_grasp",
        "slow_with_pauses",
        "other_order",
        "diagonal",
        "high_transport",
        "hesitant",
        "noisy",
        "early_grip",
    ),
    "apart": (
        "low_and_slow",
        "opposite_and_high",
        "diagonal_with_pauses",
        "end_grasp",
        "base_brisk",
        "base_roomy",
        "slow",
        "pauses",
        "detour",
        "fidgety",
        "low_transport",
    ),
    "last": (
        "opposite_end",
        "opposite_with_pauses",
        "brisk_with_pauses",
        "very_slow",
        "slow_and_noisy",
        "high_and_hesitant",
        "wide_detour",
        "diagonal_end",
        "early_and_fidgety",
        "base_steady",
    ),
    "fresh": (
        "slow_diagonal",
        "noisy_and_low",
        "trembling",
        "slow_detour",
        "slow_and_hesitant",
        "short_pauses",
        "opposite_and_slow",
        "low_end",
        "brisk_and_high",
        "roomy_and_fidgety",
        "gentle",
        "early_and_slow",
    ),
}
EVERYBODY = tuple(name for part in PARTS.values() for name in part)


def main() -> None:
    """Measure what is missing."""
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    jobs = [
        (task, replicate, arguments.part, arguments.operators, arguments.conditions, deadline)
        for replicate in arguments.replicates
        for task in arguments.tasks
    ]  # one for each folder of demonstrations
    with Processes(arguments.workers) as pool:
        for done in as_done([pool.submit(measure, *job) for job in jobs]):
            done.result()


def measure(
    task: str,
    replicate: int,
    parts: list[str],
    operators: list[str],
    conditions: list[str],
    deadline: float,
) -> None:
    """Append the missing rows of one replicate of a task, as long as there is time."""
    torch.set_num_threads(1)
    study = Replicate(study_of(task), FOLDER / task, SEED, replicate)
    known = {key_of(row) for row in rows_of(ROWS)}
    todo = [(BASE, BASE, "")]
    todo += [
        (o, c, part) for part in parts for c in conditions for o in PARTS[part] if o in operators
    ]
    for operator, condition, part in todo:
        row = {"task": task, "replicate": replicate, "operator": operator, "part": part}
        row |= {"condition": condition}
        if condition in JUDGED:
            row |= {"measure": measure_of(HarmJudgeConfig(), JUDGED[condition])}
        if time.time() < deadline and key_of(row) not in known:
            append_to(ROWS, row | outcome(study, operator, condition))


def key_of(row: dict) -> tuple:
    """Give what a row is about."""
    key = ("task", "replicate", "operator", "condition", "measure")
    return tuple(row.get(name) for name in key)


def measure_of(config: HarmJudgeConfig, files: tuple[str, ...] = MEASURE) -> str:
    """Name a measure of harm by its code, whatever is said about it, and its configuration."""
    code = [code_of(Path(file).read_text()) for file in files]
    return hashlib.sha256("".join([*code, repr(config)]).encode()).hexdigest()[:12]


def code_of(source: str) -> str:
    """Give a module's source without comments and strings that only say something."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if hasattr(node, "body") and isinstance(node.body, list):
            node.body = [one for one in node.body if not _only_says(one)]
    return ast.unparse(tree)


def _only_says(node: ast.AST) -> bool:
    is_expression = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_expression and isinstance(node.value.value, str)


def outcome(study: Replicate, operator: str, condition: str) -> dict:
    """Collect what is needed, train, evaluate; give success, and on how much it was trained."""
    needed = (BASE,) if operator == BASE else (BASE, operator)
    for name in (*needed, "matched") if condition == "matched" else needed:
        study.demonstrate(name)
    study.choose_network()
    study.condition(operator, condition, HARM)
    found = study.evaluation(operator, condition)
    return {
        "success": found["success"],
        "episodes": found["episodes"],
        "demonstrations": found["demonstrations"],
        "pairs": found["pairs"],
        "commit": commit()[:12],
    }


def study_of(task: str) -> StudyConfig:
    """Give the committed study of a task, with the operators of all parts and more episodes."""
    config = launch.read(launch.find(f"compatibility_{task}")).config
    return dataclasses.replace(
        config,
        operators={n: OperatorConfig(n, compatible=n in COMPATIBLE) for n in EVERYBODY},
        tuning_operators={},
        conditions=CONDITIONS,
        verdict="harm",
        episodes=EPISODES,
    )


def rows_of(path: Path) -> list[dict]:
    """Read what was measured."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_to(path: Path, row: dict) -> None:
    """Add a row, in one piece."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(row).encode() + b"\n")
        os.fsync(file.fileno())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--replicates", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--operators", nargs="+", default=EVERYBODY, choices=EVERYBODY)
    parser.add_argument("--conditions", nargs="+", default=["naive", "matched"], choices=CONDITIONS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=100.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
