"""What a session says while a policy acts in it."""

from __future__ import annotations

from demos.deploy.config import DeployConfig
from demos.session.contracts import State, Status
from demos.session.words import MESSAGES, Words

ASKED = "ready: begin when all is in place"
OURS = {
    State.RUNNING: "the policy acts",
    State.PAUSED: "paused: the policy does not act; go on when you like",
    State.DECIDING: "{}",
}


def words_of(config: DeployConfig, earlier: int) -> Words:
    """Give the words of a policy's episodes, of which ``earlier`` are in the dataset already."""

    def headline(status: Status) -> str:
        number = min(status.attempts + 1, config.episodes)
        succeeded = status.kept - earlier
        if status.state is State.DONE:
            return f"{config.operator}: {succeeded} of {status.attempts} episodes succeeded"
        so_far = f", {succeeded} succeeded so far" if status.attempts else ""
        return f"{config.operator}: episode {number} of {config.episodes}{so_far}"

    waiting = ASKED if config.success == "person" else MESSAGES[State.WAITING]
    return Words(
        one="episode",
        before="the policy begins",
        given_up="",
        messages=MESSAGES | OURS | {State.WAITING: waiting},
        headline=headline,
    )
