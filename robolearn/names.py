"""Names to things, as strings: nothing is imported before it is asked for.

Our own names are right, else that is a bug. A user's name is "module:attribute", or a word that an
installed package publishes as an entry point; what is wrong with it is said in one line.
"""

import importlib
import importlib.metadata
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

from robolearn.errors import UserError, nearest

# Groups of entry points, by which installed packages publish what they have.
VERBS = "robolearn.verbs"
ENVIRONMENTS = "robolearn.environments"
LEARNERS = "robolearn.learners"


def load(name: str) -> Any:
    """Import what ``"module:attribute"`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_own(name: str, where: str) -> Any:
    """Import what a user's ``"module:attribute"`` names, from the current folder too.

    The attribute may have dots, ``"module:Class.make"``. Raises UserError that begins with
    ``where`` for a name of another form and for a module or an attribute that is not there, also
    a module that the named one imports. Any other exception of its code comes out as it is.
    """
    module, _, attribute = name.partition(":")
    attributes = attribute.split(".")
    if not all(part.isidentifier() for part in (*module.split("."), *attributes)):
        raise UserError(f"{where}: '{name}' must be module:attribute, such as my_lab.reach:run")
    found, place = _import_own(module, where), module
    for part in attributes:
        if not hasattr(found, part):
            inside = getattr(found, "__dict__", {}).items()
            defined = [k for k, v in inside if getattr(v, "__module__", "") == module]
            raise UserError(f"{where}: no '{part}' in {place}{nearest(part, defined)}")
        found, place = getattr(found, part), part
    return found


def installed(group: str) -> dict[str, list[str]]:
    """Give what installed packages publish in a group of entry points, sorted.

    ``{"reach": ["my_lab.reach:run"]}``; several where packages have chosen the same name. What lies
    in the current folder is not installed: whoever put a file there has not been asked for it.
    """
    found: dict[str, list[str]] = {}
    packages = set()  # of a package that is found twice, the first counts, as for Python
    for package in importlib.metadata.distributions(path=_path_without_here()):
        points = package.entry_points.select(group=group)
        if not points or package.name in packages:
            continue
        packages.add(package.name)
        for point in points:
            values, value = found.setdefault(point.name, []), _target(point)
            if value not in values:
                values.append(value)
    return dict(sorted(found.items()))


def published(name: str, group: str, where: str) -> str | None:
    """Give the ``"module:attribute"`` that an installed package publishes as ``name``, or None.

    Raises UserError that begins with ``where`` if packages disagree.
    """
    values = installed(group).get(name, [None])
    if len(values) > 1:
        raise UserError(f"{where}: packages disagree on '{name}'; write {' or '.join(values)}")
    return values[0]


def _path_without_here() -> list[str]:
    """Give the folders in which Python looks, but for the current one."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # it was removed
        return [folder for folder in sys.path if os.path.isabs(folder)]
    return [folder for folder in sys.path if os.path.realpath(folder) != here]


def _target(point: importlib.metadata.EntryPoint) -> str:
    """Give an entry point's ``"module:attribute"``, without extras; of a malformed one, all."""
    well_formed = point.pattern.match(point.value)
    return f"{point.module}:{point.attr}" if well_formed and point.attr else point.value


def _import_own(module: str, where: str) -> Any:
    """Import a module; the console script, unlike ``python -m``, has no current folder to look in.

    It comes last, so that nothing that is installed is hidden by it.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name
        if missing is None:  # no import, but their own code raised it
            raise
        if not f"{module}.".startswith(f"{missing}."):
            needs = f"{_importing(error)} needs module '{missing}', which is not installed"
            raise UserError(f"{where}: {needs}") from None
        meant = nearest(missing, _beside(missing))
        raise UserError(f"{where}: no module '{missing}' here or installed{meant}") from None


def _importing(error: ModuleNotFoundError) -> str:
    """Give the path of the file whose import failed, from the current folder if it is in there."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    machinery = ("<frozen importlib", importlib.__file__)
    file = Path(next(f for f in reversed(files) if not f.startswith(machinery)))
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _beside(module: str) -> set[str]:
    """Name the modules of the package that a module would be in, or of the current folder."""
    package, dot, _ = module.rpartition(".")
    if package in sys.modules:
        paths = getattr(sys.modules[package], "__path__", [])
        return {package + dot + found.name for found in pkgutil.iter_modules(paths)}
    here = Path.cwd()
    return {path.stem for path in here.glob("*.py")} | {
        path.parent.name for path in here.glob("*/*.py")
    }
