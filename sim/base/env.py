"""What every environment does alike: it checks the order of calls, seeds, options and actions."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import gymnasium
import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation, Spec
from sim.base.options import RENDER_MODE, reset_options, whole_number
from sim.base.spaces import checked_action, checked_state, interface_spaces

OURS = "robolearn/"  # what our environments' ids for gymnasium begin with
RESET_OPTIONS = ("state",)


def warn_unrendered(where: str, maker: str) -> None:
    """Warn who called ``render`` of what was made without a ``render_mode``."""
    hint = f'{maker}(..., render_mode="{RENDER_MODE}")'
    warnings.warn(f"{where}: nothing is rendered without {hint}", stacklevel=3)


class Backdrop(Protocol):
    """What moves behind the robot; what it shows follows from its state, [memory_size]."""

    memory_size: int

    def begin(self, seed: int) -> None:
        """Begin the episode of a seed."""

    def advance(self) -> None:
        """Go on by a step."""

    def get_state(self) -> np.ndarray:
        """Give its state."""

    def set_state(self, state: np.ndarray) -> None:
        """Take over a state."""


class Renderer(Protocol):
    """What an environment draws; ``sim.rendering.images.Images`` is one."""

    backdrop: Backdrop | None

    def observe(self) -> Observation:
        """Draw the images that are observed, by name."""

    def show(self) -> np.ndarray:
        """Draw the image for people, uint8 [H, W, 3]."""

    def close(self) -> None:
        """Free what draws; calling it again does nothing."""


class Env(gymnasium.Env):
    """See ``robolearn.types.Environment``; subclasses say how an episode begins, moves and ends.

    Every call but ``close`` raises UserError where the environment is closed, and all that need an
    episode where there is none yet. An ended episode may be stepped on.
    """

    metadata = {"render_modes": [RENDER_MODE]}
    interface: Spec
    _images: Renderer
    _begun = False  # whether there is an episode; also False where it is closed
    _closed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; ``options={"state": state}`` begins it in a stored state [S].

        Raises UserError for an unknown option and for a seed that is no whole number.
        """
        self._require_open()
        where = self.interface.environment
        options = reset_options(options, RESET_OPTIONS, where)
        if seed is not None:
            seed = whole_number(seed, where, "seed", least=0)
        super().reset(seed=seed)
        if "state" in options:
            return self.set_state(options["state"]), {}
        if self._images.backdrop is not None:  # from a generator of its own: the episode stays as
            (own,) = self.np_random.spawn(1)  # it is without
            self._images.backdrop.begin(int(own.integers(2**32)))
        observation = self._begin_episode()
        self._begun = True
        return observation, {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action float32 [A] in [-1, 1] for one control period.

        ``info`` has "success", "is_success" (the same) and "reward_terms", and "error" where the
        simulation diverged, which truncates the episode. Raises SpecError for an action of another
        shape and DataError for one that is not finite.
        """
        if not self._begun:
            self._require_begun("its first step")
        action = checked_action(action, self.interface)
        if self._images.backdrop is not None:
            self._images.backdrop.advance()
        return self._step(action)

    @property
    def state_size(self) -> int | None:
        """How many entries a state has; None where states cannot be set.

        What moves behind the robot, if anything does, is told by the last ones.
        """
        own, backdrop = self._own_state_size, self._images.backdrop
        return own if own is None or backdrop is None else own + backdrop.memory_size

    def get_state(self) -> np.ndarray:
        """Give the state float64 [S] from which ``set_state`` restarts bit-exactly."""
        self._require_begun("its state is read")
        backdrop = self._images.backdrop
        own = self._get_state()
        return own if backdrop is None else np.append(own, backdrop.get_state())

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` of an environment with the same options gave.

        Raises SpecError for a state of another size and DataError for one that is not finite,
        before anything changes.
        """
        self._require_open()
        state = checked_state(state, self.state_size, self.interface.environment)
        own = state[: self._own_state_size]
        if self._images.backdrop is not None:
            self._images.backdrop.set_state(state[len(own) :])
        observation = self._set_state(own)
        self._begun = True
        return observation

    def behind(self) -> np.ndarray | None:
        """Give what moves behind the robot at present, uint8 [H, W, 3]; None where nothing does."""
        self._require_begun("what is behind is looked at")
        return None if self._images.backdrop is None else self._images.backdrop.frame()

    def render(self) -> np.ndarray | None:
        """Draw the present state for people: uint8 [H, W, 3].

        Gives None, with a warning, where the environment was made without ``render_mode``. Raises
        UserError where no GL library works.
        """
        self._require_begun("it is rendered")
        if self.render_mode is None:
            warn_unrendered(self.interface.environment, "make")
            return None
        return self._images.show()

    def close(self) -> None:
        """Free the simulator and what draws; calling it again does nothing."""
        if not self._closed:
            self._closed, self._begun = True, False
            self._images.close()
            self._free()

    def _present(self, interface: Spec, render_mode: str | None) -> None:
        """Tell gymnasium what goes in and out, how it is rendered, and how quickly time goes by."""
        self.interface, self.render_mode = interface, render_mode
        self.observation_space, self.action_space = interface_spaces(interface)
        if interface.period_s:
            fps = max(1, round(1 / interface.period_s))
            self.metadata = self.metadata | {"render_fps": fps}

    def _require_open(self) -> None:
        if self._closed:
            where = self.interface.environment
            raise UserError(f"{where}: this environment is closed; make another")

    def _require_begun(self, what: str) -> None:
        if not self._begun:
            self._require_open()
            raise UserError(f"{self.interface.environment}: reset the environment before {what}")

    def _begin_episode(self) -> Observation:
        """Draw the next episode from ``np_random`` and begin it."""
        raise NotImplementedError

    def _step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do what ``step`` says with a checked action float64 [A], which may be written into."""
        raise NotImplementedError

    @property
    def _own_state_size(self) -> int | None:
        """How many entries a state has without the backdrop's; None where states cannot be set."""
        raise NotImplementedError

    def _get_state(self) -> np.ndarray:
        raise NotImplementedError

    def _set_state(self, state: np.ndarray) -> Observation:
        raise NotImplementedError

    def _free(self) -> None:
        """Free the simulator, if it does not free itself with the environment."""
