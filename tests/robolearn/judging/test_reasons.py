"""Reasons by hand: what is told of one command entry."""

import numpy as np
import pytest

from robolearn.judging.reasons import _alike, _how, smoothed

T = np.arange(120)
SINE = 0.8 * np.sin(T / 15)
ALL = slice(0, len(T))
PLAIN = "{:+.2f}".format


def shifted(signal, steps):
    """Bring a signal ``steps`` later, or earlier."""
    rows = np.clip(T - steps, 0, len(T) - 1)
    return signal[rows]


@pytest.mark.parametrize("steps", [-15, -5, 4, 10, 18])
def test_a_slow_command_is_late_by_as_much_as_it_is(steps):
    word = "late" if steps > 0 else "early"
    assert _how(shifted(SINE, steps), SINE, ALL, PLAIN) == f"comes {abs(steps)} steps {word}"


def test_what_is_off_by_a_constant_is_not_late():
    ramp = np.linspace(-0.6, 0.6, len(T))
    for given, expected in ((ramp + 0.3, ramp), (SINE + 0.1, SINE)):
        told = _how(given, expected, slice(20, 40), PLAIN)
        assert told.startswith("is +") or told.startswith("is -")
        assert "where the motion goes with" in told


def test_a_reversed_command_and_a_frozen_one():
    rng = np.random.default_rng(0)
    expected = rng.uniform(-1, 1, len(T))
    assert _how(-expected, expected, ALL, PLAIN).startswith("is reversed")
    frozen = expected.copy()
    frozen[30:60] = 0.25
    assert _how(frozen, expected, slice(35, 50), PLAIN).startswith("stays at +0.25")


def test_smoothing_by_hand():
    np.testing.assert_allclose(smoothed(np.array([3.0, 0.0, 0.0, 6.0]), 3), [1.5, 1.0, 2.0, 3.0])
    assert smoothed(np.ones(2), 9).tolist() == [1.0, 1.0]


def test_correlations_with_what_was_needed_some_steps_before():
    noise = np.random.default_rng(1).standard_normal(50)
    assert _alike(noise[3:], noise[:-3], -3) == pytest.approx(1.0)
    assert _alike(np.roll(noise, 4), noise, 4) == pytest.approx(1.0)
    assert _alike(noise[:12], noise[:12], 5) == 0.0  # too few steps are left
    assert _alike(np.ones(50), noise, 0) == 0.0
