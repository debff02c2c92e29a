"""What a session says of itself: these are the words of a person who demonstrates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from demos.session.contracts import Decision, Ending, State, Status

MESSAGES = {
    State.WAITING: "ready: begin when you like",
    State.RUNNING: "demonstrate",
    State.PAUSED: "paused: nothing moves; go on when you like",
    State.SAVING: "saving",
    State.DECIDING: "{}: go on, or decide otherwise",
    State.SHOWING: "watch: {}",
    State.DONE: "done",
}
ENDINGS = {
    Ending.SUCCESS: "it succeeded",
    Ending.FAILURE: "it was called a failure",
    Ending.TASK: "the task ended without success",
    Ending.TIME: "time was over, and no success was seen",
    Ending.STOPPED: "the arm was stopped",
    Ending.PERSON: "you ended it, and no success was seen",
    Ending.DEVICE: "there was nothing more to do, and no success was seen",
}


def headline(status: Status) -> str:
    """Say in a line how far a session is."""
    of = f"kept {status.kept} of {status.goal}"
    rejected = f", rejected {status.rejected}" if status.rejected else ""
    return f"{status.phase}, {status.operator}: {of}{rejected}"


@dataclass(frozen=True)
class Words:
    """What a session calls what it does."""

    one: str = "demonstration"
    """What is counted."""
    before: str = "demonstrate: it begins when you move"
    """While nothing has moved yet."""
    given_up: str = "it ends after {} demonstrations, as attempts says"
    messages: Mapping[State, str] = field(default_factory=lambda: MESSAGES)
    headline: Callable[[Status], str] = headline

    def message(
        self, state: State, shown: str, decision: Decision | None, ending: Ending | None
    ) -> str:
        """Say what is done now; of a last one that failed, how it ended."""
        told = "" if decision is None else str(decision)
        if decision is Decision.FAILED and ending is not None:
            told += f" ({ENDINGS[ending]})"
        text = self.messages[state].format(shown or told)
        if state is State.DONE and decision is Decision.FAILED:
            return f"{text}; the last {self.one}: {told}"
        return text
