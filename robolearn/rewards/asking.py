"""Asking while a policy learns: when, about what, and what is done with the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pydantic import PositiveInt

from robolearn.rewards.labels import Answer, Question
from robolearn.rewards.preference import PreferenceReward
from robolearn.rewards.teachers import TEACHERS, Teacher, task_rewards
from robolearn.settings import Settings

Respond = Callable[[int, Sequence[Question]], Iterable[tuple[Question, Answer]]]
"""(questions that were asked before, questions) -> those that were answered, with the answers.

Whoever keeps questions over a stop may give back one that had been asked under the same number.
"""


@dataclass(frozen=True)
class AskingConfig(Settings):
    """How often is asked, and how much. Raises UserError for a value out of range."""

    every: PositiveInt = 2_000
    """Control steps between two times at which questions are asked."""
    questions: PositiveInt = 20
    """Questions at each of these times."""
    labels: PositiveInt = 400
    """Labels in all, after which nobody is asked any more."""


class Memory(Protocol):
    """What was done, in pieces: a ``Replay``."""

    def segments(self, count: int, length: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Draw pieces [B, L, ...] of L successive steps of one episode each."""


class Asker:
    """Asks about what a policy did, and has the reward learn.

    What is asked follows from the seed and from what was done: whoever goes on with the reward,
    with ``answers`` and with the same memory asks the same.
    """

    def __init__(
        self, reward: PreferenceReward, config: AskingConfig, respond: Respond, seed: int = 0
    ):
        """Say which reward learns, and who answers."""
        self.reward, self.config, self.respond, self.seed = reward, config, respond, seed
        self.answers = {answer.value: 0 for answer in Answer}  # how often each was given

    def is_due(self, steps: int, taken: int, first: int = 0) -> bool:
        """Say whether the last ``taken`` of so many control steps completed ``every``.

        They are counted from ``first`` on, where it is asked for the first time.
        """
        every, since = self.config.every, steps - first
        due = since >= 0 and since // every > (since - taken) // every
        return due and self.reward.labels.given < self.config.labels

    def ask(self, memory: Memory, steps: int) -> dict[str, float]:
        """Ask, remember, and learn if there is a label by then; give what was seen.

        ``steps``, how many control steps were taken by now, decides what is drawn.
        """
        reward, rng = self.reward, np.random.default_rng([self.seed, steps, 2])
        count = min(self.config.questions, self.config.labels - reward.labels.given)
        pieces = memory.segments(reward.segments_for(count), reward.config.length, rng)
        questions = reward.questions(pieces, count)
        for question, answer in self.respond(sum(self.answers.values()), questions):
            reward.remember(question, answer)
            self.answers[answer.value] += 1
        return reward.learn() if len(reward.labels) else {}


def teacher_responds(name: str, seed: int = 0) -> Respond:
    """Have one of ``TEACHERS`` answer; its unit is the mean sum of the segments in question."""
    teacher = Teacher(TEACHERS[name], seed)

    def respond(before: int, questions: Sequence[Question]) -> list[tuple[Question, Answer]]:
        segments = [segment for q in questions for segment in (q.first, q.second)]
        teacher.asked = before
        teacher.unit = float(np.mean([task_rewards(segment).sum() for segment in segments]))
        return [(question, teacher.answer(question)) for question in questions]

    return respond
