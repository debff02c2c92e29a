"""The import rules: who may know whom. They are read off the source, nothing is imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("robolearn", "sim", "robots", "demos")
MAY_IMPORT = {  # of our own packages
    "robolearn": {"robolearn"},
    "sim": {"sim", "robolearn.types", "robolearn.errors"},
    "robots": {"robots", "robolearn.types", "robolearn.errors"},
    "demos": {"demos", "robots", "robolearn"},
}
RUNS_CODE_WHEN_READ = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def imports(path: Path, nested: bool = True) -> Iterator[str]:
    """Give the full names that a file imports, in functions too if ``nested``."""
    tree = ast.parse(path.read_text())
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree) if nested else tree.body:
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
            waiting += filter(None, map(as_module, imports(MODULES[name], nested=False)))
    return seen - {module}


def by_path(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[module_name(path) for path in paths])


@by_path(SOURCES)
def test_a_room_knows_only_those_below_it(path):
    allowed = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    for name in imports(path):
        if name.split(".")[0] in ROOMS:
            prefixes = {name.rsplit(".", i)[0] for i in range(name.count(".") + 1)}
            assert prefixes & allowed, f"imports {name}"


@by_path([path for path in SOURCES if module_name(path) != "robolearn.viz"])
def test_only_viz_knows_rerun_and_is_imported_when_it_is_needed(path):
    assert "rerun" not in {name.split(".")[0] for name in imports(path)}
    assert "robolearn.viz" not in map(as_module, imports(path, nested=False))


@by_path(SOURCES)
def test_nothing_runs_code_from_data(path):
    assert not {name.split(".")[0] for name in imports(path)} & RUNS_CODE_WHEN_READ
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec"}


@by_path(sorted((ROOT / "robolearn" / "algos").glob("[!_]*.py")))
def test_an_algorithm_stands_on_few_modules(path):
    assert len(closure(module_name(path))) <= 12


def test_launch_is_data_only():
    assert {path.suffix for path in (ROOT / "launch").rglob("*") if path.is_file()} == {".yaml"}
