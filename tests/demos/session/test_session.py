import dataclasses
import time

import numpy as np
import pytest

from demos.data.dataset import Dataset
from demos.data.doctor import doctor
from demos.devices.contracts import Button
from demos.devices.others import Replay, Scripted
from demos.session.clock import SimulatedClock
from demos.session.contracts import Live, Phase, State, as_json
from robolearn.errors import DataError, SpecError

from ..conftest import CAMERA, Walker, walk
from .people import Person, Strict, Wire, session


def decisions(dataset) -> list[str]:
    dataset = Dataset.open(dataset.path)
    return [dataset.metadata(name)["decision"] for name in dataset.names()]


def watched(made):
    """Run a session and give its frames as well."""
    box = made.views.subscribe(10**6)
    outcome = made.run()
    frames = []
    while (frame := box.take(0)) is not None:
        frames.append(frame)
    return outcome, frames


def test_it_goes_on_until_the_goal_is_reached(dataset):
    outcome = session(Person(), dataset, goal=3).run()
    assert outcome.kept == outcome.attempts == 3 and outcome.decisions == {"kept": 3}
    assert decisions(dataset) == ["kept"] * 3
    assert Dataset.open(dataset.path).masks()["kept"] == outcome.names
    assert doctor(dataset.path).healthy


def test_what_is_stored_of_a_demonstration(dataset):
    session(Person(), dataset, goal=1, task="walk", operator="bob").run()
    episode = dataset.load("demo_0")
    steps = len(episode)
    records = episode.records
    assert {name: len(array) for name, array in records.items()} == dict.fromkeys(
        ["action_asked", "input_s", "asked_s", "sent_s", "engaged", "intervention"], steps
    )
    assert np.abs(records["action_asked"]).max() > 1.0
    np.testing.assert_array_equal(episode.actions, np.clip(records["action_asked"], -1, 1))
    np.testing.assert_allclose(records["sent_s"], 0.05 * np.arange(1, steps + 1))
    np.testing.assert_allclose(records["asked_s"] - records["input_s"], 0.01)
    assert records["engaged"].all() and not records["intervention"].any()
    about = episode.metadata
    assert about["operator"] == "bob" and about["task"] == "walk" and about["phase"] == "teach"
    assert about["outcome"] == "success" and about["decision"] == "kept"
    assert about["device"] == {"name": "person", "frame": "world", "speed": 0.5}
    assert about["timing"]["ticks"] == steps and about["timing"]["missed"] == 0
    assert about["replay"] == {
        "same": True, "steps": steps, "first_difference": None, "largest": 0.0
    }  # fmt: skip
    assert about["robot"] == "Point" and about["mujoco_state_size"] == 3


@pytest.mark.parametrize("from_motion", [True, False])
def test_a_demonstration_begins_with_the_first_motion_or_at_once(dataset, from_motion):
    _, frames = watched(session(Person(idle=5), dataset, goal=1, from_motion=from_motion))
    records = dataset.load("demo_0").records
    assert records["engaged"].all() == from_motion
    assert np.flatnonzero(records["engaged"])[0] == (0 if from_motion else 5)
    assert records["sent_s"][0] == pytest.approx(0.05)
    waited = [f for f in frames if f.status.message == "demonstrate: it begins when you move"]
    assert len(waited) == (6 if from_motion else 1) and all(f.action is None for f in waited)


def test_failures_are_kept_and_marked(dataset):
    outcome = session(Person(away={2}), dataset, goal=2).run()
    assert decisions(dataset) == ["kept", "failed", "kept"]
    assert outcome.decisions == {"kept": 2, "failed": 1}
    assert dataset.names(success=False) == ["demo_1"]


@pytest.mark.parametrize(
    ("button", "decision"),
    [(Button.KEEP, "kept"), (Button.DISCARD, "discarded"), (Button.START, "kept")],
)
def test_a_person_decides_when_it_has_ended(dataset, button, decision):
    person = Person([(Button.START,), (), (button,)], attempts=1)
    session(person, dataset).run()
    assert decisions(dataset) == [decision]
    assert doctor(dataset.path).healthy


