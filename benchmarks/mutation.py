"""Would the tests notice? Changes one thing in a formula at a time, and runs its tests.

    pip install -e ".[mutation]"
    python benchmarks/mutation.py [FILE ...] [--slowest 1] [--details new.jsonl] [--after old.jsonl]

The changes are mutmut's: another operator, number, constant, string or argument, an argument less.
mutmut itself leaves decorated functions alone, and many formulas here stand under ``no_grad``; so
its operators are applied to the source as a whole, and each mutant is imported by a fork of a
process that has the libraries loaded. Prints a JSON line for each file: mutants, and how many were
killed (a test failed), ran out of time (killed, too) and survived; how many of the survivors
``docs/mutation_testing.md`` lists as equivalent, and the share killed of all others. Tests
slower than ``--slowest`` seconds of processor time are left out, so that the figures err on the low
side. ``--details`` writes a JSON line for each mutant. With more tests than before, ``--after`` its
file tries those again that survived, and counts the others as they were.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import re
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import libcst
import pytest
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[1]
DOC = ROOT / "docs" / "mutation_testing.md"
ALGOS, REWARDS, JUDGING = (f"tests/robolearn/{room}" for room in ("algos", "rewards", "judging"))
FILES = {  # a file of formulas -> its tests
    "robolearn/networks/functional.py": ["tests/robolearn/networks/test_functional.py"],
    "robolearn/judging/conformal.py": [f"{JUDGING}/test_conformal.py"],
    "robolearn/algos/compatibility.py": [f"{ALGOS}/test_compatibility.py"],
    "robolearn/rewards/base.py": [REWARDS],
    "robolearn/rewards/skill.py": [REWARDS],
    "robolearn/algos/bc.py": [f"{ALGOS}/test_bc.py"],
    "robolearn/algos/ppo.py": [f"{ALGOS}/test_ppo.py"],
    "robolearn/algos/slim.py": [f"{ALGOS}/test_slim.py"],
    "robolearn/judging/calibration.py": [f"{JUDGING}/test_calibration.py"],
    "robolearn/judging/judge.py": [f"{JUDGING}/test_judge.py"],
    # Compiled for seconds, so that --slowest leaves its formulas as plain Python.
    "sim/engine/osc.py": ["tests/sim/engine/test_osc.py"],
}
OURS = ("robolearn", "sim", "tests")  # imported anew for every mutant
UNTOUCHED = (libcst.Annotation, libcst.Decorator, libcst.Import, libcst.ImportFrom)
SIMPLE = (libcst.Name, libcst.BaseNumber, libcst.BaseString)


def main() -> None:
    """Try every file and print its line."""
    arguments = _arguments()
    earlier = _killed(arguments.after) if arguments.after else {}
    with open(arguments.details or os.devnull, "w") as details:
        for file in arguments.files:
            tests = Tests(FILES[file], arguments.slowest)
            print(json.dumps(try_file(file, tests, earlier, details)), flush=True)


def try_file(file: str, tests: Tests, earlier: dict[str, str], details: TextIO) -> dict[str, Any]:
    """Try a file's mutants one by one, but for those with an earlier outcome, and count them."""
    outcomes, equivalent = Counter(), _equivalent(file)
    for key, source in mutants((ROOT / file).read_text()).items():
        outcome = earlier.get(f"{file} {key}") or tests.outcome(file, source)
        if outcome == "survived" and key in equivalent:
            outcome = "equivalent"
        outcomes[outcome] += 1
        details.write(json.dumps({"file": file, "outcome": outcome, "mutant": key}) + "\n")
        details.flush()
    counts = {name: outcomes[name] for name in ("killed", "timeout", "survived", "equivalent")}
    noticed = counts["killed"] + counts["timeout"]
    share = round(noticed / (noticed + counts["survived"]), 4)
    return {"file": file, "mutants": outcomes.total()} | counts | {"share_killed": share}


# mutants


class Changes(libcst.CSTVisitor):
    """Collects (function, node, changed node) of a module."""

    def __init__(self):
        super().__init__()
        self.place: list[libcst.FunctionDef | libcst.ClassDef] = []
        self.found: list[tuple[str, libcst.CSTNode, libcst.CSTNode]] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        """Collect what mutmut makes of a node; say whether to go on to its children."""
        if self._is_untouched(node):
            return False
        if isinstance(node, libcst.FunctionDef | libcst.ClassDef):
            self.place.append(node)
        where = ".".join(one.name.value for one in self.place) or "module"
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.found += [(where, node, changed) for changed in operator(node)]
        return True

    def on_leave(self, original_node: libcst.CSTNode) -> None:
        """Leave a function or class."""
        if self.place and original_node is self.place[-1]:
            self.place.pop()

    def _is_untouched(self, node: libcst.CSTNode) -> bool:
        """Leave out types, decorators, defaults of settings, and what only pads the figures."""
        if isinstance(node, libcst.AnnAssign):
            return bool(self.place) and isinstance(self.place[-1], libcst.ClassDef)
        if isinstance(node, libcst.Param):
            return node.default is not None and not isinstance(node.default, SIMPLE)
        if isinstance(node, libcst.Call) and isinstance(node.func, libcst.Name):
            return node.func.value in ("len", "isinstance")
        return isinstance(node, UNTOUCHED)


