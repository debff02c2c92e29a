"""What is told of an attack: worked out by hand, and drawn."""

import numpy as np
import pytest

from robolearn.types import ArraySpec, Spec, Step
from robolearn.viz.attacks import Account, ImageAccount, draw_attack, draw_audit

SPEC = Spec(
    "test/Point",
    {"state": ArraySpec((3,), names=("x", "y", "z"))},
    ArraySpec((2,), names=("left", "up")),
    period_s=0.1,
)
NAMELESS = Spec("test/Point", {"state": ArraySpec((3,))}, ArraySpec((2,)), period_s=0.1)
TOUCHED = np.array([True, False, True])


class Twice:
    """Intends twice what it sees."""

    def act(self, observation, explore=False):
        return 2 * observation["state"][:, :2]


def step(t, **more):
    true = np.array([0.1 * t, 5.0, 1.0], np.float32)
    attack = {"true": true, "seen": true + 1, "action": np.array([0.5, -0.5], np.float32)}
    return Step(t, {}, attack["action"], 0.0, {}, False, False, {"attack": attack | more})


def steps(**more):
    return [step(t, **more) for t in range(4)]


def test_an_account_holds_what_may_be_touched_and_every_action():
    unattacked = np.array([-1.0, 1.0], np.float32)
    account = Account.of(steps(unattacked=unattacked), SPEC, TOUCHED, Twice())
    assert account.state_names == ("x", "z") and account.action_names == ("left", "up")
    np.testing.assert_allclose(account.true, [[0.1 * t, 1.0] for t in range(4)], rtol=1e-6)
    np.testing.assert_allclose(account.seen, account.true + 1, rtol=1e-6)
    assert set(account.actions) == {"done", "unattacked", "intended"}
    expected = [[0.2 * t, 1.0] for t in range(4)]  # of what is true, cut off at 1
    np.testing.assert_allclose(account.actions["intended"], expected, rtol=1e-6)
    scores = account.scores()
    assert len(scores) == 4 and not any(score.incompatible for score in scores)
    assert scores[2].values == pytest.approx(
        {
            "true x": 0.2, "true z": 1.0, "seen x": 1.2, "seen z": 2.0, "done left": 0.5,
            "done up": -0.5, "unattacked left": -1.0, "unattacked up": 1.0,
            "intended left": 0.4, "intended up": 1.0,
        }
    )  # fmt: skip


def test_an_account_without_names_or_an_intention():
    account = Account.of(steps(), NAMELESS, TOUCHED, None)
    assert account.state_names == ("state[0]", "state[2]")
    assert account.action_names == ("action[0]", "action[1]")
    assert set(account.actions) == {"done"}


def image_step(t):
    true = np.full((4, 6, 3), 100 + t, np.uint8)
    attack = {"true/front": true, "seen/front": true - 8, "action": np.array([0.5, -0.5])}
    observation = {"front": true - 8, "state": np.full(3, t, np.float32)}
    return Step(t, observation, attack["action"], 0.0, {}, False, False, {"attack": attack})


def test_an_account_of_images_holds_both_and_what_is_intended_of_the_true_ones(tmp_path):
    class Looks:
        def act(self, observation, explore=False):
            bright = observation["front"].mean(axis=(1, 2, 3)) / 1000
            return np.stack([bright, observation["state"][:, 0] / 10], axis=1)

    account = ImageAccount.of([image_step(t) for t in range(4)], SPEC, Looks())
    assert account.camera == "front" and account.true.shape == account.seen.shape == (4, 4, 6, 3)
    assert (account.true - account.seen == 8).all()
    expected = [[0.1 + t / 1000, t / 10] for t in range(4)]
    np.testing.assert_allclose(account.actions["intended"], expected)
    assert account.scores()[1].values["change of front, mean"] == 8
    draw_attack({"attacked": OUTCOME}, account, "title", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


OUTCOME = {"success": 0.5, "interval": [0.2, 0.8]}


def test_attacks_and_audits_are_drawn(tmp_path):
    account = Account.of(steps(), SPEC, TOUCHED, None)
    draw_attack({"attacked": OUTCOME, "control": OUTCOME}, account, "title", tmp_path / "a.png")
    learnt = {"learnt": 0.1, "learnt_interval": [0.0, 0.4]}
    rows = [OUTCOME | {"method": m, "size": s} for m in ("rat", "pgd") for s in (0.1, 0.2)]
    draw_audit(rows, {"control": OUTCOME}, "title", tmp_path / "b.png")
    both = [row | learnt for row in rows]
    draw_audit(both, {"control": OUTCOME, "clean": OUTCOME}, "title", tmp_path / "c.png")
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in "abc"]
    assert min(sizes) > 1000 and sizes[2] > sizes[1]  # a second panel
