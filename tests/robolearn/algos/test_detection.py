"""Detection of perturbed observations; physics is a cart on a line, with friction and noise."""

import math

import numpy as np
import pytest
import torch

from robolearn.algos.detection import (
    DetectionConfig,
    Detector,
    Evading,
    Guarded,
)
from robolearn.errors import DataError, SpecError
from robolearn.state_attack import Budget, RandomPerturbation
from robolearn.types import ArraySpec, Spec

STATE = ArraySpec((3,), names=("x", "speed", "fixed"))
INTERFACE = Spec("test/Cart", {"state": STATE}, ArraySpec((1,)), period_s=0.1)
CONFIG = DetectionConfig(widths=(32,), steps=1500, horizon=4)
NOISE = 0.003


def follow(states, actions, rng):
    """Give what follows states [N, 3] and actions [N, 1]."""
    x, speed, fixed = states.T
    speed = 0.9 * speed + 0.1 * actions[:, 0] + NOISE * rng.standard_normal(len(states))
    return np.stack([x + 0.1 * speed, speed, fixed], axis=1)


class Home:
    """Go where x is 0."""

    memoryless = True

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        x, speed = observation["state"][:, :1], observation["state"][:, 1:2]
        return np.clip(-2 * x - speed, -1, 1).astype(np.float32)


def episodes(count, seed, length=40):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        states, actions = [np.array([[rng.uniform(-1, 1), 0.0, 2.0]])], []
        noise = rng.choice([0.0, 0.5])
        for _ in range(length):
            wanted = Home().act({"state": states[-1]}) + noise * rng.standard_normal()
            actions.append(np.clip(wanted, -1, 1))
            states.append(follow(states[-1], actions[-1], rng))
        made.append((np.concatenate(states), np.concatenate(actions)))
    return made


@pytest.fixture(scope="module")
def detector():
    return Detector.fit(INTERFACE, episodes(80, 0), CONFIG)


def run(guarded, see, n=20, length=40, seed=5):
    """Let a policy act on what ``see`` makes of true states; give these, what it did, alarms."""
    rng = np.random.default_rng(seed)
    states = np.stack([rng.uniform(-1, 1, n), np.zeros(n), np.full(n, 2.0)], axis=1)
    true, alarms, sent = [states], [], []
    guarded.reset(n)
    for t in range(length):
        sent.append(guarded.act({"state": see(states.astype(np.float32), t)}))
        alarms.append(guarded.alarm)
        states = follow(states, sent[-1], rng)
        true.append(states)
    return np.array(true), np.array(sent), np.array(alarms)


def test_the_line_is_the_conformal_one(detector):
    """Half of 80 is kept: of 40, ceil(.95 * 41) = 39 lie at or below it."""
    rng = np.random.default_rng(0)
    order = rng.permutation(80)[:40]
    given = episodes(80, 0)
    worst = [
        detector.errors(*(torch.as_tensor(x).float() for x in given[i])).max().item() for i in order
    ]
    assert detector.line.item() == sorted(worst)[38]


def test_few_clean_episodes_raise_an_alarm(detector):
    new = episodes(200, 7)
    raised = sum(
        (detector.errors(*(torch.as_tensor(x).float() for x in e)) > detector.line).any().item()
        for e in new
    )
    assert raised <= 0.05 * 200 + 3 * math.sqrt(0.05 * 200) + 200 / 41  # of 40, one is 1 / 41


def test_errors_grow_with_the_steps_ahead(detector):
    speed = detector.spread[:, 1]
    assert (speed.diff() > 0).all() and speed[0] == pytest.approx(NOISE, rel=0.5)
    assert detector.spread[0, 2] < 0.01  # what is fixed is known
    far = detector.spread_at(torch.tensor([1.0, 4.0, 9.0]))
    assert torch.equal(far[1], far[2]) and not torch.equal(far[0], far[1])


def test_who_sees_the_truth_acts_as_without_a_guard(detector):
    guarded = Guarded.of(Home(), detector)
    true, sent, alarms = run(guarded, lambda states, t: states)
    assert alarms.mean() < 0.05
    calm = ~alarms.any(axis=0)
    wanted = [Home().act({"state": s.astype(np.float32)}) for s in true[:-1, calm]]
    np.testing.assert_array_equal(sent[:, calm], wanted)
    assert (guarded.alarms == alarms.sum(axis=0)).all()


def jump(states, t):
    """Show a cart that is elsewhere, from step 20 to 26."""
    seen = states.copy()
    if 20 <= t < 27:
        seen[:, 0] += 0.8
    return seen


