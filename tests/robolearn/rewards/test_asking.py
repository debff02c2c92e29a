"""When is asked, about what, and what is done with the answers."""

import dataclasses

import numpy as np
import pytest
import torch

from robolearn.algos.sac import SAC, SACConfig
from robolearn.loops.off_policy import OffPolicyConfig, off_policy
from robolearn.loops.replay import Replay
from robolearn.rewards.asking import Asker, AskingConfig, teacher_responds
from robolearn.rewards.labels import Answer
from robolearn.rewards.preference import PreferenceConfig, PreferenceReward
from robolearn.types import ArraySpec, Spec

SPEC = Spec("toy", {"state": ArraySpec((1,), names=("x",))}, ArraySpec((1,)), 0.1)
SMALL = PreferenceConfig(widths=(16,), length=4, epochs=20, learning_rate=1e-2)
CONFIG = AskingConfig(every=50, questions=4, labels=10)


pytestmark = pytest.mark.usefixtures("one_thread")


class Walks:
    """Pieces in which the reward is x, and of which it is known how they were drawn."""

    def __init__(self):
        self.drawn = []

    def segments(self, count, length, rng):
        x = rng.uniform(-1, 1, (count, 1)) + 0.1 * rng.uniform(-1, 1, (count, length))
        self.drawn.append(x)
        x = x.astype(np.float32)
        actions = np.zeros((count, length, 1), np.float32)
        return {"observations": {"state": x[..., None]}, "actions": actions, "task_rewards": x}


def asker(respond=None, **settings):
    config = dataclasses.replace(CONFIG, **settings)
    return Asker(PreferenceReward(SPEC, SMALL), config, respond or teacher_responds("perfect"))


def test_it_is_due_when_the_steps_are_complete_until_there_are_labels_enough():
    one = asker()
    assert [s for s in range(20, 241, 20) if one.is_due(s, 20)] == [60, 100, 160, 200]
    assert [s for s in range(20, 241, 20) if one.is_due(s, 20, 40)] == [40, 100, 140, 200, 240]
    one.reward.labels.given = 10
    assert not one.is_due(60, 20)


def test_it_asks_as_often_as_is_allowed_and_never_for_more_labels():
    one, walks = asker(), Walks()
    for steps in (50, 100, 150):
        seen = one.ask(walks, steps)
        assert seen["labels"] == one.reward.labels.given
    assert one.reward.labels.given == 10
    assert [len(x) for x in walks.drawn] == [80, 80, 40]  # pools of ten pairs a question
    assert sum(one.answers.values()) == 10
    assert one.answers["equal"] == one.answers["cannot tell"] == 0


def test_what_nobody_can_tell_is_counted_and_nothing_is_learnt():
    def nobody(before, questions):
        return [(question, Answer.CANNOT_TELL) for question in questions]

    one = asker(nobody)
    before = {name: tensor.clone() for name, tensor in one.reward.state_dict().items()}
    assert one.ask(Walks(), 50) == {}
    assert one.answers["cannot tell"] == 4
    for name, tensor in one.reward.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("teacher", ["perfect", "noisy", "skipping"])
def test_who_goes_on_asks_the_same_and_gets_the_same_answers(teacher):
    whole, walks = asker(teacher_responds(teacher, 3)), Walks()
    whole.ask(walks, 50)
    other = asker(teacher_responds(teacher, 3))
    stored = {name: tensor.clone() for name, tensor in whole.reward.state_dict().items()}
    other.reward.load_state_dict(stored)
    other.answers |= whole.answers
    again = Walks()
    whole.ask(walks, 100)
    other.ask(again, 100)
    np.testing.assert_array_equal(walks.drawn[1], again.drawn[0])
    assert whole.answers == other.answers
    for name, tensor in whole.reward.state_dict().items():
        assert torch.equal(tensor, other.reward.state_dict()[name]), name


def test_the_unit_of_a_teacher_is_the_mean_sum_of_what_is_asked_about():
    seen = []

    def respond(before, questions):
        found = teacher_responds("skipping")(before, questions)
        segments = [s["task_rewards"].sum() for q in questions for s in (q.first, q.second)]
        unit = np.mean(segments)
        for question, answer in found:
            low = max(s["task_rewards"].sum() for s in (question.first, question.second))
            seen.append((answer == Answer.CANNOT_TELL) == (low < 0.1 * unit))
        return found

    one = asker(respond, labels=100, questions=20)
    for steps in range(50, 300, 50):
        one.ask(Walks(), steps)
    assert all(seen) and 0 < one.answers["cannot tell"] < len(seen)


class Uphill:
    """Points on a line, whose reward is x: nobody but a teacher is told."""

    num_envs, horizon, interface = 4, 10, SPEC

    def reset(self, *, seed=None, options=None):
        self.x, self.t = np.zeros(4), 0
        if options and "state" in options:
            self.x, self.t = options["state"][:, 0].copy(), int(options["state"][0, 1])
        return self._seen(), {}

    def step(self, actions):
        self.x, self.t = np.clip(self.x + 0.2 * actions[:, 0], -1, 1), self.t + 1
        ended, info, reward = np.full(4, self.t >= 10), {"success": self.x > 0.5}, self.x.copy()
        if ended.any():
            info["final_obs"] = np.array([{"state": x} for x in self._seen()["state"]], object)
            self.x, self.t = np.zeros(4), 0
        return self._seen(), reward, np.zeros(4, bool), ended, info

    def get_state(self):
        return np.stack([self.x, np.full(4, self.t)], axis=1)

    def _seen(self):
        return {"state": self.x[:, None].astype(np.float32)}


def test_sac_that_sees_preferences_alone_earns_what_it_is_not_told():
    reward = PreferenceReward(SPEC, SMALL)
    one = Asker(
        reward, AskingConfig(every=200, questions=10, labels=40), teacher_responds("perfect")
    )
    learner = SAC(
        SPEC, SACConfig(widths=(32,), gamma=0.9, learning_rate=3e-3), streams={"preference": reward}
    )
    config = OffPolicyConfig(
        steps=1600, random_steps=200, updates_per_step=0.25, batch=64, capacity=1600,
        log_steps=200, checkpoint_steps=1600,
    )  # fmt: skip
    replay = Replay(SPEC, 1600, 4, {"task_rewards": ArraySpec(())})
    returns = []

    def on_step(rounds):
        if one.is_due(4 * rounds, 4, 200):
            one.ask(replay, 4 * rounds)
            replay.relabel(reward.relabels)

    off_policy(
        learner, Uphill(), config, 0, replay, on_step=on_step,
        on_log=lambda _, seen: returns.append(seen["return"]),
    )  # fmt: skip
    assert reward.labels.given == 40
    assert abs(returns[0]) < 3 and returns[-1] > 5  # of 7.0 at best
    x = torch.linspace(-1, 1, 21)[:, None]
    batch = {"observations": {"state": x}, "actions": torch.zeros(21, 1)}
    found = reward.reward(batch).numpy()
    assert np.corrcoef(found, x[:, 0].numpy())[0, 1] > 0.9
