"""Settings that state which values they take: ``gamma: Share = 0.99``.

A frozen dataclass that inherits from ``Settings`` checks its values against its annotations, so
that launch files and Python are told the same. More ranges: ``pydantic.PositiveInt`` and its like,
``Annotated[int, annotated_types.Ge(2)]``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pydantic
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic_core import PydanticCustomError

from robolearn.errors import UserError

Share = Annotated[float, Ge(0), Le(1)]
ShareBelowOne = Annotated[float, Ge(0), Lt(1)]
ProperShare = Annotated[float, Gt(0), Lt(1)]  # neither none nor all
Widths = Annotated[tuple[pydantic.PositiveInt, ...], MinLen(1)]
Names = Annotated[tuple[str, ...], MinLen(1)]
Numbers = Annotated[tuple[pydantic.FiniteFloat, ...], MinLen(1)]

FINITE = pydantic.ConfigDict(allow_inf_nan=False)


def _or_auto(value: Any, check: Callable[[Any], Any]) -> Any:
    if isinstance(value, str) and value != "auto":
        raise PydanticCustomError("auto", "should be a number, 'auto' or null")
    return value if value == "auto" else check(value)


NumberOrAuto = Annotated[  # a union of both would name its parts in messages
    pydantic.PositiveFloat | None,
    pydantic.WrapValidator(_or_auto),
    pydantic.PlainSerializer(lambda value: value),
]


class Settings:
    """Base of configurations. Raises UserError for a value that its annotation rules out.

    Values are stored as their annotations have them: a list as a tuple, numpy's numbers as
    Python's.
    """

    def __post_init__(self) -> None:
        for name, adapter in _adapters(type(self)).items():
            try:
                value = adapter.validate_python(getattr(self, name))
            except pydantic.ValidationError as error:
                fault = error.errors(include_url=False)[0]
                where = ".".join(map(str, (name, *fault["loc"])))
                raise UserError(f"{where} {said(fault)}") from None
            object.__setattr__(self, name, value)  # frozen, but not yet made


def settings_of(function: Callable, where: str) -> type[Settings]:
    """Give the class that the parameter ``config`` of a user's function or class is annotated with.

    Raises UserError that begins with ``where`` unless it is a frozen dataclass of ``Settings``.
    """
    try:
        parameter = inspect.signature(function).parameters.get("config")
    except ValueError:  # some built-in ones do not say
        parameter = None
    if parameter is None or parameter.annotation is parameter.empty:
        raise UserError(f"{where}: needs a parameter 'config' with the class of its settings")
    alone = types.SimpleNamespace(__annotations__={"config": parameter.annotation})
    made = function.__init__ if isinstance(function, type) else function  # perhaps inherited
    module = sys.modules[getattr(made, "__module__", function.__module__)]
    try:  # the annotations of other parameters need not be there when the module runs
        kind = typing.get_type_hints(alone, vars(module))["config"]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise UserError(f"{where}: config: {error}") from None
    return require_settings(kind, where)


def require_settings(kind: Any, where: str) -> type[Settings]:
    """Give back a frozen dataclass of ``Settings``; UserError that begins with ``where`` else."""
    if not (
        isinstance(kind, type)
        and issubclass(kind, Settings)
        and dataclasses.is_dataclass(kind)
        and kind.__dataclass_params__.frozen
    ):
        name = getattr(kind, "__name__", kind)
        raise UserError(
            f"{where}: its settings, {name}, must be a frozen dataclass that derives from "
            "robolearn.settings.Settings"
        )
    return kind


def said(fault: Mapping[str, Any]) -> str:
    """Say one fault that pydantic found: what would be right, and what was there."""
    if fault["type"] == "too_short":
        words = f"should have {fault['ctx']['min_length']} or more entries"
    elif fault["type"] == "too_long":
        words = f"should have {fault['ctx']['max_length']} entries at most"
    else:
        words = fault["msg"].removeprefix("Input ").partition(", unable")[0]
        words = words.replace("a valid array", "a list, [a, b]")  # as YAML calls it
    return f"{words}, not {reprlib.repr(fault['input'])}"


@functools.cache
def _adapters(cls: type) -> dict[str, pydantic.TypeAdapter]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        name: pydantic.TypeAdapter(hint, config=None if dataclasses.is_dataclass(hint) else FINITE)
        for name, hint in hints.items()
    }


def steps_of(share: float, length: float) -> int:
    """Give so large a share of a length as a number of steps, at least one."""
    return max(1, round(share * length))
