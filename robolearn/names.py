"""Names to things, as strings: nothing is imported before it is asked for.

Our own names are right, else that is a bug. A user's name is "module:attribute", or a word that an
installed package publishes as an entry point; what is wrong with it is said in one line.
"""

import importlib
import importlib.metadata
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

from robolearn.errors import UserError, nearest


def load(name: str) -> Any:
    """Import what ``"module:attribute"`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_own(name: str, where: str) -> Any:
    """Import what a user's ``"module:attribute"`` names, from the current folder too.

    Raises UserError that begins with ``where`` for a name of another form and for a module or an
    attribute that is not there. An exception of the module's own code comes out as it is.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UserError(f"{where}: '{name}' must be module:attribute, such as my_lab.reach:run")
    found = _import_own(module, where)
    if not hasattr(found, attribute):
        defined = [k for k, v in vars(found).items() if getattr(v, "__module__", "") == module]
        raise UserError(f"{where}: no '{attribute}' in {module}{nearest(attribute, defined)}")
    return getattr(found, attribute)


def installed(group: str) -> dict[str, list[str]]:
    """Give what installed packages publish in a group of entry points, sorted.

    ``{"reach": ["my_lab.reach:run"]}``; several where packages have chosen the same name.
    """
    found: dict[str, list[str]] = {}
    for point in importlib.metadata.entry_points(group=group):
        values = found.setdefault(point.name, [])
        if point.value not in values:
            values.append(point.value)
    return dict(sorted(found.items()))


def published(name: str, group: str, where: str) -> str | None:
    """Give the ``"module:attribute"`` that an installed package publishes as ``name``, or None.

    Raises UserError that begins with ``where`` if packages disagree.
    """
    values = installed(group).get(name, [None])
    if len(values) > 1:
        raise UserError(f"{where}: packages disagree on '{name}'; write {' or '.join(values)}")
    return values[0]


def _import_own(module: str, where: str) -> Any:
    """Import a module; the console script, unlike ``python -m``, has no current folder to look in.

    It comes last, so that nothing that is installed is hidden by it.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module}.".startswith(f"{missing}."):  # their code misses something
            raise
        meant = nearest(missing, _beside(missing))
        raise UserError(f"{where}: no module '{missing}' here or installed{meant}") from None


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
