import numpy as np
import pytest

from robolearn import calibrate
from robolearn.algos.bc import BCConfig
from robolearn.errors import DataError
from robolearn.judge import JudgeConfig
from robolearn.judge_file import load_judge, save_judge
from robolearn.train import OfflineConfig


@pytest.fixture(scope="module")
def judge():
    rng = np.random.default_rng(0)
    states = [rng.uniform(-1, 1, (12, 3)) for _ in range(12)]
    actions = [np.clip(s[:, :2] * 0.5 + rng.normal(0, 0.05, (12, 2)), -1, 1) for s in states]
    return calibrate(
        states,
        actions,
        gripper=1,
        config=JudgeConfig(false_rejection_rate=0.1, folds=3, window=4),
        network=BCConfig(members=2, widths=(8,), dropout=0.0),
        training=OfflineConfig(epochs=2, validation_share=0.2),
    )


def test_a_judge_comes_back_with_the_same_verdicts(judge, tmp_path):
    save_judge(tmp_path / "judge", judge)
    back = load_judge(tmp_path / "judge")
    rng = np.random.default_rng(1)
    states, actions = rng.uniform(-1, 1, (9, 3)), rng.uniform(-1, 1, (9, 2))
    ours, theirs = judge.score(states, actions), back.score(states, actions)
    assert (back.config, back.scale, back.gripper) == (judge.config, judge.scale, judge.gripper)
    assert back.compare(states, actions) == judge.compare(states, actions)
    assert (ours.p_value, ours.worst_window) == (theirs.p_value, theirs.worst_window)
    np.testing.assert_array_equal(ours.scores.L, theirs.scores.L)


def test_a_folder_without_a_judge_is_named(tmp_path):
    with pytest.raises(DataError, match="no judge here"):
        load_judge(tmp_path)


def test_a_damaged_judge_is_named(judge, tmp_path):
    save_judge(tmp_path / "judge", judge)
    (tmp_path / "judge" / "fold_0" / "held_out.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged"):
        load_judge(tmp_path / "judge")
