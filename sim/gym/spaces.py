"""gymnasium's spaces in the project's terms: a state vector, images by name, an action vector."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from robolearn.errors import UserError
from robolearn.types import ArraySpec, Observation
from sim.base.spaces import ActionRange

Decode = Callable[[np.ndarray], Any]


class ObservationReader:
    """Turns an observation of any of gymnasium's common spaces into a dict of named arrays.

    Numbers go into ``"state"`` float32 [O], in the order of the space: a Box flattened, one value
    of a Discrete one-hot. A uint8 Box [H, W, 3] becomes an image, called by its key, or "image".
    Raises UserError for other spaces.
    """

    def __init__(self, space: spaces.Space, where: str) -> None:
        self._parts = _parts(space, (), where)
        self.specs: dict[str, ArraySpec] = {
            _label(path, "image"): ArraySpec(part.shape, "uint8")
            for path, part in self._parts
            if _is_image(part)
        }
        names = [n for path, part in self._parts if not _is_image(part) for n in _names(path, part)]
        if names:
            self.specs["state"] = ArraySpec((len(names),), "float32", tuple(names))

    def __call__(self, observation: Any) -> Observation:
        """Convert one observation."""
        result, numbers = {}, []
        for path, part in self._parts:
            value = observation
            for key in path:
                value = value[key]
            if _is_image(part):
                result[_label(path, "image")] = np.asarray(value, np.uint8)
            else:
                numbers.append(np.ravel(spaces.flatten(part, value)))
        if numbers:
            result["state"] = np.concatenate(numbers).astype(np.float32)
        return result


def action_decoder(space: spaces.Space, where: str) -> tuple[ArraySpec, Decode]:
    """Describe an action [A] in [-1, 1], and give the function that makes the space's action of it.

    A Box is stretched to its bounds (an infinite bound counts as 1). A Discrete has one entry per
    choice, a MultiDiscrete one per choice of each part: the largest is taken. An entry of a
    MultiBinary is on above 0. Raises UserError for other spaces.
    """
    if isinstance(space, spaces.Box):
        stretch = ActionRange(space.low.ravel(), space.high.ravel())
        names = tuple(f"action_{i}" for i in range(stretch.gain.size))
        scale = tuple(float(s) for s in stretch.gain)
        spec = ArraySpec((len(names),), "float32", names, (), scale)
        return spec, lambda action: stretch(action).reshape(space.shape).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        names = tuple(f"choice_{i}" for i in range(int(space.n)))
        return _scores(names), lambda action: space.start + int(np.argmax(action))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        names = tuple(f"part_{p}_choice_{i}" for p, n in enumerate(space.nvec) for i in range(n))
        ends = np.cumsum(space.nvec)[:-1]
        return (
            _scores(names),
            lambda action: (
                space.start + np.array([np.argmax(part) for part in np.split(action, ends)])
            ),
        )
    if isinstance(space, spaces.MultiBinary):
        names = tuple(f"switch_{i}" for i in range(int(np.prod(space.shape))))
        return _scores(names), lambda action: (action > 0).astype(np.int8).reshape(space.shape)
    raise UserError(f"{where}: actions of kind {type(space).__name__} are not supported")


def _scores(names: tuple[str, ...]) -> ArraySpec:
    return ArraySpec((len(names),), "float32", names)


def _parts(space: spaces.Space, path: tuple, where: str) -> list[tuple[tuple, spaces.Space]]:
    """List the leaves of nested Dicts and Tuples with the keys that lead to them."""
    if isinstance(space, spaces.Dict):
        children = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        children = enumerate(space.spaces)
    elif isinstance(
        space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    ):
        return [(path, space)]
    else:
        name = type(space).__name__
        raise UserError(f"{where}: observations of kind {name} are not supported")
    return [part for key, child in children for part in _parts(child, (*path, key), where)]


def _is_image(space: spaces.Space) -> bool:
    return len(space.shape or ()) == 3 and space.dtype == np.uint8 and space.shape[-1] == 3


def _names(path: tuple, space: spaces.Space) -> list[str]:
    size = spaces.flatdim(space)
    label = _label(path, "observation")
    return [label] if size == 1 else [f"{label}_{i}" for i in range(size)]


def _label(path: tuple, default: str) -> str:
    return "_".join(str(key) for key in path) or default