@pytest.mark.parametrize(
    ("button", "decision"),
    [(Button.KEEP, "kept"), (Button.DISCARD, "discarded"), (Button.END, "failed"),
     (Button.QUIT, "discarded")],
)  # fmt: skip
def test_a_person_ends_it_before_the_task_does(dataset, button, decision):
    person = Person(attempts=1, away={1}, during={(1, 3): (button,)})
    session(person, dataset, horizon=50).run()
    assert decisions(dataset) == [decision]
    assert len(dataset.load("demo_0")) == 3


def test_trying_again_begins_in_the_same_start(dataset):
    person = Person(attempts=3, during={(1, 2): (Button.RETRY,)})
    session(person, dataset).run()
    assert decisions(dataset) == ["discarded", "kept", "kept"]
    first, again, new = (dataset.load(name).states[0] for name in dataset.names())
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, new)


def test_trying_again_after_it_has_ended(dataset):
    person = Person([(Button.START,), (), (Button.RETRY,)], attempts=2)
    session(person, dataset).run()
    assert decisions(dataset) == ["discarded", "kept"]
    assert len(set(person.starts)) == 1


def test_the_last_one_can_be_taken_back_also_in_a_later_session(dataset):
    session(Person(attempts=2), dataset).run()
    later = session(Person([(Button.UNDO,), (), (Button.UNDO,), (), (Button.UNDO,)], 1), dataset)
    outcome, frames = watched(later)
    assert decisions(dataset)[:2] == ["undone", "undone"] and outcome.kept == 1
    assert any(frame.status.problem == "there is nothing to take back" for frame in frames)
    assert doctor(dataset.path).healthy


def test_whoever_leaves_while_one_is_taken_back_does_not_demonstrate_again(dataset):
    session(Person(attempts=1), dataset).run()
    assert session(Person([(Button.UNDO, Button.QUIT)]), dataset).run().attempts == 0
    assert decisions(dataset) == ["undone"]


def test_a_pause_holds_and_is_noted(dataset):
    person = Person([(Button.START,), (), (), (Button.START,)], 1, during={(1, 2): (Button.PAUSE,)})
    session(person, dataset, goal=1).run()
    (pause,) = dataset.load("demo_0").metadata["pauses"]
    assert pause["step"] == 2 and pause["seconds"] == pytest.approx(0.15)
    assert dataset.metadata("demo_0")["replay"]["same"]


def test_a_lost_connection_pauses_until_it_is_asked_to_go_on(dataset):
    person = Person([(Button.START,), (), (Button.START,)], 1, lost={(1, 2)})
    _, frames = watched(session(person, dataset, goal=1))
    paused = [frame for frame in frames if frame.status.state is State.PAUSED]
    assert paused and all(frame.status.problem == "unplugged" for frame in paused)
    assert all(frame.action is None for frame in paused)
    assert len({tuple(frame.state) for frame in paused}) == 1
    assert frames[-1].status.problem == ""


def test_what_a_device_has_ended_is_over(dataset):
    session(Person(attempts=1, away={1}, ends={(1, 4)}), dataset, horizon=50).run()
    assert len(dataset.load("demo_0")) == 4


@pytest.mark.parametrize(
    ("options", "ended", "said"),
    [
        ({"during": {(1, 3): (Button.END,)}}, "person", "you ended it, and no success was seen"),
        ({}, "time", "time was over, and no success was seen"),
        ({"ends": {(1, 4)}}, "device", "there was nothing more to do, and no success was seen"),
    ],
)
def test_a_failed_one_says_how_it_ended(dataset, options, ended, said):
    outcome, frames = watched(session(Person(attempts=1, away={1}, **options), dataset, horizon=20))
    assert outcome.endings == {ended: 1} and dataset.metadata("demo_0")["ended"] == ended
    assert frames[-1].status.message == f"done; the last demonstration: failed ({said})"


