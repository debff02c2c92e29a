"""How well the control loop of a session keeps its rate, and how long a key press takes.

Prints one JSON line per client:

    python benchmarks/control_loop.py [--seconds 60] [--task Lift] [--size 256]

``none``: nobody looks on. ``pictures``: two cameras are drawn in a process of their own, coded as
JPEG, and taken by a plain client as fast as they come. ``pictures, judge``: and a judge of harm
scores every step. ``while and sleep``: the loop that people write, without deadlines, in which the
environment itself draws the two cameras.

``missed_share`` is of ticks that began after the next deadline, ``jitter_*_ms`` how late ticks
began, ``key_to_action_*_ms`` from a key press, at a random moment, to the action that is sent. For
``while and sleep`` a tick is late by what it differs from its period.
"""

import argparse
import contextlib
import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import sim
from demos.data.dataset import Dataset
from demos.devices.contracts import Button, Signal
from demos.devices.others import Scripted
from demos.devices.steering import Steered, Steering, SteeringConfig
from demos.operators import make_operator
from demos.session.clock import SimulatedClock
from demos.session.judging import Scorer, ScorerConfig, make_scorer
from demos.session.pictures import Pictured
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from robolearn.types import Environment

CAMERAS = ("agentview", "robot0_eye_in_hand")
PRESS_S = (0.1, 0.4)  # range of pauses between key presses, and of their lengths
BASE = 12  # demonstrations that the judge learns from


def main() -> None:
    """Measure every client."""
    arguments = _arguments()
    name = f"robosuite/{arguments.task}"
    steps = round(arguments.seconds * 20)
    options = {"horizon": steps + 10}
    env = sim.make(name, **options)
    with tempfile.TemporaryDirectory() as folder:
        scorer = _scorer(env, name, folder)
    size = (arguments.size, arguments.size)
    say("none", session(env, steps, None))
    for client, judge in (("pictures", None), ("pictures, judge", scorer)):
        pictured = Pictured(name, options, CAMERAS, size, jpeg=True)
        found = session(env, steps, judge, pictured)
        pictured.close()
        say(client, found)
    env.close()
    say(
        "while and sleep", plain(sim.make(name, cameras=CAMERAS, image_size=size, **options), steps)
    )


def say(client: str, found: dict[str, Any]) -> None:
    """Print a row."""
    rounded = {name: round(value, 4) for name, value in found.items()}
    print(json.dumps({"client": client} | rounded), flush=True)


class Keys:
    """A source whose only key is pressed and let go at random moments, by a thread."""

    name, help = "keys", ()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down, self._since_s, self._ended = False, 0.0, threading.Event()

    def open(self) -> None:
        """Begin to press."""
        threading.Thread(target=self._press, daemon=True).start()

    def close(self) -> None:
        """Press no more."""
        self._ended.set()

    def poll(self, now_s: float) -> Signal:
        """Say whether the key is down; ``given_s`` is when that began."""
        with self._lock:
            down, since_s = self._down, self._since_s
        return Signal((1.0, 0, 0), engaged=down, given_s=since_s, buttons=(Button.START,))

    def _press(self) -> None:
        moments = random.Random(0)
        while not self._ended.wait(moments.uniform(*PRESS_S)):
            with self._lock:
                self._down, self._since_s = not self._down, time.monotonic()


def session(
    env: Environment, steps: int, judge: Scorer | None, pictured: Pictured | None = None
) -> dict[str, float]:
    """Run one demonstration of so many steps in real time."""
    config = SessionConfig(horizon=steps, settle_steps=steps, goal=1, ask=False, naive=False)
    steering = Steering(SteeringConfig(speed=0.02, stale_s=60.0), env.interface)
    device = Steered(Keys(), steering)
    made = Session(env, device, None, config, scorer=judge)
    device.open()
    with _client(made, pictured) as seen:
        threading.Thread(target=_leave_after_one, args=(made,), daemon=True).start()
        made.run()
    device.close()
    timing = made.last.metadata["timing"]
    records = made.last.records
    pressed = np.flatnonzero(np.diff(records["engaged"].astype(int)) > 0) + 1
    delays_ms = 1e3 * (records["sent_s"] - records["input_s"])[pressed]
    return {
        "missed_share": timing["missed_share"],
        "jitter_p50_ms": timing["jitter_p50_ms"],
        "jitter_p99_ms": timing["jitter_p99_ms"],
        "jitter_max_ms": timing["jitter_max_ms"],
        "key_to_action_p50_ms": float(np.median(delays_ms)),
        "key_to_action_p99_ms": float(np.percentile(delays_ms, 99)),
        "presses": len(pressed),
        "pictures_per_s": len(seen) / (steps * env.interface.period_s),
    }


def _leave_after_one(made: Session) -> None:
    while made.status.attempts == 0:
        time.sleep(0.05)
    made.press(Button.QUIT)


@contextlib.contextmanager
def _client(made: Session, pictured: Pictured | None) -> Iterator[list[int]]:
    """Take frames and pictures as a page would; give the numbers of those that came."""
    seen: list[int] = []
    box = made.views.subscribe()

    def feed() -> None:
        while (frame := box.take()) is not None:
            pictured.offer(frame.state)

    def look() -> None:
        while not box.closed:
            found = pictured.after(seen[-1] if seen else 0, 0.5)
            if found is not None:
                seen.append(found.number)

    work = () if pictured is None else (feed, look)
    threads = [threading.Thread(target=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    yield seen
    for thread in threads:
        thread.join()


def plain(env: Environment, steps: int) -> dict[str, float]:
    """Step, draw and sleep for a period, as fast loops are written."""
    period_s, began = env.interface.period_s, []
    env.reset(seed=0)
    for _ in range(steps):
        began.append(time.monotonic())
        env.step(np.zeros(env.interface.action.shape, np.float32))
        time.sleep(period_s)
    env.close()
    periods = np.diff(began)
    late_ms = 1e3 * (periods - period_s)
    return {
        "missed_share": float((periods > 1.5 * period_s).mean()),
        "jitter_p50_ms": float(np.median(late_ms)),
        "jitter_p99_ms": float(np.percentile(late_ms, 99)),
        "jitter_max_ms": float(late_ms.max()),
        "period_s": float(periods.mean()),
    }


def _scorer(env: Environment, name: str, folder: str) -> Scorer:
    """Have a scripted operator demonstrate, and learn from it."""
    rng = np.random.default_rng(0)
    dataset = Dataset.create(f"{folder}/base", env.interface)
    config = SessionConfig(operator="base", goal=BASE, horizon=400, ask=False)
    device = Scripted(lambda: make_operator(name, "base", env.interface, rng))
    Session(env, device, dataset, config, clock=SimulatedClock()).run()
    return make_scorer(ScorerConfig(str(dataset.path)), env.interface)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each client")
    parser.add_argument("--task", default="Lift", help="one that the scripted operators know")
    parser.add_argument("--size", type=int, default=256, help="of pictures, pixels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
