"""Environments of one's own, made by ``module:function`` or by a name that a package publishes."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from robolearn.errors import OptionError, UserError, nearest
from robolearn.names import ENVIRONMENTS, installed, load_own, published
from robolearn.types import Environment, Spec

METHODS = ("reset", "step", "get_state", "set_state", "close")


def knows(name: str) -> bool:
    """Say whether a name is one of these."""
    return ":" in name or name in installed(ENVIRONMENTS)


def names() -> list[str]:
    """List the names that installed packages publish."""
    return list(installed(ENVIRONMENTS))


def make(name: str, options: Mapping[str, Any]) -> Environment:
    """Call the maker with the options, and check that what it gives keeps the contract.

    ``interface.environment`` becomes "module:function", by which others make it again. Raises
    UserError for a name that leads nowhere, an option that the maker does not take, and where the
    contract's parts are missing. What else the maker itself raises comes out as it is, but for a
    UserError, which then says whose it is.
    """
    where = f"environment '{name}'"
    full = name if ":" in name else published(name, ENVIRONMENTS, where)
    maker = load_own(full, where)
    if not callable(maker):
        raise UserError(f"{where}: must be a function that makes an environment")
    _require_options(maker, options, where)
    try:
        env = maker(**options)
    except UserError as error:  # of what it is made from
        raise UserError(f"{where}: {error}") from None
    return _named(_checked(env, where), full, where)


def _require_options(maker: Any, options: Mapping[str, Any], where: str) -> None:
    try:
        signature = inspect.signature(maker)
    except ValueError:  # some built-in ones do not say
        return
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key in options:
        if key not in signature.parameters and not takes_any:
            hint = nearest(key, signature.parameters)
            raise OptionError(f"{where}: unknown option '{key}'{hint}", key)
    for name, p in signature.parameters.items():
        needed = p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if needed and name not in options:
            raise UserError(f"{where}: missing option '{name}'")
    try:
        signature.bind(**options)
    except TypeError as error:
        raise UserError(f"{where}: {error}") from None


def _checked(env: Any, where: str) -> Environment:
    if not isinstance(getattr(env, "interface", None), Spec):
        raise UserError(f"{where}: {type(env).__name__} has no interface, a robolearn.types.Spec")
    missing = [method for method in METHODS if not callable(getattr(env, method, None))]
    if missing:
        raise UserError(f"{where}: {type(env).__name__} has no {', '.join(missing)}")
    return env


def _named(env: Environment, name: str, where: str) -> Environment:
    if env.interface.environment != name:
        try:
            env.interface = dataclasses.replace(env.interface, environment=name)
        except AttributeError:  # a property
            raise UserError(f"{where}: interface.environment must be '{name}'") from None
    return env
