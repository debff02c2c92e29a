"""The import rules: who may know whom. They are read off the source, nothing is imported."""

import ast
import functools
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("robolearn", "sim", "robots", "demos")
CONTRACTS = {
    "types",
    "errors",
    "settings",
    "files",
    "names",
    "attack",
    "image_attack",
    "state_attack",
    "perturbed",
    "signals",
    "torchrun",
}  # modules of robolearn/ itself
# Single modules, known to rooms:
OF_ROBOTS = {"robots.base", "robots.calibration", "robots.clocks", "robots.guard"}
MAY_IMPORT = {  # a room, which is a folder -> the rooms below it, and the contracts that it knows
    "robolearn": {"running"} | CONTRACTS,
    "robolearn.networks": CONTRACTS,
    "robolearn.rewards": {"networks"} | CONTRACTS,
    "robolearn.algos": {"networks", "rewards", "attack"} | CONTRACTS,
    "robolearn.loops": CONTRACTS,
    "robolearn.viz": CONTRACTS,
    "robolearn.judging": {"networks", "algos", "loops"} | CONTRACTS,
    "robolearn.skills": {"rewards", "loops", "viz"} | CONTRACTS,
    "robolearn.running": CONTRACTS,
    "robolearn.comparing": {"running", "viz"} | CONTRACTS,
    "robolearn.sweeps": {"running", "comparing"} | CONTRACTS,
    "robolearn.verbs": {
        "networks",
        "algos",
        "rewards",
        "loops",
        "viz",
        "judging",
        "skills",
        "running",
    }
    | CONTRACTS,
    "sim": {"base", "rendering", "vector", "robosuite.batch", "mujoco", "dmc", "tabletop"},
    "sim.base": set(),
    "sim.distractors": {"base"},
    "sim.rendering": {"base", "distractors"},
    "sim.engine": {"base"},
    "sim.vector": {"base"},
    "sim.gym": {"base", "rendering"},
    "sim.mujoco": {"base", "rendering", "engine", "vector"},
    "sim.dmc": {"base", "rendering", "mujoco"},
    "sim.metaworld": {"base", "rendering"},
    "sim.tabletop": {"base", "rendering", "engine", "vector"},
    "sim.robosuite": {"base", "rendering", "engine"},
    "sim.robosuite.batch": {"base", "engine", "vector", "robosuite"},
    "robots": {"base", "clocks", "guard", "remote"},
    "robots.servos": {"base"},
    "robots.emulators": {"base", "clocks", "servos"},
    "robots.remote": {"base", "guard"},
    "robots.drivers": {"base", "calibration", "clocks", "servos", "emulators"},
    "demos": set(),
    "demos.data": set(),
    "demos.formats": {"data"},
    "demos.report": {"data", "formats"},
    "demos.devices": set(),
    "demos.session": {"data", "devices"},
    "demos.page": {"devices", "session"},
    "demos.teleop": {"data", "devices", "session", "page"},
    "demos.deploy": {"data", "devices", "session", "teleop"},
    "demos.labels": {"session", "page", "teleop"},
    "demos.cluster": set(),
    "demos.operators": set(),
    "demos.study": {"data", "devices", "session", "operators"},
}
OF_THE_CORE = {  # what other packages know of robolearn
    "sim": {"types", "errors", "names"},
    "robots": {"types", "errors", "names", "settings", "files", "signals"},
    "demos": {"rewards", "algos", "loops", "viz", "judging", "running", "sweeps", "comparing"}
    | CONTRACTS,
}
RUNS_CODE_WHEN_READ = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


class Source(NamedTuple):
    """What is read off a file: full names that it imports, and the functions that it calls."""

    imported: tuple[str, ...]
    at_once: tuple[str, ...]  # those that are imported with it, not within functions
    called: frozenset[str]


@functools.cache
def read(path: Path) -> Source:
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    called = frozenset(function.id for function in calls if isinstance(function, ast.Name))
    return Source(tuple(imports(path, nodes)), tuple(imports(path, tree.body)), called)


