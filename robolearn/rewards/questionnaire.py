"""Questions to people, and their answers, as files: whoever answers may do so at any time.

    spec.json             the environment that the questions are about
    about.json            what people are told, and how the environment is made, to be looked at
    000000.safetensors    a question: "first/..." and "second/...", arrays [L, ...]
    answers.jsonl         a line for each answer, as it comes: {"question": 0, "answer": "first"}

A question is never replaced. Of answers to the same question the first one counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from robolearn.errors import DataError, SpecError
from robolearn.files import cannot_write, make_folder, write_atomically
from robolearn.rewards.labels import Answer, Question, Segment
from robolearn.types import Spec

FOLDER = "questions"  # in a run
SPEC, ABOUT, ANSWERS = "spec.json", "about.json", "answers.jsonl"
SIDES = ("first", "second")
KEPT = ("actions", "states", "task_rewards")  # of a segment, beside the observations' "state"


class Questionnaire:
    """A folder of questions and answers, which several processes may read and write at once."""

    def __init__(self, folder: Path, interface: Spec, about: Mapping[str, Any]):
        """Say where; nothing is written before there is a question."""
        self.folder, self.interface, self.about = folder, interface, dict(about)
        self._answers: tuple[int, dict[int, Answer]] = 0, {}  # size of the file, what is in it

    @classmethod
    def read(cls, folder: Path) -> Questionnaire:
        """Open a folder that has questions; DataError if it is missing or damaged."""
        try:
            interface = Spec.from_json((folder / SPEC).read_text(encoding="utf-8"))
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            return cls(folder, interface, about)
        except OSError as error:
            raise DataError(f"{folder}: no questions to people there: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"{folder}: {SPEC} or {ABOUT} is damaged: {error}") from error

    @classmethod
    def begin(cls, folder: Path, interface: Spec, about: Mapping[str, Any]) -> Questionnaire:
        """Begin a folder, or go on with one; SpecError if that is of another environment."""
        if (folder / SPEC).exists():
            earlier, theirs = cls.read(folder).interface, f"the environment {interface.environment}"
            if earlier.environment != interface.environment:
                asked = f"{folder}: these questions are about {earlier.environment}"
                raise SpecError(f"{asked}, not about {theirs}")
            earlier.require(interface, f"the questions in {folder}", theirs)
        return cls(folder, interface, about)

    # questions

    def numbers(self) -> list[int]:
        """Give the numbers of all questions, in order."""
        return sorted(int(file.stem) for file in self.folder.glob("[0-9]*.safetensors"))

    def open(self) -> list[int]:
        """Give the numbers of those that nobody has answered."""
        answered = self.answers()
        return [number for number in self.numbers() if number not in answered]

    def put(self, number: int, question: Question) -> None:
        """Write a question, unless there is one under this number."""
        if not (self.folder / SPEC).exists():
            make_folder(self.folder)
            about = json.dumps(self.about, indent=2)
            write_atomically(self.folder / ABOUT, about.encode())
            write_atomically(self.folder / SPEC, self.interface.to_json().encode())
        if not self._file(number).exists():
            pair = zip(SIDES, (question.first, question.second), strict=True)
            arrays = {f"{side}/{k}": a for side, segment in pair for k, a in _flat(segment).items()}
            write_atomically(self._file(number), safetensors.numpy.save(arrays))

    def question(self, number: int) -> Question:
        """Read a question; DataError if it is missing, damaged or of another environment."""
        file = self._file(number)
        try:
            arrays = safetensors.numpy.load_file(file)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{file}: missing or damaged: {error}") from error
        return Question(*(self._segment(arrays, side, file) for side in SIDES))

    def _segment(self, arrays: Mapping[str, np.ndarray], side: str, file: Path) -> Segment:
        found = {k: arrays[f"{side}/{k}"] for k in ("state", *KEPT) if f"{side}/{k}" in arrays}
        sizes = {
            "state": self.interface.observations["state"].shape,
            "actions": self.interface.action.shape,
        }
        for name, shape in sizes.items():
            if name not in found or found[name].shape[1:] != shape:
                raise DataError(f"{file}: its {side} segment has no {name} [L, {shape[0]}]")
        return {"observations": {"state": found.pop("state")}, **found}

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    # answers

    def answers(self) -> dict[int, Answer]:
        """Give all answers by the questions' numbers; DataError if the file is damaged.

        A last line without an end, which somebody was writing as the power failed, does not count.
        """
        file = self.folder / ANSWERS
        size = file.stat().st_size if file.exists() else 0
        if size != self._answers[0]:
            whole = file.read_bytes().rpartition(b"\n")[0]
            found: dict[int, Answer] = {}
            for row, line in enumerate(whole.splitlines(), start=1):
                number, answer = _read(line, f"{file}:{row}")
                found.setdefault(number, answer)
            self._answers = size, found
        return self._answers[1]

    def answer(self, number: int, answer: Answer) -> bool:
        """Keep an answer for good, at once; give whether it is the first one to the question.

        DataError if there is no such question, or if the disk is full.
        """
        if not self._file(number).exists():
            raise DataError(f"there is no question {number} in {self.folder}")
        if number in self.answers():
            return False
        line = json.dumps({"question": number, "answer": answer.value}) + "\n"
        file = self.folder / ANSWERS
        try:
            _append(file, line.encode())
        except OSError as error:
            raise cannot_write(file, error) from error
        return True

    def respond(
        self, before: int, questions: Sequence[Question], attend: Callable[[], None]
    ) -> list[tuple[Question, Answer]]:
        """Ask people, and call ``attend`` again and again until all is answered.

        What had been asked under the same numbers before a stop takes the questions' place, so that
        no answer is lost and none is asked for twice.
        """
        numbers = range(before, before + len(questions))
        for number, question in zip(numbers, questions, strict=True):
            self.put(number, question)
        while not all(number in self.answers() for number in numbers):
            attend()
        return [(self.question(number), self.answers()[number]) for number in numbers]


def _flat(segment: Segment) -> dict[str, np.ndarray]:
    kept = {name: segment[name] for name in KEPT if name in segment}
    kept["state"] = segment["observations"]["state"]
    return {name: np.ascontiguousarray(array) for name, array in kept.items()}


def _read(line: bytes, where: str) -> tuple[int, Answer]:
    try:
        found = json.loads(line)
        return int(found["question"]), Answer(found["answer"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError(f"{where}: damaged: no question and answer in it") from None


def _append(file: Path, line: bytes) -> None:
    """Add a line, after what is whole, and wait until it is on the disk."""
    with open(file, "ab+", buffering=0) as lines:
        lines.seek(0)
        content = lines.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.truncate(file, whole)
        lines.write(line)
        os.fsync(lines.fileno())
