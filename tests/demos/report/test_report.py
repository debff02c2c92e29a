"""The whole command: what stands out, against whom, in which files; and what is a user's error."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from rerun.chunk import RrdReader

from demos.data.dataset import Dataset
from demos.formats.contract import Reading
from demos.formats.convert import ConvertConfig, convert
from demos.formats.guess import open_source
from demos.formats.ours import OurSource
from demos.report import operators, picture
from demos.report.findings import Lines, findings_of
from demos.report.quality import look_at
from demos.report.run import ReportConfig, report
from demos.report.table import lines_of
from robolearn.__main__ import main
from robolearn.errors import DataError

from .conftest import REACH, reach

OTHERS = Path(__file__).parents[1] / "formats" / "others"


@pytest.fixture(scope="module")
def made(people, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    reported = report(people, ReportConfig(out=str(out), base="ann"))
    return reported, json.loads((out / "report.json").read_text()), out


def test_what_stands_out_is_said(made):
    reported, told, _ = made
    found = {one["measure"]: set(one["episodes"]) for one in told["findings"]}
    bob = {f"demo_{i}" for i in range(12, 20)}
    cid = {f"demo_{i}" for i in range(20, 28)}
    assert found["success"] == {"demo_20"} and bob <= found["pauses"]
    assert found["duplicates"] == {"demo_0", "demo_1", "demo_28", "demo_29"}
    assert cid <= found["harm"] and not found["harm"] & {"demo_28", "demo_29"}
    assert any("1 of 30 did not succeed: demo_20" in line for line in reported.lines)
    assert reported.lines[0].startswith("people (robolearn): 30 episodes, ")


def test_operators_are_held_against_a_base_that_is_named(made):
    reported, told, _ = made
    about = told["compatibility"]
    assert about["base"] == "ann" and list(about["operators"]) == ["bob", "cid", "dee"]
    assert about["operators"]["dee"]["accepted"] == 1.0
    assert "compatibility: base ann (base= says so)" in reported.lines
    rows = [line.split() for line in reported.lines]
    assert ["ann", "12", "100%"] in [row[:3] for row in rows]


def test_figures_and_thresholds_are_in_the_file(made):
    _, told, _ = made
    assert told["rate_hz"] == pytest.approx(10.0) and told["episodes"] == 30
    assert told["measures"]["length"]["unit"] == "s" and told["lines"]["jerk"] == 2.0
    assert told["each"]["demo_0"]["nearest"] == {"episode": "demo_28", "distance": 0.0}
    assert set(told["saturated"]) == {"dx", "dy", "gripper"}


def test_the_picture_and_the_recording_are_whole(made):
    reported, _, out = made
    assert (out / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    reader = RrdReader(str(out / "recording.rrd"))
    paths = {str(chunk.entity_path) for chunk in reader.stream()}
    assert {"/camera/front", "/score/paused", "/score/speed_of_hand", "/action"} <= paths
    assert [path.name for path in reported.paths] == ["report.png", "report.json", "recording.rrd"]


def test_long_names_that_begin_alike_stay_different():
    short = [picture._cut(f"the_operator_with_the_longest_name_{i}", 12) for i in range(2)]
    assert short == ["the_o..ame_0", "the_o..ame_1"] and picture._cut("ann", 12) == "ann"


def test_the_base_is_who_succeeded_most_unless_one_is_called_so(people, tmp_path):
    quality = look_at(OurSource(people, Reading()), images=False)
    assert quality.compatibility.base == "ann"
    assert "most successes, 12" in quality.compatibility.chosen
    with pytest.raises(DataError, match="base=an: no operator or mask of that name; did you mean"):
        look_at(OurSource(people, Reading()), base="an", images=False)


def test_images_can_be_left_out(people):
    quality = look_at(OurSource(people, Reading()), images=False)
    assert all(not one.repeated for one in quality.found)


def test_no_more_is_held_than_may_be(people, monkeypatch):
    monkeypatch.setattr(operators, "OF_EACH", 6)
    compatibility = look_at(OurSource(people, Reading()), images=False).compatibility
    assert len(compatibility.own) == 6 and len(compatibility.judged) == 6 + 6 + 2
    assert compatibility.notes == ("10 episodes more were not judged",)


def test_a_base_that_is_too_small_is_no_fault(people):
    compatibility = look_at(OurSource(people, Reading()), "dee", images=False).compatibility
    assert "2 demonstrations say too little" in compatibility.why_not


def test_lines_are_settings(people):
    quality = look_at(OurSource(people, Reading()), images=False)
    loose = findings_of(quality, Lines(paused=1.0, duplicate=1e-9, length=50.0))
    assert {one.measure for one in loose} & {"pauses", "length"} == set()


@pytest.mark.parametrize("name", ["lerobot", "minari"])
def test_others_datasets_as_they_lie(name):
    quality = look_at(open_source(OTHERS / name))
    assert next(lines_of(quality, [])).startswith(f"{name} ({name}): 2 episodes")


def test_an_episode_that_cannot_be_read_is_told(tmp_path):
    dataset = Dataset.create(tmp_path / "ours", REACH)
    for seed in range(3):
        dataset.append(reach(seed))
    dataset.flush()
    convert(dataset.path, tmp_path / "x.hdf5", ConvertConfig())
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:
        file["data/demo_1/obs/state"][3] = np.nan
    quality = look_at(open_source(tmp_path / "x.hdf5"), images=False)
    (found, *_) = findings_of(quality, Lines())
    assert found.text.startswith("1 of 3 cannot be read; demo_1: ")
    assert [one.name for one in quality.found] == ["demo_0", "demo_2"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["people", "bas=ann"], "'bas=ann': unknown key 'bas'; did you mean 'base'?"),
        (["people", "lines.jrek=3"], "unknown key 'lines.jrek'; did you mean 'jerk'?"),
        (["people", "lines.jerk=0.5"], "'lines.jerk=0.5': lines.jerk"),
        (["people", "base=en", "images=false"], "base=en: no operator or mask of that name"),
        (["peeple"], "peeple: no such file or folder; did you mean 'people'?"),
        ([], "expected: robolearn report DATASET"),
        (["people", "--base=ann"], "'--base=ann'"),
        (["people", "out=taken"], "'out=taken': holds report.json already"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    people, tmp_path, monkeypatch, capsys, arguments, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").symlink_to(people)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/report.json").write_text("mine")
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert told in error[-1] and sum(line.startswith("robolearn:") for line in error) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"people", "taken"}


def test_the_command_line_reports_in_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dataset = Dataset.create(tmp_path / "few", REACH)
    dataset.append(reach(0))
    dataset.flush()
    assert main(["report", "few", "recorded=0", "images=false"]) == 0
    paths = capsys.readouterr().out.strip().splitlines()[-2:]
    assert [Path(path).name for path in paths] == ["report.png", "report.json"]
    assert paths[0].startswith("runs/report/") and all(Path(path).exists() for path in paths)