def mutants(source: str) -> dict[str, str]:
    """Give a source's mutants by name: `function`: `lines before` → `lines after`."""
    module, found = libcst.parse_module(source), {}
    parts = [module.code_for_node(part) for part in (*module.header, *module.body)]
    for i, statement in enumerate(module.body, start=len(module.header)):
        changes = Changes()
        statement.visit(changes)
        for where, node, changed in changes.found:
            mutated = module.code_for_node(statement.deep_replace(node, changed))
            before, after = _difference(parts[i].splitlines(), mutated.splitlines())
            whole = "".join([*parts[:i], mutated, *parts[i + 1 :]])
            found[f"`{where}`: `{before}` → `{after}`"] = whole
    return found


def _difference(one: list[str], other: list[str]) -> tuple[str, str]:
    """Give the lines in which two sources differ, each joined to one."""
    alike = [a == b for a, b in zip(one, other, strict=False)]
    start = alike.index(False) if False in alike else len(alike)
    one, other = one[start:], other[start:]
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    return tuple(" ".join(line.strip() for line in lines) for lines in (one, other))


def _equivalent(file: str) -> set[str]:
    """Read the mutants of a file that the list in docs/ calls equivalent."""
    section = DOC.read_text().partition(f"\n### {file}\n")[2].partition("\n### ")[0]
    return set(re.findall(r"^- (`.*`: `.*` → `.*`)$", section, re.MULTILINE))


def _killed(details: str) -> dict[str, str]:
    rows = [json.loads(line) for line in Path(details).read_text().splitlines()]
    killed = [row for row in rows if row["outcome"] in ("killed", "timeout")]
    return {f"{row['file']} {row['mutant']}": row["outcome"] for row in killed}


# tests


class Stopwatch:
    """Takes down how long tests and fixtures last, and sorts tests by it; a plugin of pytest."""

    def __init__(self, slowest: float):
        self.slowest = slowest
        self.seconds: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let the quick ones go first, as the first that fails is the last that runs."""
        items[:] = [item for item in items if self.cost(item) <= self.slowest]
        items.sort(key=self.cost)

    def cost(self, item: pytest.Item) -> float:
        """Add up what a test and its fixtures took."""
        return sum(self.seconds[name] for name in (item.nodeid, *item.fixturenames))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        """Time a fixture."""
        began = time.process_time()
        result = yield
        self.seconds[fixturedef.argname] = time.process_time() - began
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        """Time a test."""
        began = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - began
        return result


class Tests:
    """Some tests, which pass as long as nothing is changed."""

    def __init__(self, paths: list[str], slowest: float):
        plain = ["-p", "no:cacheprovider", "--assert=plain", "--tb=no", "--no-header"]
        self.arguments = ["-x", "-q", *plain, *paths]
        self.stopwatch = Stopwatch(slowest=float("inf"))
        for _ in range(2):  # the first loads libraries, and is slower
            if code := self.run():
                sys.exit(f"{' '.join(paths)}: pytest ends with {code} before anything is changed")
        self.stopwatch.slowest = slowest
        gc.freeze()  # what is loaded now stays: no fork need look through it
        self.limit_s = 10 + 5 * int(sum(self.stopwatch.seconds.values()))  # of processor time

    def run(self) -> int:
        """Run the tests with every module of the project as if imported for the first time."""
        for name in [n for n in sys.modules if n.split(".")[0] in OURS]:
            del sys.modules[name]
        return int(pytest.main(self.arguments, plugins=[self.stopwatch]))

    def outcome(self, file: str, source: str) -> str:
        """Run the tests on a mutant of ``file`` in a fork of this process."""
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            self._run_mutant(file, source)
        began = time.monotonic()
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() - began > 100 * self.limit_s:  # it sleeps; others only slow it down
                os.kill(child, 9)
            time.sleep(0.01)
        status = ended[1]
        if os.WIFSIGNALED(status):
            return "timeout"
        return "killed" if os.WEXITSTATUS(status) else "survived"

    def _run_mutant(self, file: str, source: str) -> None:
        """Import the mutant in place of the file, run the tests and end this process."""
        code = 1
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1), os.dup2(nothing, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (self.limit_s, self.limit_s))
            sys.meta_path.insert(0, InPlaceOf(file, source))
            code = self.run()
        finally:
            os._exit(code)


class InPlaceOf(importlib.machinery.SourceFileLoader):
    """Finds and loads one module, from a source of its own."""

    def __init__(self, file: str, source: str):
        super().__init__(file.removesuffix(".py").replace("/", "."), str(ROOT / file))
        self.source = source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find the module, and no other."""
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.path, loader=self)
        return None

    def get_code(self, fullname: str) -> Any:
        """Compile the source."""
        return compile(self.source, self.path, "exec")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(FILES)}")
    parser.add_argument("--slowest", type=float, default=1.0, help="s; slower tests are left out")
    parser.add_argument("--details", help="file for a JSON line about each mutant")
    parser.add_argument("--after", help="such a file, of the same sources and fewer tests")
    arguments = parser.parse_args()
    arguments.files = arguments.files or list(FILES)
    if unknown := [file for file in arguments.files if file not in FILES]:
        parser.error(f"{unknown[0]} is none of {', '.join(FILES)}")
    return arguments


if __name__ == "__main__":
    main()
