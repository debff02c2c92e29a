import json

import numpy as np
import pytest

from robolearn.errors import UserError
from robots.base import Joint, Kind, RobotError
from robots.calibration import Calibration, ServoCalibration, path_of, read, write

JOINTS = (
    Joint("pan", Kind.REVOLUTE, -1, 1, 2, 10, 100),
    Joint("gripper", Kind.GRIPPER, 0, 1, 2, 10, 100),
)
PAN = {"id": 1, "drive_mode": 0, "homing_offset": -5, "range_min": 1000, "range_max": 3000}
GRIPPER = {"id": 2, "drive_mode": 0, "homing_offset": 0, "range_min": 2000, "range_max": 3000}


def calibration(**changes):
    servos = {"pan": ServoCalibration(**PAN), "gripper": ServoCalibration(**GRIPPER | changes)}
    return Calibration(JOINTS, servos, 4096, "file")


def test_the_middle_is_zero_and_a_turn_is_2_pi():
    np.testing.assert_allclose(calibration().from_raw([2000, 2000]), [0, 0])
    np.testing.assert_allclose(calibration().from_raw([2000 + 1024, 2500]), [np.pi / 2, 0.5])


def test_a_gripper_that_turns_the_other_way_is_open_at_the_other_end():
    np.testing.assert_allclose(calibration(drive_mode=1).from_raw([2000, 2000]), [0, 1])
    np.testing.assert_allclose(calibration(drive_mode=1).from_raw([2000, 3000]), [0, 0])


@pytest.mark.parametrize("drive_mode", [0, 1])
def test_back_and_forth(drive_mode):
    there = calibration(drive_mode=drive_mode)
    for raw in ([1000, 2000], [1234, 2345], [3000, 3000]):
        np.testing.assert_array_equal(there.to_raw(there.from_raw(raw)), raw)


def test_raw_positions_stay_in_the_calibrated_range():
    np.testing.assert_array_equal(calibration().to_raw([9.0, -2.0]), [3000, 2000])


def test_files_are_those_of_lerobot(tmp_path):
    path = tmp_path / "new" / "so101.json"
    servos = {"pan": ServoCalibration(**PAN), "gripper": ServoCalibration(**GRIPPER)}
    write(path, servos)
    assert json.loads(path.read_text()) == {"pan": PAN, "gripper": GRIPPER}
    assert read(path) == servos


def test_yaml_is_read_too(tmp_path):
    path = tmp_path / "so101.yaml"
    path.write_text("pan: {id: 1, drive_mode: 0, homing_offset: -5, range_min: 1, range_max: 9}")
    assert read(path)["pan"].range_max == 9


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "must be a mapping"),
        ("[1, 2]", "must be a mapping"),
        ("{", "neither JSON nor YAML"),
        (json.dumps({"pan": 3}), "pan: must be a mapping of id"),
        (json.dumps({"pan": PAN | {"range_mim": 1}}), "did you mean 'range_min'"),
        (json.dumps({"pan": PAN | {"id": 1.5}}), r"pan.id must be a whole number, not 1\.5"),
        (json.dumps({"pan": PAN | {"drive_mode": 2}}), "drive_mode must be 0 or 1"),
        (json.dumps({"pan": PAN | {"range_min": 3000}}), "range_min must be below range_max"),
        (json.dumps({"pan": PAN, "lift": PAN}), "id 1 belongs to another joint"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, content, words):
    path = tmp_path / "arm.json"
    path.write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(RobotError, match="no calibration file"):
        read(tmp_path / path_of("so101"))


def test_joints_that_do_not_fit():
    with pytest.raises(UserError, match="file: no entry for joint 'gripper'"):
        Calibration(JOINTS, {"pan": ServoCalibration(**PAN)}, 4096, "file")
    three = {
        "pan": ServoCalibration(**PAN),
        "gripper": ServoCalibration(**GRIPPER),
        "lift": ServoCalibration(**GRIPPER),
    }
    with pytest.raises(UserError, match="file: there is no joint 'lift'"):
        Calibration(JOINTS, three, 4096, "file")