def test_one_that_succeeds_says_so_in_its_metadata(dataset):
    assert session(Person(), dataset, goal=1).run().endings == {"success": 1}
    assert dataset.metadata("demo_0")["ended"] == "success"


def test_an_end_before_the_first_step_is_no_demonstration(dataset):
    session(Person(attempts=2, during={(1, 0): (Button.END,)}), dataset).run()
    assert decisions(dataset) == ["kept"]


def test_a_later_session_goes_on_with_other_starts_and_counts_what_is_there(dataset):
    first = Person()
    session(first, dataset, goal=2).run()
    person = Person()
    outcome = session(person, Dataset.open(dataset.path), goal=3).run()
    assert outcome.kept == 3 and outcome.attempts == 1
    assert not set(first.starts) & set(person.starts)
    assert session(Person(), Dataset.open(dataset.path), goal=3).run().attempts == 0
    assert session(Person(), Dataset.open(dataset.path), goal=1, operator="bob").run().kept == 1


def test_it_ends_after_so_many_demonstrations_although_the_goal_is_far(dataset):
    outcome, frames = watched(session(Person(away={2}), dataset, goal=9, attempts=3))
    assert decisions(dataset) == ["kept", "failed", "kept"] and outcome.attempts == 3
    assert frames[-1].status.state is State.DONE
    assert frames[-1].status.problem == "it ends after 3 demonstrations, as attempts says"
    later = session(Person(), Dataset.open(dataset.path), goal=3, attempts=3)
    assert later.run().attempts == 1 and later.status.problem == ""  # the goal was reached


@pytest.mark.parametrize("practice", [0, 5])
def test_neither_trying_again_nor_practice_goes_beyond_that(dataset, practice):
    person = Person(during={(n, 1): (Button.RETRY,) for n in range(1, 9)})
    outcome = session(person, dataset, attempts=2, practice=practice).run()
    assert outcome.attempts == person.attempt == len(dataset) == 2


def test_the_seeds_of_starts_may_be_given(dataset):
    for attempts in (2, 3):
        again = Dataset.open(dataset.path)
        session(Person(), again, start_seed=lambda n: 100 + n, attempts=attempts).run()
    seeds = [again.metadata(name)["seed"] for name in again.names()]
    assert seeds == [100, 101, 102, 103, 104]


def test_without_asking_it_does_as_proposed(dataset):
    person = Person(
        between=[(Button.START,), (), (Button.START,), (), (Button.DISCARD,)], attempts=2
    )
    session(person, dataset, ask=False).run()
    assert decisions(dataset) == ["kept", "kept"]


# phases, verdicts


def test_practice_comes_first_and_does_not_count(dataset):
    outcome, frames = watched(session(Person(away={1}), dataset, practice=2, goal=1))
    assert decisions(dataset) == ["practice"] * 3 + ["kept"]
    phases = [dataset.metadata(name)["phase"] for name in dataset.names()]
    assert phases == ["practice"] * 3 + ["teach"]
    assert [f.status.phase for f in frames][0] is Phase.PRACTICE


def test_then_base_demonstrations_are_watched(dataset):
    base = {"demo_0": walk(0), "demo_1": walk(1)}
    person = Person([(Button.START,), *[()] * 20])
    made = session(person, dataset, Strict({1}), base.get, practice=1, learn=5, goal=1)
    _, frames = watched(made)
    shown = [f for f in frames if f.status.state is State.SHOWING]
    assert {f.status.phase for f in shown} == {Phase.LEARN}
    assert all(f.status.verdict is None and f.status.strip == () for f in shown)
    titles = list(dict.fromkeys(f.status.message for f in shown))
    assert titles == [f"watch: base demonstration {i} of 2" for i in (1, 2)]
    assert len(shown) == 2 * 6  # every observation of both
    known = [tuple(state) for episode in base.values() for state in episode.states]
    assert all(tuple(f.state) in known for f in shown)
    assert decisions(dataset) == ["practice", "kept"]


