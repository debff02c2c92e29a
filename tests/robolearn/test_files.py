import errno
import os

import pytest

from robolearn.errors import DataError
from robolearn.files import make_folder, write_atomically


def test_a_file_is_replaced_as_a_whole(tmp_path):
    write_atomically(tmp_path / "a", b"one")
    write_atomically(tmp_path / "a", b"two", durable=False)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    write_atomically(tmp_path / "a", b"one")
    for mode in (0o640, 0o606):
        (tmp_path / "a").chmod(mode)
        write_atomically(tmp_path / "a", b"two")
        assert (tmp_path / "a").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, monkeypatch, step):
    write_atomically(tmp_path / "a", b"one")

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(DataError, match="cannot write a .No space left on device"):
        write_atomically(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: cannot write b .Not a directory"):
        make_folder(tmp_path / "file" / "b")
