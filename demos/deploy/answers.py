"""What a policy answers, as actions: one at a time, or a chunk of them for several steps."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from demos.deploy.config import ChunkConfig
from robolearn.errors import DataError, UserError
from robolearn.types import Observation, Policy


class Answers:
    """A policy whose answers are actions: one that gives nothing, or nonsense, ends the episode."""

    def __init__(self, policy: Policy, size: int) -> None:
        self._policy, self._size = policy, size

    def reset(self, n: int) -> None:
        """Begin episodes."""
        self._policy.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the policy's actions [N, A]; DataError for what is none."""
        actions = numbers(self._policy.act(observation, explore))
        wanted = (len(next(iter(observation.values()))), self._size)
        if actions.shape != wanted:
            raise DataError(f"the policy gave actions of shape {actions.shape}, not {wanted}")
        return actions


class Chunks:
    """A policy that answers in chunks (``robolearn.types.Chunking``), as one of single steps.

    Of each chunk ``steps`` actions are given, one a control step. The policy is asked again
    ``ahead`` steps before they are over, in a thread of its own, while the rest of them is carried
    out: of what it then gives, the first ``ahead`` actions are past, and left out.
    """

    def __init__(self, policy: Policy, size: int, config: ChunkConfig) -> None:
        """Take actions of ``size`` entries; UserError for a policy that gives no chunks."""
        if not hasattr(policy, "act_chunk"):
            raise UserError("chunk: this policy gives single actions; leave it out")
        self._policy, self._size, self._config = policy, size, config
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._left: deque[np.ndarray] = deque()  # [A] each
        self._asked: Future[np.ndarray] | None = None
        self.asked = self.waited = 0  # how often it was asked, and how often a step had to wait

    def reset(self, n: int) -> None:
        """Begin an episode; nothing of the last one's chunks is left."""
        self.drop()
        self._policy.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the next action [1, A]; DataError for a chunk that is none."""
        if self._asked is None and len(self._left) <= self._config.ahead:
            self._asked = self._thread.submit(self._ask, observation, explore, len(self._left))
            self.asked += 1
        if not self._left:
            self.waited += not self._asked.done()
            self._left, self._asked = deque(self._asked.result()), None
        return self._left.popleft()[None]

    def drop(self) -> None:
        """Forget what was planned: somebody else has moved the arm meanwhile."""
        if self._asked is not None:
            wait([self._asked])
        self._left, self._asked = deque(), None

    def close(self) -> None:
        """End the thread, once the policy has answered."""
        self._thread.shutdown(wait=True)

    def _ask(self, observation: Observation, explore: bool, past: int) -> np.ndarray:
        """Give the actions [H, A] of a new chunk that are to be carried out."""
        chunk = numbers(self._policy.act_chunk(observation, explore))
        if chunk.ndim != 3 or (chunk.shape[0], chunk.shape[2]) != (1, self._size):
            wanted = f"(1, H, {self._size})"
            raise DataError(f"the policy gave a chunk of shape {chunk.shape}, not {wanted}")
        steps = self._config.steps or chunk.shape[1] - past
        actions = chunk[0, past : past + steps]
        if len(actions) < steps or not len(actions):
            raise DataError(
                f"the policy gave a chunk of {chunk.shape[1]} actions; chunk.steps and chunk.ahead "
                f"need {past + max(steps, 1)}"
            )
        return actions


def numbers(actions: Any) -> np.ndarray:
    """Give what a policy gave as float32; DataError where it is no array of finite numbers."""
    if actions is None:
        raise DataError("the policy gave nothing")
    try:
        found = np.asarray(actions, np.float32)
    except (TypeError, ValueError):
        raise DataError(f"the policy gave {type(actions).__name__}, not actions") from None
    if not np.isfinite(found).all():
        raise DataError("the policy gave an action that is not a finite number")
    return found