def test_a_rejected_demonstration_is_kept_marked_and_shown(dataset):
    base = {"demo_0": walk(0, steps=20), "demo_1": walk(1, steps=20)}
    person = Person([(Button.START,), (), (Button.START,), *[()] * 40], attempts=2)
    outcome, frames = watched(session(person, dataset, Strict({1}, base), base.get, goal=1))
    assert decisions(dataset) == ["rejected", "kept"] and outcome.decisions["rejected"] == 1
    verdict = dataset.metadata("demo_0")["verdict"]
    assert verdict["reasons"] == ["slow"] and verdict["nearest"] == "demo_1"
    titles = list(dict.fromkeys(f.status.message for f in frames if f.status.state == "showing"))
    assert "watch: worst part 1 of 1" in titles
    assert "watch: the base demonstration most like yours" in titles
    nearest = [tuple(state) for state in base["demo_1"].states]
    assert tuple(frames[-1].state) not in nearest
    assert any(f.state is not None and tuple(f.state) in nearest for f in frames)


def slowed(episode, times):
    """Give an episode in which every moment lasts so many times as long."""
    repeat = lambda rows: np.concatenate([np.repeat(rows[:-1], times, axis=0), rows[-1:]])  # noqa: E731
    return dataclasses.replace(
        walk(steps=times * len(episode)),
        observations={name: repeat(rows) for name, rows in episode.observations.items()},
        states=repeat(episode.states),
    )


def test_the_worst_part_is_shown_beside_the_moments_of_the_base_that_correspond(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr("demos.session.teaching.AROUND", 1)
    session(Person(attempts=1), dataset).run()
    own = dataset.load("demo_0")
    base = {"demo_0": walk(0), "demo_1": slowed(own, 3)}
    other = Dataset.create(tmp_path / "other", dataset.interface, dataset.env_options)
    person = Person([(Button.START,), (), (Button.START,), *[()] * 40], attempts=1)
    _, frames = watched(session(person, other, Strict((), base), base.get))
    compared = [f for f in frames if f.beside is not None]
    assert all(f.status.state is State.SHOWING for f in compared)
    states, beside = (np.stack([getattr(f, n) for f in compared]) for n in ("state", "beside"))
    np.testing.assert_array_equal(states, beside)
    rows = [np.flatnonzero((own.states == state).all(axis=1))[0] for state in states]
    assert rows == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]  # steps 1 and 2, one before, one after
    alone = [f for f in frames if f.status.state is State.SHOWING and f.beside is None]
    np.testing.assert_array_equal([f.state for f in alone], base["demo_1"].states)


def test_what_is_shown_can_be_skipped(dataset):
    base = {"demo_1": walk(1, steps=20)}
    between = [(Button.START,), (), (Button.START,), (), (Button.SKIP,), (), (Button.SKIP,), ()]
    person = Person(between, attempts=1)
    _, frames = watched(session(person, dataset, Strict((), base), base.get, goal=1))
    assert 2 <= sum(f.status.state is State.SHOWING for f in frames) < 10


def test_a_person_may_keep_what_was_rejected(dataset):
    person = Person([(Button.START,), (), (Button.KEEP,)], attempts=1)
    session(person, dataset, Strict(), goal=1).run()
    about = dataset.metadata("demo_0")
    assert about["decision"] == "kept" and about["verdict"]["accepted"] is False


def test_the_status_says_which_demonstration_it_is_and_what_was_decided(dataset):
    between = [(), (Button.START,), (), (Button.KEEP,), (), (), (Button.START,), ()]
    _, frames = watched(session(Person(between, attempts=2, away={2}), dataset, Strict()))
    told = [(f.status.attempt, f.status.state, f.status.decision) for f in frames]
    told = [now for now, before in zip(told, [None, *told], strict=False) if now != before]
    assert told == [
        (0, "waiting", ""), (1, "running", ""), (1, "saving", ""), (1, "deciding", "rejected"),
        (1, "waiting", "kept"), (2, "running", ""), (2, "saving", ""), (2, "deciding", "failed"),
        (2, "done", "failed"),
    ]  # fmt: skip


