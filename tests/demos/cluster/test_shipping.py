"""Runs as bytes: what travels, and that a folder is always the old one or the new one."""

import os
import shutil

import pytest

from demos.cluster import shipping

RUN = "lr-1_seed-0"


@pytest.fixture
def folder(tmp_path):
    """A sweep's folder with a run that has a checkpoint."""
    run = tmp_path / "there" / RUN
    (run / "checkpoint").mkdir(parents=True)
    (run / "checkpoint" / "weights").write_bytes(b"\x00\x01")
    (run / "metrics.jsonl").write_text("{}\n")
    (run / "recording.rrd").write_text("much")
    for name in ("launch", "logs"):
        (tmp_path / "there" / name).mkdir()
    (tmp_path / "there" / "launch" / f"{RUN}.yaml").write_text("verb: toy")
    (tmp_path / "there" / "logs" / f"{RUN}.txt").write_text("it began\n")
    return tmp_path / "there"


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_run_arrives_with_its_launch_file_and_log_and_without_what_is_no_longer_there(
    folder, tmp_path
):
    here = tmp_path / "here"
    (here / RUN / "checkpoint").mkdir(parents=True)
    (here / RUN / "checkpoint" / "older").write_text("gone there")
    shipping.unpack(shipping.packed(folder, RUN, whole=True), here, RUN)
    assert contents(here) == contents(folder)


def test_recordings_travel_when_a_run_is_over(folder):
    files = shipping.packed(folder, RUN)
    assert f"{RUN}/recording.rrd" not in files
    assert list(files)[-3] == f"{RUN}/metrics.jsonl"  # after the checkpoint, before log and launch


def test_before_a_run_begins_there_is_its_launch_file_alone(folder, tmp_path):
    shutil.rmtree(folder / RUN)
    (folder / "logs" / f"{RUN}.txt").unlink()
    files = shipping.packed(folder, RUN)
    assert list(files) == [f"launch/{RUN}.yaml"]
    shipping.unpack(files, tmp_path / "here", RUN)
    assert not (tmp_path / "here" / RUN).exists()


def test_lines_that_are_logged_are_no_checkpoint_and_a_file_that_changes_is(folder):
    before = shipping.signature(folder, RUN)
    with open(folder / RUN / "metrics.jsonl", "a") as file:
        file.write("{}\n")
    assert shipping.signature(folder, RUN) == before
    (folder / RUN / "checkpoint" / "weights").write_bytes(b"\x02\x03\x04")
    assert shipping.signature(folder, RUN) != before


def test_a_run_that_changes_while_it_is_read_is_not_sent(folder, monkeypatch):
    seen = iter([frozenset(), frozenset({("weights", 2, 3)})])
    monkeypatch.setattr(shipping, "signature", lambda *of: next(seen))
    assert shipping.packed(folder, RUN) is None


@pytest.mark.parametrize("step", [0, 1])
def test_what_is_stopped_while_it_arrives_is_found_old_or_new(folder, tmp_path, monkeypatch, step):
    here = tmp_path / "here"
    shipping.unpack(shipping.packed(folder, RUN), here, RUN)
    old = contents(here / RUN)
    (folder / RUN / "checkpoint" / "weights").write_bytes(b"new")
    renames, rename = iter(range(9)), os.rename

    def stop(source, target):
        if next(renames) == step:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("demos.cluster.shipping.os.rename", stop)
        shipping.unpack(shipping.packed(folder, RUN), here, RUN)
    shipping.recover(here, RUN)
    assert contents(here / RUN) == old
    shipping.unpack(shipping.packed(folder, RUN), here, RUN)
    assert (here / RUN / "checkpoint" / "weights").read_bytes() == b"new"
