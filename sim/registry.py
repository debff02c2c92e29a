"""Names of environments -> adapters; a heavy package is imported by the adapter that needs it."""

import importlib
from typing import Any

from robolearn.errors import UserError, nearest
from robolearn.types import Environment
from sim import own
from sim.base.options import choose
from sim.rendering.gl import check_variables
from sim.rendering.load_order import load_triton_before_gl

ADAPTERS = {
    "robosuite": "sim.robosuite.env",
    "dmc": "sim.dmc.env",
    "mujoco": "sim.mujoco.env",
    "gym": "sim.gym.env",
    "tabletop": "sim.tabletop.env",
    "metaworld": "sim.metaworld.env",
    "robot": "robots.env",  # known by name only
}


def make(name: str, /, **options: Any) -> Environment:
    """Make the environment called ``name``, a ``gymnasium.Env`` with the project's contracts.

    ``robosuite/TASK``, ``dmc/DOMAIN-TASK``, ``mujoco/PATH.xml``, ``gym/ID``,
    ``tabletop/OBJECTS`` or ``metaworld/TASK``; the options are those of the adapter
    (``RobosuiteOptions``, ``DmcOptions``, ``MujocoOptions``, ``GymOptions``, ``TabletopOptions``,
    ``MetaworldOptions``). One's own: ``module:function``, or a name that an installed package
    publishes; the options are the function's. Raises UserError for an unknown name or option, and
    if Meta-World, which is installed by itself, is not there.
    """
    adapter, rest = _adapter(name)
    return adapter.make(rest, options)


def available(adapter: str) -> list[str]:
    """List the full names that an adapter knows, sorted; for ``mujoco`` none: it takes any file.

    Raises UserError for an unknown adapter, and if Meta-World is not installed.
    """
    choose(adapter, ADAPTERS, "available", "adapter")
    return sorted(f"{adapter}/{name}" for name in _import(ADAPTERS[adapter]).names())


def prepare() -> None:
    """Call it before anything imports mujoco: it loads what must come first, and checks variables.

    Raises UserError for variables that name a GL library or device which is not to be had.
    """
    load_triton_before_gl()
    check_variables()


def _adapter(name: str) -> tuple[Any, str]:
    """Give the adapter of an environment, and what the name is to it."""
    prefix, _, rest = str(name).partition("/")
    if prefix in ADAPTERS and rest:
        adapter = ADAPTERS[prefix]
    elif prefix not in ADAPTERS and own.knows(str(name)):
        adapter, rest = own.__name__, str(name)
    else:
        meant = "" if prefix in ADAPTERS else nearest(prefix, [*ADAPTERS, *own.names()])
        raise UserError(
            f"environment '{name}': must be robosuite/TASK, dmc/DOMAIN-TASK, mujoco/PATH.xml, "
            f"gym/ID, tabletop/OBJECTS or metaworld/TASK, or one's own, module:function{meant}"
        )
    return _import(adapter), rest


def _import(adapter: str) -> Any:
    prepare()
    return importlib.import_module(adapter)
