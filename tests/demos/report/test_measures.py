"""Measures against episodes whose jerk, pauses, switches and gaps are known by construction."""

import dataclasses

import numpy as np
import pytest

from demos.formats.contract import Reading
from demos.formats.ours import OurSource
from demos.report.likeness import nearest_of, starts_of
from demos.report.measures import measure, series_of
from demos.report.quality import look_at
from demos.report.scales import settle
from robolearn.types import Spec

from .conftest import PERIOD_S, REACH, episode, reach


@pytest.fixture(scope="module")
def scales(people):
    return settle(OurSource(people, Reading()))


def along(x, actions=None, **about):
    """Make an episode whose hand is at x [T + 1] and whose other entries stay."""
    states = np.zeros((len(x), 3))
    states[:, 0] = x
    return episode(states, np.zeros((len(x) - 1, 3)) if actions is None else actions, **about)


def test_the_hands_entries_are_its_motion_and_the_gripper_switches(scales):
    assert scales.motion.what == "hand" and scales.motion.columns.tolist() == [0, 1]
    assert scales.grippers == {2: (-1.0, 1.0)} and scales.cameras == ["front"]


@pytest.mark.parametrize(
    "names, what, columns",
    [
        (("shoulder.pos", "wrist.pos", "object"), "joints", [0, 1]),
        (("robot0_eef_pos_x", "joint_1", "q"), "hand", [0]),
        ((), "state", [0, 1, 2]),
    ],
)
def test_what_moves_is_told_by_names(people, names, what, columns):
    source = OurSource(people, Reading())
    state = dataclasses.replace(REACH.observations["state"], names=names)
    source.interface = dataclasses.replace(REACH, observations={"state": state})
    motion = settle(source).motion
    assert motion.what == what and motion.columns.tolist() == columns


def test_jerk_is_the_third_derivative(scales):
    t = np.arange(41) * PERIOD_S
    found = measure("demo_0", along(2.0 * t**3), scales)
    assert found.jerk == pytest.approx(12.0, rel=1e-4)
    uniform = measure("demo_0", along(0.5 * t), scales)
    assert uniform.jerk < 1e-2


def test_smoothness_depends_neither_on_units_nor_on_tempo(scales):
    shape = np.sin(np.linspace(0, np.pi, 200)) ** 2
    slow = measure("demo_0", along(np.repeat(shape, 1)), scales).smoothness
    large = measure("demo_0", along(5.0 * shape), scales).smoothness
    fast = measure("demo_0", along(shape[::2]), scales).smoothness
    assert large == pytest.approx(slow, abs=1e-3) and fast == pytest.approx(slow, abs=0.1)


def test_pauses_are_found_where_they_are(scales):
    x = np.concatenate([np.zeros(8), np.arange(20), np.full(7, 20.0), 20 + np.arange(20)]) * 0.02
    found = measure("demo_0", along(x), scales)
    assert (found.pauses, found.idle_before, found.idle_after) == (2, 8, 0)
    assert found.longest_pause == 8 and found.paused == pytest.approx(16 / 54, abs=0.02)
    assert series_of(along(x), scales).paused[:8].all()
    short = np.concatenate([np.arange(20), np.full(3, 20.0), 20 + np.arange(20)]) * 0.02
    assert measure("demo_0", along(short), scales).pauses == 0


def test_saturation_leaves_the_gripper_out(scales):
    actions = np.zeros((10, 3))
    actions[:4, 0], actions[:, 2] = -1.0, 1.0
    found = measure("demo_0", along(np.arange(11) * 0.01, actions), scales)
    np.testing.assert_array_equal(found.saturated, [0.4, 0.0, np.nan])


@pytest.mark.parametrize(
    "values, switches",
    [
        ([-1, -1, 1, 1, -1, -1], 2),
        ([-1, 0, 0, 1, 0, 1], 1),
        ([0.1, -0.2, 0.2, 0.0, -0.1, 0.1], 0),
        ([-1, 0.1, -0.1, 0.1, -1, -1], 0),
    ],
)
def test_what_is_between_its_ends_is_no_switch(scales, values, switches):
    actions = np.zeros((6, 3))
    actions[:, 2] = values
    found = measure("demo_0", along(np.arange(7) * 0.01, actions), scales)
    assert found.switches == switches


def test_dropped_steps_are_counted_but_for_pauses_of_the_session(scales):
    times = np.arange(20) * PERIOD_S
    times[12:] += 3 * PERIOD_S
    one = along(np.arange(21) * 0.01, records={"sent_s": times})
    found = measure("demo_0", one, scales).stamps
    assert (found.missing, found.backwards) == (3, 0)
    assert found.late == pytest.approx(1 / 19) and found.longest_s == pytest.approx(0.4)
    paused = dataclasses.replace(one, metadata={"pauses": [{"step": 12, "seconds": 0.3}]})
    assert measure("demo_0", paused, scales).stamps.missing == 0
    strange = dataclasses.replace(one, metadata={"pauses": [{"step": "x"}, 3], "not_told": 5})
    found = measure("demo_0", strange, scales)
    assert found.stamps.missing == 3 and found.success is True


def test_time_that_goes_back_is_told(scales):
    times = np.arange(10) * PERIOD_S
    times[5] = times[3]
    one = along(np.arange(11) * 0.01, records={"timestamp": times})
    assert measure("demo_0", one, scales).stamps.backwards == 1


def test_images_that_stay_the_same_in_motion(scales):
    whole = reach(0)
    steps = len(whole)
    kept = episode(
        whole.observations["state"], whole.actions, shown=[t - t % 3 for t in range(steps + 1)]
    )
    assert measure("demo_0", whole, scales).repeated["front"] < 0.1
    assert measure("demo_0", kept, scales).repeated["front"] > 0.5
    dark = dataclasses.replace(
        whole, observations=whole.observations | {"front": 0 * whole.observations["front"]}
    )
    assert measure("demo_0", dark, scales).dark["front"] == 1.0


def test_copies_are_found_and_others_are_not(people):
    source = OurSource(people, Reading())
    scales = settle(source)
    found = [measure(name, source.load(name), scales) for name in source.names]
    near = nearest_of(found, scales)
    pairs = {(i, one.other) for i, one in enumerate(near) if one and one.distance < 0.02}
    assert pairs == {(0, 28), (1, 29), (28, 0), (29, 1)}


def test_starts_that_are_alike(scales):
    found = [measure(f"demo_{i}", reach(i % 3), scales) for i in range(9)]
    starts = starts_of(found, scales)
    assert starts.distinct == 3 and starts.points.shape[0] == 9
    still = [measure(f"demo_{i}", reach(0), scales) for i in range(3)]
    assert starts_of(still, scales).distinct == 1


def test_images_alone_and_no_rate(tmp_path):
    from demos.data.dataset import Dataset

    spec = Spec("x/Y", {"front": REACH.observations["front"]}, REACH.action, 0.0)
    dataset = Dataset.create(tmp_path / "images", spec)
    for seed in range(3):
        whole = reach(seed)
        seen = {"front": whole.observations["front"]}
        dataset.append(dataclasses.replace(whole, observations=seen))
    dataset.flush()
    quality = look_at(OurSource(tmp_path / "images", Reading()))
    assert quality.scales.motion.what == "actions" and quality.rate_hz == 0.0
    assert quality.unit_of_jerk == "1/step³"
    assert quality.compatibility.why_not == "there is no state to compare by"
