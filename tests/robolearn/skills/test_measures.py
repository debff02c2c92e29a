"""What is measured of skills, on episodes made by hand."""

import json

import numpy as np
import pytest

from robolearn.errors import UserError
from robolearn.skills.measures import (
    MeasureConfig,
    _angle,
    coverage,
    draw_critics,
    draw_skill_map,
    skill_metrics,
)
from robolearn.types import ArraySpec, Episode, Spec

NAMES = ("hand_x", "cube_pos_x", "cube_pos_y", "cube_pos_z", "skill_1", "skill_2", "skill_3")
INTERFACE = Spec("test/Table", {"state": ArraySpec((7,), names=NAMES)}, ArraySpec((1,)), 0.1)
TWO_BY_FIVE = MeasureConfig(low_m=(0.0, 0.0), high_m=(0.2, 0.5), cell_m=0.1, violations=("hit",))


def episode(path, hits=(), success=False, skill=(0.0, 0.6, 0.8)):
    path = np.array(path, np.float32)
    state = np.zeros((len(path), 7), np.float32)
    state[:, 1:4], state[:, 4:] = path, skill
    hit = np.isin(np.arange(len(path) - 1), hits).astype(np.float32)
    actions = np.zeros((len(hit), 1), np.float32)
    return Episode(
        {"state": state}, actions, 0 * hit, False, True, success, reward_terms={"hit": hit}
    )


def test_coverage_counts_cells_once_and_none_outside():
    points = np.array([[0.05, 0.05], [0.06, 0.01], [0.19, 0.49], [0.25, 0.05], [-0.01, 0.05]])
    assert coverage(points, TWO_BY_FIVE) == 2 / 10


def test_episodes_are_summed_up():
    pushed = episode([(0.05, 0.05, 0), (0.05, 0.15, 0), (0.05, 0.25, 0)], hits=[0, 1])
    lifted = episode([(0.05, 0.05, 0), (0.15, 0.05, 0.1), (0.15, 0.05, 0)], hits=[1], success=True)
    still = episode([(0.15, 0.45, 0)] * 3)
    assert skill_metrics([pushed, lifted, still], INTERFACE, TWO_BY_FIVE) == {
        "coverage": 5 / 10,
        "final_coverage": 3 / 10,
        "start_coverage": 2 / 10,
        "lift_share": pytest.approx(1 / 3),
        "violations_per_episode": {"hit": 1.0},
        "episodes": 3,
    }


def test_pictures_are_drawn(tmp_path):
    episodes = [
        episode([(0, 0, 0), (x, y, z)], success=z > 0, skill=(x, y, z))
        for x, y, z in np.random.default_rng(0).normal(0, 0.1, (20, 3))
    ]
    draw_skill_map(episodes, INTERFACE, TWO_BY_FIVE, "A title", tmp_path / "map.png")
    names = [f"{what}/reach" for what in ("reward", "value", "advantage_scale", "gradient_share")]
    lines = [json.dumps({"step": i, **dict.fromkeys(names, 0.1 * i)}) for i in range(5)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    draw_critics(tmp_path / "metrics.jsonl", ["reach"], "A title", tmp_path / "critics.png")
    for name in ("map.png", "critics.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("episodes", 0), ("horizon", 0), ("cell_m", 0.0), ("recorded", -1)],
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(UserError, match=f"^{setting} should be greater than "):
        MeasureConfig(**{setting: value})


def test_the_table_has_an_extent():
    with pytest.raises(UserError, match="low_m: .* is not below high_m"):
        MeasureConfig(high_m=(0.2, -0.3))


def test_cells_are_smaller_than_the_table():
    with pytest.raises(UserError, match="cell_m: 2.0 is more than the table"):
        MeasureConfig(cell_m=2.0)


def test_one_hot_skills_have_colours_of_their_own():
    angles = _angle(np.eye(16))
    assert len(set(np.round(angles, 6))) == 16 and (np.abs(angles) <= np.pi).all()
    np.testing.assert_allclose(
        _angle(np.array([[0.0, -1.0, 0.0], [0.6, 0.0, 0.8]])), [-np.pi / 2, 0]
    )
