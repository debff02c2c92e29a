"""MCAP files, read back by MCAP's own reader: the same numbers, at the times they stand for."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demos.formats import mcap_write
from demos.formats.convert import ConvertConfig, convert
from robolearn.errors import DataError

PERIOD_NS = 50_000_000


def messages(path: Path) -> dict[str, list[tuple[int, dict]]]:
    """Read a file: topic -> its messages, each with its time."""
    reader = pytest.importorskip("mcap.reader", reason="the package mcap is not installed")
    found: dict[str, list[tuple[int, dict]]] = {}
    with path.open("rb") as file:
        for schema, channel, message in reader.make_reader(file).iter_messages():
            told = json.loads(message.data)
            known = json.loads(schema.data)["properties"]
            assert channel.message_encoding == "json" and known.keys() == told.keys()
            stamp = told["timestamp"]
            assert stamp["sec"] * 10**9 + stamp["nsec"] == message.log_time
            found.setdefault(channel.topic, []).append((message.log_time, told))
    return found


@pytest.fixture
def there(ours, tmp_path):
    """Convert the dataset with a camera, its images as PNG."""
    pytest.importorskip("mcap", reason="the package mcap is not installed")
    config = ConvertConfig(format="mcap", images="png")
    return convert(ours.path, tmp_path / "there", config).path


def test_every_number_comes_back(ours, there):
    for name in ours.names():
        episode, found = ours.load(name), messages(there / f"{name}.mcap")
        names = ours.interface.observations["state"].names
        states = [[row[n] for n in names] for _, row in found["/observation/state"]]
        np.testing.assert_array_equal(np.float32(states), episode.observations["state"])
        actions = [row["values"] for _, row in found["/action"]]
        np.testing.assert_array_equal(np.float32(actions), episode.actions)
        rewards = [row["total"] for _, row in found["/reward"]]
        np.testing.assert_array_equal(np.float32(rewards), episode.rewards)
        assert set(found["/reward"][0][1]) == {"timestamp", "total", "reach/near"}
        inside = [row["values"] for _, row in found["/simulator_state"]]
        np.testing.assert_array_equal(inside, episode.states)


def test_times_go_on_at_the_rate_and_the_last_observation_is_there(ours, there):
    found = messages(there / "demo_1.mcap")
    assert [t for t, _ in found["/action"]] == [i * PERIOD_NS for i in range(6)]
    assert [t for t, _ in found["/observation/state"]] == [i * PERIOD_NS for i in range(7)]


def test_images_are_foxgloves_and_exact_where_asked_for(ours, there):
    found = messages(there / "demo_0.mcap")["/camera/wrist/left"]
    frames = ours.load("demo_0").observations["wrist/left"]
    assert len(found) == len(frames)
    for (_, image), frame in zip(found, frames, strict=True):
        assert (image["format"], image["frame_id"]) == ("png", "wrist/left")
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["data"]))))
        np.testing.assert_array_equal(seen, frame)


def test_what_is_known_of_an_episode_stands_beside(ours, there):
    from mcap.reader import make_reader

    with (there / "demo_1.mcap").open("rb") as file:
        reader = make_reader(file)
        (about,) = [m.metadata for m in reader.iter_metadata()]
        (interface,) = [a.data for a in reader.iter_attachments()]
    assert (about["success"], about["steps"]) == ("true", "6")
    assert json.loads(about["metadata"])["operator"] == "ann"
    assert json.loads(interface)["period_s"] == 0.05
    index = json.loads((there / "index.json").read_text())
    assert index["episodes"] == [f"demo_{i}.mcap" for i in range(4)]
    assert index["masks"]["operator_ann"] == ["demo_1", "demo_3"]
    assert {p.name for p in there.iterdir()} == {*index["episodes"], "index.json"}


def test_jpeg_unless_asked_otherwise(ours, tmp_path):
    pytest.importorskip("mcap", reason="the package mcap is not installed")
    convert(ours.path, tmp_path / "there", ConvertConfig(format="mcap"))
    ((_, image), *_) = messages(tmp_path / "there/demo_0.mcap")["/camera/wrist/left"]
    assert image["format"] == "jpeg"


def test_topics_have_no_dots_and_none_is_lost(vectors, tmp_path):
    pytest.importorskip("mcap", reason="the package mcap is not installed")
    episode = vectors.load("demo_0")
    writer = mcap_write.McapWriter(vectors.interface, {})
    episode.records["motor.current"] = np.arange(len(episode), dtype=float)
    writer.part(tmp_path / "one.mcap", episode)
    topics = set(messages(tmp_path / "one.mcap"))
    assert "/record/motor/current" in topics and not any("." in topic for topic in topics)
    episode.records["motor/current"] = np.zeros(len(episode))
    with pytest.raises(DataError, match="two observations or records have the same name"):
        writer.part(tmp_path / "two.mcap", episode)


def test_what_json_does_not_know_is_null():
    _, rows = mcap_write._vectors("x", np.array([[1.5, np.nan], [np.inf, 2.0]]))
    assert [row["values"] for row in rows] == [[1.5, None], [None, 2.0]]


def test_without_the_package_it_is_named(ours, tmp_path, monkeypatch):
    monkeypatch.setattr(mcap_write, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install mcap, or 'robolearn\[mcap\]'"):
        convert(ours.path, tmp_path / "there", ConvertConfig(format="mcap"))
    assert not (tmp_path / "there").exists()


def test_it_is_not_read_back(ours, tmp_path):
    with pytest.raises(DataError, match="check=true: MCAP files are written, not read back"):
        convert(ours.path, tmp_path / "there", ConvertConfig(format="mcap", check=True))
    assert not (tmp_path / "there").exists()