def imports(path: Path, nodes: list[ast.AST]) -> Iterator[str]:
    """Give the full names that some nodes of a file import."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def as_module(name: str) -> str | None:
    """Give the module of ours that an imported name is, or is in."""
    while name not in MODULES and "." in name:
        name = name.rpartition(".")[0]
    return name if name in MODULES else None


def closure(module: str) -> set[str]:
    """Give our modules that importing ``module`` loads, parent packages included."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            parents = [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
            waiting += parents
            waiting += filter(None, map(as_module, read(MODULES[name]).at_once))
    return seen - {module}


def room_of(module: str) -> str:
    """Give the folder that a module is in, with dots."""
    return ".".join(MODULES[module].parent.relative_to(ROOT).parts)


def known(path: Path) -> set[str]:
    """Give the other rooms that a file imports from; of the core's contracts, the modules."""
    modules = {name for name in map(as_module, read(path).imported) if name}
    single = {name for name in modules if room_of(name) == "robolearn"} | OF_ROBOTS
    rooms = {name if name in single else room_of(name) for name in modules}
    return rooms - {room_of(module_name(path)), module_name(path)}


def test_a_room_knows_only_those_below_it():
    for module, path in MODULES.items():
        room = room_of(module)
        package = room.split(".")[0]
        allowed = {f"{package}.{name}" for name in MAY_IMPORT[room]}
        allowed |= {f"robolearn.{name}" for name in OF_THE_CORE.get(package, ())}
        assert known(path) <= allowed, module


def test_rooms_stand_above_each_other():
    floors = {
        room: {f"{room.split('.')[0]}.{name}" for name in below} & set(MAY_IMPORT)
        for room, below in MAY_IMPORT.items()
    }
    order = list(graphlib.TopologicalSorter(floors).static_order())  # fails if there is a circle
    assert order.index("robolearn.networks") < order.index("robolearn.algos")


def test_every_arrow_that_is_allowed_is_there():
    drawn = {room: set() for room in MAY_IMPORT}
    for path in SOURCES:
        drawn[room_of(module_name(path))] |= known(path)
    for room, below in MAY_IMPORT.items():
        package = room.split(".")[0]
        assert {f"{package}.{name}" for name in below - CONTRACTS} <= drawn[room], room


def test_modules_of_a_room_do_not_import_each_other_in_a_circle():
    graph = {
        name: set(filter(None, map(as_module, read(path).at_once))) - {name}
        for name, path in MODULES.items()
        if path.name != "__init__.py"
    }
    list(graphlib.TopologicalSorter(graph).static_order())


def test_only_the_viewer_knows_rerun_and_is_imported_when_it_is_needed():
    for module, path in MODULES.items():
        if module != "robolearn.viz.viewer":
            assert "rerun" not in {name.split(".")[0] for name in read(path).imported}, module
            assert "robolearn.viz.viewer" not in map(as_module, read(path).at_once), module


def test_only_the_connection_to_clusters_knows_ray_and_is_imported_when_it_is_needed():
    of_clusters = {"demos.cluster.engine", "demos.cluster.rollouts"}
    for module, path in MODULES.items():
        found = read(path)
        if module != "demos.cluster.connection":
            assert "ray" not in {name.split(".")[0] for name in found.imported}, module
            assert not of_clusters & set(map(as_module, found.imported)), module
        assert "ray" not in {name.split(".")[0] for name in found.at_once}, module


def test_nothing_runs_code_from_data():
    for module, path in MODULES.items():
        assert not {name.split(".")[0] for name in read(path).imported} & RUNS_CODE_WHEN_READ, (
            module
        )
        assert not read(path).called & {"eval", "exec"}, module


def test_an_algorithm_stands_on_few_modules():
    for path in (ROOT / "robolearn" / "algos").glob("[!_]*.py"):
        assert len(closure(module_name(path))) <= 12, path


def test_launch_is_data_only():
    assert {path.suffix for path in (ROOT / "launch").rglob("*") if path.is_file()} == {".yaml"}