def test_live_scores_are_shown_and_the_naive_see_none(dataset):
    _, frames = watched(session(Person(), dataset, Strict({0}), goal=1))
    running = [f.status for f in frames if f.status.steps]
    assert all(status.live.words == "faster" for status in running)
    assert running[-1].strip == (0.75,) * running[-1].steps
    assert running[-1].verdict.accepted
    _, frames = watched(
        session(Person(), dataset, Strict(), {}.get, goal=1, naive=True, operator="bob", learn=3)
    )
    assert all(f.status.live is None and f.status.verdict is None for f in frames)
    assert all(f.status.state is not State.SHOWING for f in frames)
    (name,) = dataset.names(operator="bob")
    about = dataset.metadata(name)
    assert about["decision"] == "kept" and about["naive"] and not about["verdict"]["accepted"]


def test_a_judge_may_have_nothing_to_say_while_it_runs(dataset):
    scorer = Strict({0})
    scorer.live = lambda: None
    _, frames = watched(session(Person(), dataset, scorer, goal=1))
    assert all(f.status.live is None and f.status.strip == () for f in frames)
    assert frames[-1].status.verdict.accepted


def test_only_what_succeeded_is_judged(dataset):
    scorer = Strict()
    session(Person(attempts=1, away={1}), dataset, scorer).run()
    assert scorer.judged == 0 and "verdict" not in dataset.metadata("demo_0")


# around it


class Drifting(Wire):
    """Does not do twice what it did once."""

    def step(self, action):
        self._state[0] += 1e-9 * np.random.default_rng().random()
        return super().step(action)


def test_a_replay_that_differs_is_told_loudly(dataset):
    made = session(Person(attempts=1), dataset)
    made._saver._check_env = Drifting()
    outcome, frames = watched(made)
    replay = dataset.metadata("demo_0")["replay"]
    assert not replay["same"] and replay["first_difference"] == 0 and 0 < replay["largest"] < 1e-6
    assert outcome.differing == ["demo_0"]
    assert any("do not give the same states again, from step 0" in f.status.problem for f in frames)


def test_scripted_operators_need_no_buttons(dataset):
    rng = np.random.default_rng(0)
    outcome = session(Scripted(lambda: Walker(rng)), dataset, goal=3, ask=False).run()
    assert outcome.kept == 3 and outcome.attempts == len(dataset)


def test_a_stored_demonstration_is_replayed_from_its_start(dataset):
    session(Person(), dataset, goal=1).run()
    stored = dataset.load("demo_0")
    made = session(Replay(stored), None, horizon=len(stored), settle_steps=99, ask=False)
    made.run()
    np.testing.assert_array_equal(made.last.states, stored.states)


def test_buttons_may_come_from_elsewhere(dataset):
    made = session(Person(between=[()] * 3, attempts=1), dataset)
    made.press(Button.QUIT)
    assert made.run().attempts == 0


def test_frames_are_numbered_and_a_status_is_plain_values(dataset):
    _, frames = watched(session(Person(), dataset, Strict({0}), goal=1))
    assert [frame.number for frame in frames] == list(range(len(frames)))
    plain = as_json(frames[-2].status)
    assert plain["state"] == frames[-2].status.state and isinstance(plain["verdict"], dict)
    assert {f.status.state for f in frames} >= {State.RUNNING, State.SAVING, State.DECIDING}


def test_an_environment_that_does_not_fit_is_refused(tmp_path):
    other = Dataset.create(tmp_path / "other", CAMERA)
    with pytest.raises(SpecError, match="dataset"):
        session(Person(), other)