def test_a_jump_is_found_and_what_is_predicted_is_near_the_truth(detector):
    guarded = Guarded.of(Home(), detector)
    true, sent, alarms = run(guarded, jump)
    assert alarms[20:27].all() and alarms[28:].mean() < 0.3 and alarms[:20].mean() < 0.05
    plain = Guarded.of(Home(), detector)
    plain.detector.line.data, line = torch.tensor(torch.inf), plain.detector.line.clone()
    misled, *_ = run(plain, jump)
    detector.line.copy_(line)
    assert np.abs(true[24, :, 0]).mean() < 0.5 * np.abs(misled[24, :, 0]).mean()
    beyond = sent[20 + CONFIG.horizon : 27]
    assert (beyond == 0).all()  # it holds still


def test_it_may_hold_still_at_once(detector):
    config = DetectionConfig(widths=(32,), horizon=4, answer="hold", still=(0.25,))
    holding = Detector(INTERFACE, config)
    holding.load_state_dict(detector.state_dict())
    guarded = Guarded.of(Home(), holding)
    _, sent, alarms = run(guarded, jump)
    assert (sent[alarms] == np.float32(0.25)).all() and alarms[20:27].all()


@pytest.mark.parametrize("knows", [False, True])
def test_who_knows_the_detector_raises_no_alarm_and_leads_it_astray(detector, knows):
    budget = Budget(STATE, "linf", torch.tensor([0.5, 0.0, 0.0]))
    guarded = Guarded.of(Home(), detector)
    random = RandomPerturbation(budget)
    perturbation = Evading(random, guarded) if knows else random
    generator = torch.Generator().manual_seed(0)

    def see(states, t):
        return budget.perturb({"state": states}, perturbation, generator)["state"]

    true, _, alarms = run(guarded, see)
    if not knows:
        assert alarms[1:].mean() > 0.8
        return
    assert alarms.mean() < 0.05
    honest, *_ = run(Guarded.of(Home(), detector), lambda states, t: states)
    off = np.abs(true[-1, :, 0] - honest[-1, :, 0])
    assert 0.1 < off.mean() and off.max() < 0.6  # by what it was shown at first


def test_who_has_an_aim_goes_on_from_there_within_what_raises_no_alarm(detector):
    budget = Budget(STATE, "linf", torch.tensor([0.5, 0.0, 0.0]))
    guarded = Guarded.of(Home(), detector)
    shown = []

    class Aim:
        def between(self, state, delta, low, high):
            assert ((low <= delta) & (delta <= high)).all()
            shown.append(high[:, 0])
            return high

    knowing = Evading(RandomPerturbation(budget), guarded, Aim())
    generator = torch.Generator().manual_seed(0)

    def see(states, t):
        return budget.perturb({"state": states}, knowing, generator)["state"]

    true, _, alarms = run(guarded, see)
    assert alarms.mean() < 0.05 and len(shown) == len(true) - 2


def test_what_follows_from_itself_for_long_is_believed_again(detector):
    """Elsewhere for good, as after somebody has moved the cart while nobody looked."""
    guarded = Guarded.of(Home(), detector)
    moved = lambda states, t: states + np.float32([0.4, 0, 0]) * (t >= 10)  # noqa: E731
    _, sent, alarms = run(guarded, moved)
    wait = 2 * CONFIG.horizon + 2
    assert alarms[10 : 10 + CONFIG.horizon].all() and not alarms[10 + wait :].any()
    assert (sent[10 + CONFIG.horizon : 10 + CONFIG.horizon + 1] == 0).all()


def test_the_first_observation_is_believed_and_a_reset_forgets(detector):
    guarded = Guarded.of(Home(), detector)
    for _ in range(2):
        guarded.reset(2)
        assert guarded.expected() is None
        far = np.array([[50.0, 0, 2], [-50.0, 0, 2]], np.float32)
        guarded.act({"state": far})
        assert not guarded.alarm.any() and guarded.expected().shape == (2, 3)
        guarded.act({"state": -far})
        assert guarded.alarm.all()


def test_it_is_kept_and_read_again(detector):
    again = Detector(INTERFACE, CONFIG, seed=1)
    again.load_state_dict(detector.state_dict())
    states, actions = (torch.as_tensor(x).float() for x in episodes(1, 3)[0])
    assert torch.equal(again.errors(states, actions), detector.errors(states, actions))


def test_what_cannot_be_learnt_from_is_refused():
    with pytest.raises(DataError, match="20 clean episodes say too little .* give 38 or more"):
        Detector.fit(INTERFACE, episodes(20, 0), CONFIG)
    clean = episodes(40, 0)
    states, actions = clean[0]
    for bad, said in (
        ((states[:-1], actions), r"instead of \[T \+ 1, 3\] and \[T, 1\]"),
        ((states[:, :2], actions), r"instead of \[T \+ 1, 3\]"),
        ((states * np.nan, actions), "not finite"),
    ):
        with pytest.raises(DataError, match=said):
            Detector.fit(INTERFACE, [bad, *clean], CONFIG)
    with pytest.raises(SpecError, match="a 'state' only"):
        Detector(Spec("x", {"image": ArraySpec((4, 4, 3), "uint8")}, ArraySpec((1,)), 0.1), CONFIG)
