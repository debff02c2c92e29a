"""Motion of one joint that can always still be stopped: the arithmetic of the safety filter.

Time is discrete, period h. An acceleration a is chosen, then v += h a and q += h v; jerk is the
change of a over h. The law by which a joint stops, from any v and a, within |a| <= A and jerk J::

    a+ = clip(-sign(v) E^-1(|v|), a - h J, a + h J), clipped to [-A, A]            (stop)
    E(u) = h sum_i max(u - i h J, 0): what velocity is lost while a deceleration u fades at jerk J

A state is viable if the law, followed from it, keeps position and velocity within their limits.
Whatever is asked, only a state is entered that is viable; the law's own next state always is, since
it is the next of the same path. So by induction no sequence of commands leaves the limits, and the
joint can be stopped from everywhere it gets to.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

MOST_STEPS = 20_000  # of a stop; more means limits that no arm has
REST = 1e-12  # velocity and acceleration below which a joint is at rest
HALVINGS = 14  # of the range of accelerations: below what any encoder shows
FINE = 1e-12  # rounding that a limit forgives


@njit(cache=True)
def fading_deceleration(v: float, acc_step: float, h: float) -> float:
    """Give E^-1(v) for v >= 0: the deceleration from which fading at full jerk ends at rest.

    ``acc_step`` is h J. On n steps E is h (n u - acc_step n (n - 1) / 2).
    """
    if v <= 0.0:
        return 0.0
    n = max(1.0, math.ceil((math.sqrt(1.0 + 8.0 * v / (h * acc_step)) - 1.0) / 2.0))
    return (v / h + acc_step * n * (n - 1.0) / 2.0) / n


@njit(cache=True)
def stopping(v: float, a: float, most_a: float, acc_step: float, h: float) -> float:
    """Give the next acceleration of the stopping law (stop)."""
    wanted = fading_deceleration(abs(v), acc_step, h)
    wanted = -wanted if v > 0.0 else wanted
    wanted = min(max(wanted, a - acc_step), a + acc_step)
    return min(max(wanted, -most_a), most_a)


@njit(cache=True)
def stop_range(
    q: float, v: float, a: float, most_v: float, most_a: float, acc_step: float, h: float
) -> tuple[float, float, float]:
    """Follow the law to rest: give the lowest and highest position on the way, and the last.

    The range is infinite where the velocity leaves its limit.
    """
    low = high = q
    if abs(v) > most_v + FINE:
        return -math.inf, math.inf, q
    for _ in range(MOST_STEPS):
        if abs(v) < REST and abs(a) < REST:
            return low, high, q
        a = stopping(v, a, most_a, acc_step, h)
        v += h * a
        q += h * v
        low, high = min(low, q), max(high, q)
        if abs(v) > most_v + FINE:
            return -math.inf, math.inf, q
    return -math.inf, math.inf, q


@njit(cache=True)
def stays(
    q: float,
    v: float,
    a: float,
    most_v: float,
    most_a: float,
    acc_step: float,
    h: float,
    lowest: float,
    highest: float,
) -> bool:
    """Say whether, following the law from here, velocity and position stay within their limits."""
    lowest, highest, most_v = lowest - FINE, highest + FINE, most_v + FINE
    for _ in range(MOST_STEPS):
        if not (lowest <= q <= highest and abs(v) <= most_v):
            return False
        if abs(v) < REST and abs(a) < REST:
            return True
        a = stopping(v, a, most_a, acc_step, h)
        v += h * a
        q += h * v
    return False


@njit(cache=True)
def advance(
    state: np.ndarray,
    target: np.ndarray,
    floor: np.ndarray,
    limits: np.ndarray,
    h: float,
    after: np.ndarray,
) -> None:
    """Take every joint one period towards its target, as far as it may.

    state [6, J]: position, velocity, acceleration, the lowest and highest position that it may
    have now (it may have begun outside its limits: then it may only come in), the last target.
    target [J]; floor [J], below which it may not be brought for now, unless it stops there anyhow.
    limits [5, J]: lower, upper, velocity, acceleration, jerk. The new state goes into after [6, J].

    A target that moves as the joint does, and can be had within the limits, is taken as it is. Else
    the joint goes as fast as it may and still stop at the target: it never goes past what was
    asked for, and behind a target that runs away it is late by the way in which it stops.
    """
    for j in range(target.shape[0]):
        q, v, a = state[0, j], state[1, j], state[2, j]
        lowest, highest = state[3, j], state[4, j]
        most_v, most_a, acc_step = limits[2, j], limits[3, j], h * limits[4, j]
        least = lowest
        if floor[j] > lowest:
            least = max(lowest, min(floor[j], stop_range(q, v, a, most_v, most_a, acc_step, h)[0]))
        target_v = min(max((target[j] - state[5, j]) / h, -most_v), most_v)
        new_v = (target[j] - q) / h
        new_a = (new_v - v) / h
        exact = abs(new_v - target_v) <= h * acc_step + FINE
        if exact and abs(new_a) <= most_a + FINE and abs(new_a - a) <= acc_step + FINE:
            exact = stays(target[j], new_v, new_a, most_v, most_a, acc_step, h, least, highest)
        else:
            exact = False
        if exact:
            q, v, a = target[j], new_v, new_a
        else:
            a = _towards(target[j], q, v, a, least, highest, most_v, most_a, acc_step, h)
            v += h * a
            q += h * v
        after[0, j], after[1, j], after[2, j] = q, v, a
        after[3, j], after[4, j], after[5, j] = lowest, highest, target[j]
        if lowest < limits[0, j] or highest > limits[1, j]:  # it began outside
            low, high, _ = stop_range(q, v, a, most_v, most_a, acc_step, h)
            after[3, j] = max(lowest, min(limits[0, j], low))
            after[4, j] = min(highest, max(limits[1, j], high))


@njit(cache=True)
def _towards(
    target: float,
    q: float,
    v: float,
    a: float,
    lowest: float,
    highest: float,
    most_v: float,
    most_a: float,
    acc_step: float,
    h: float,
) -> float:
    """Give the acceleration closest to full speed at the target after which all is well.

    Between that of the stopping law, after which it is, and the largest there is.
    """
    good = stopping(v, a, most_a, acc_step, h)
    ends = stop_range(q, v, a, most_v, most_a, acc_step, h)[2]
    if target > ends:
        far, highest = min(a + acc_step, most_a), min(highest, target)
    else:
        far, lowest = max(a - acc_step, -most_a), max(lowest, target)
    stop_v = v + h * good
    low, high, _ = stop_range(q + h * stop_v, stop_v, good, most_v, most_a, acc_step, h)
    lowest, highest = min(lowest, low), max(highest, high)  # a swing that is under way anyhow
    tried, step = far, 0
    while True:
        new_v = v + h * tried
        if stays(q + h * new_v, new_v, tried, most_v, most_a, acc_step, h, lowest, highest):
            good = tried
            if step == 0:
                return good
        else:
            far = tried
        step += 1
        if step > HALVINGS:
            return good
        tried = (good + far) / 2


@njit(cache=True)
def stop_path(state: np.ndarray, limits: np.ndarray, h: float, path: np.ndarray) -> int:
    """Write the positions of all joints while they stop by the law into path [K, J].

    The first is the present one. Gives how many there are; more than K where they do not fit.
    """
    joints = state.shape[1]
    now = state[:3].copy()
    path[0] = now[0]
    for k in range(1, path.shape[0]):
        moving = False
        for j in range(joints):
            if abs(now[1, j]) >= REST or abs(now[2, j]) >= REST:
                moving = True
                now[2, j] = stopping(now[1, j], now[2, j], limits[3, j], h * limits[4, j], h)
                now[1, j] += h * now[2, j]
                now[0, j] += h * now[1, j]
        if not moving:
            return k
        path[k] = now[0]
    return path.shape[0] + 1


@njit(cache=True)
def stop_step(state: np.ndarray, limits: np.ndarray, h: float, after: np.ndarray) -> None:
    """Take every joint one period along its stop; as ``advance``, without a target."""
    for j in range(state.shape[1]):
        q, v, a = state[0, j], state[1, j], state[2, j]
        if abs(v) < REST and abs(a) < REST:
            v = a = 0.0
        else:
            a = stopping(v, a, limits[3, j], h * limits[4, j], h)
            v += h * a
            q += h * v
        after[0, j], after[1, j], after[2, j] = q, v, a
        after[3, j], after[4, j], after[5, j] = state[3, j], state[4, j], q