class Unscored(Strict):
    """A judge that cannot score the step with this number."""

    def live(self):
        steps = iter(range(99))

        def on_step(state, action):
            if next(steps) == 1:
                raise DataError("step 1: state is not finite")
            return Live(0.75, "faster")

        return on_step


def test_a_step_that_the_judge_cannot_score_does_not_end_the_demonstration(dataset):
    _, frames = watched(session(Person(), dataset, Unscored({0}), goal=1))
    assert decisions(dataset) == ["kept"]
    running = [f.status for f in frames if f.status.steps > 1 and f.status.state is State.RUNNING]
    assert {status.problem for status in running} == {"judge: step 1: state is not finite"}
    assert len(frames[-1].status.strip) == frames[-1].status.steps - 1


class Broken(Person):
    """A device that fails at the fourth step."""

    def command(self, observation, now_s):
        if self.step == 3:
            raise ZeroDivisionError
        return super().command(observation, now_s)


def test_a_bug_of_the_device_does_not_lose_the_demonstration_in_progress(dataset):
    with pytest.raises(ZeroDivisionError):
        session(Broken(away={1}), dataset).run()
    assert decisions(dataset) == ["discarded"] and len(dataset.load("demo_0")) == 3


def test_a_full_disk_comes_out_and_everything_is_closed(dataset, monkeypatch):
    made = session(Person(), dataset)
    box = made.views.subscribe()

    def full(self, episode):
        raise OSError("no space left")

    monkeypatch.setattr(Dataset, "append", full)
    with pytest.raises(OSError, match="no space"):
        made.run()
    assert box.closed


class Quick(SimulatedClock):
    """It jumps, and counts as real: nobody waits for the disk."""

    real = True

    def sleep_until(self, at_s):
        super().sleep_until(at_s)
        time.sleep(1e-3)


def full(monkeypatch, tries):
    """Let a disk be full so many times."""
    left, append = iter(range(tries)), Dataset.append

    def full_or_append(self, episode):
        if next(left, None) is not None:
            raise DataError("demo_0.hdf5: No space left on device")
        return append(self, episode)

    monkeypatch.setattr(Dataset, "append", full_or_append)


def test_what_cannot_be_written_is_kept_and_tried_again(dataset, monkeypatch):
    full(monkeypatch, tries=2)
    outcome, frames = watched(session(Person(), dataset, goal=1, clock=Quick()))
    assert outcome.kept == 1 and decisions(dataset) == ["kept"]
    said = {f.status.problem for f in frames if f.status.state is State.SAVING}
    problem = "demo_0.hdf5: No space left on device; it is kept in memory: begin tries again"
    assert any(text.startswith(problem) for text in said)
    assert frames[-1].status.problem == ""


def test_who_leaves_gives_up_what_cannot_be_written(dataset, monkeypatch):
    full(monkeypatch, tries=10**6)
    person = Person(attempts=1)  # who leaves as soon as it is made
    with pytest.raises(DataError, match="No space left on device"):
        session(person, dataset, clock=Quick()).run()
    assert decisions(dataset) == []


def test_a_session_is_the_same_twice(dataset, tmp_path):
    other = Dataset.create(tmp_path / "other", dataset.interface, dataset.env_options)
    for one in (dataset, other):
        session(Person(away={2}, attempts=3), one, Strict({1}), goal=2).run()
    for name in dataset.names():
        left, right = dataset.load(name), other.load(name)
        np.testing.assert_array_equal(left.states, right.states)
        np.testing.assert_array_equal(left.records["sent_s"], right.records["sent_s"])
    assert decisions(dataset) == decisions(other)


def test_the_status_says_how_it_stands(dataset):
    status = dataclasses.asdict(session(Person(), dataset, task="walk").status)
    assert status["operator"] == "me" and status["task"] == "walk" and status["goal"] == 99
    assert status["device"] == "person" and status["frame"] == "world" and status["attempt"] == 0
