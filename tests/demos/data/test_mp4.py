"""Cameras kept as video: frame k of an episode is frame k of what is decoded."""

import dataclasses
import io
from fractions import Fraction

import av
import h5py
import numpy as np
import pytest

from demos.data import arrays
from demos.data.dataset import Dataset
from demos.data.doctor import doctor
from demos.data.episode_file import encode, read_stored
from demos.data.keep import keep
from demos.data.mp4 import Clip, rate_of
from demos.formats.convert import ConvertConfig, convert
from robolearn.errors import DataError
from robolearn.types import ArraySpec

from ..conftest import CAMERA, assert_same, episode_file, walk, with_camera

FPS = [Fraction(20), Fraction(30), Fraction(1000, 33), Fraction(30000, 1001), Fraction(1, 3)]


def distinct(steps=40, size=(16, 24)):
    """Give frames [steps + 1, H, W, 3], each of a grey of its own."""
    greys = np.linspace(0, 250, steps + 1).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(greys[:, None, None, None], (steps + 1, *size, 3)))


@pytest.mark.parametrize("fps", FPS, ids=str)
def test_frame_k_is_frame_k_at_any_rate(fps):
    frames = distinct()
    again = Clip.of(frames, fps, "video").frames("here")
    gaps = np.abs(again.astype(int) - frames).max(axis=(1, 2, 3))
    assert (
        gaps.max() < 3 < np.diff(frames[:, 0, 0, 0].astype(int)).min()
    )  # no other frame is as near
    noise = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    np.testing.assert_array_equal(Clip.of(noise, fps, "lossless").frames("here"), noise)


def test_a_frame_that_is_left_out_is_missed():
    clip = Clip.of(distinct(), Fraction(20), "video")
    longer = dataclasses.replace(clip, shape=(42, *clip.shape[1:]))
    with pytest.raises(DataError, match="here: no frame at 2.0500 s: it is cut off"):
        longer.frames("here")
    slower = dataclasses.replace(clip, fps=Fraction(19))
    with pytest.raises(DataError, match="no frame at 0.0526 s; the next is at 0.1000"):
        slower.frames("here")
    larger = dataclasses.replace(clip, shape=(41, 18, 24, 3))
    with pytest.raises(DataError, match="its images are 16 x 24, not 18 x 24"):
        larger.frames("here")


@pytest.fixture(params=["video", "lossless"])
def filmed(tmp_path, request):
    """Give a dataset of two episodes, whose camera is kept as video."""
    dataset = Dataset.create(tmp_path / "filmed", CAMERA, images=request.param)
    for i in range(2):
        dataset.append(with_camera(i, steps=5 + i))
    return dataset


def test_an_episode_comes_back_and_says_exactly_what_it_is(filmed):
    for i, name in enumerate(Dataset.open(filmed.path).names()):
        loaded, episode = filmed.load(name), with_camera(i, steps=5 + i)
        frames = loaded.observations["wrist/left"]
        assert frames.shape == (6 + i, 16, 8, 3) and frames.dtype == np.uint8
        if filmed.images == "lossless":
            assert_same(loaded, episode)
        else:
            assert not np.array_equal(frames, episode.observations["wrist/left"])
            observations = episode.observations | {"wrist/left": frames}
            assert_same(loaded, dataclasses.replace(episode, observations=observations))
        assert list(loaded.observations) == ["state", "wrist/left"]
    rows = filmed.transitions()["observations"]["wrist/left"]
    np.testing.assert_array_equal(rows[:5], filmed.load("demo_0").observations["wrist/left"][:-1])


def test_the_file_holds_an_mp4_at_the_control_rate(filmed):
    with h5py.File(episode_file(filmed, 0)) as file:
        stored = file["data/demo_0/episode/videos/wrist/left"]
        with av.open(io.BytesIO(stored[()].tobytes())) as container:
            times_s = [float(f.pts * f.time_base) for f in container.decode(video=0)]
        assert "wrist" not in file["data/demo_0/obs"]  # robomimic knows no video
    np.testing.assert_allclose(times_s, np.arange(6) * CAMERA.period_s, atol=1e-4)


def test_who_appends_chooses_and_all_of_them_are_read(filmed):
    again = Dataset.ensure(filmed.path, CAMERA)
    assert_same(again.load(again.append(with_camera(7))), with_camera(7))
    assert len(Dataset.open(filmed.path).transitions()["actions"]) == 5 + 6 + 5
    assert doctor(filmed.path).healthy


def test_amending_copying_and_keeping_leave_the_video_as_it_is(filmed, tmp_path):
    _, before = read_stored(episode_file(filmed, 0))
    filmed.amend("demo_0", decision="kept")
    amended, after = read_stored(episode_file(filmed, 0))
    assert amended.metadata["decision"] == "kept" and after == before
    keep(arrays.read(filmed.path), ["demo_0"], tmp_path / "some")
    _, copied = read_stored(tmp_path / "some/episodes/episode_000000.hdf5")
    assert copied == before


def test_a_flipped_byte_of_a_video_is_found(filmed):
    with h5py.File(episode_file(filmed, 0), "r+") as file:
        file["data/demo_0/episode/videos/wrist/left"][700] ^= 1
    with pytest.raises(DataError, match="damaged: its content changed") as caught:
        filmed.load("demo_0")
    assert "\n" not in str(caught.value)
    assert not doctor(filmed.path).healthy


@pytest.mark.parametrize(
    ("name", "value"),
    [("fps", [19, 1]), ("fps", [1, 0]), ("fps", "fast"), ("shape", [6, 16, 8, 4])],
)
def test_a_changed_rate_or_shape_is_found(filmed, name, value):
    with h5py.File(episode_file(filmed, 0), "r+") as file:
        file["data/demo_0/episode/videos/wrist/left"].attrs[name] = value
    with pytest.raises(DataError, match="episode_000000.hdf5 is damaged: its"):
        filmed.load("demo_0")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_video_that_is_cut_off_or_none_is_one_line(filmed, share):
    path = episode_file(filmed, 0)
    episode, clips = read_stored(path)
    clip = clips["wrist/left"]
    content = clip.content[: int(share * len(clip.content))]
    cut = dataclasses.replace(clip, content=content or b"no video at all")
    path.write_bytes(encode(episode, {}, {}, {"wrist/left": cut}))
    with pytest.raises(DataError, match="episode_000000.hdf5 is damaged: ") as caught:
        Dataset.open(filmed.path).load("demo_0")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_lossy_video_is_refused_before_anything_is_recorded(tmp_path):
    odd = {"wrist": ArraySpec((15, 8, 3), "uint8")}
    interface = dataclasses.replace(CAMERA, observations=odd)
    with pytest.raises(DataError, match="wrist: images of 15 x 8 .*images=frames"):
        Dataset.create(tmp_path / "odd", interface, images="video")
    assert not (tmp_path / "odd").exists()
    assert Dataset.create(tmp_path / "odd", interface, images="lossless").images == "lossless"


def test_without_cameras_or_a_rate_nothing_is_different(dataset, tmp_path):
    filmed = Dataset.create(tmp_path / "blind", dataset.interface, images="video")
    name = filmed.append(walk())
    with h5py.File(episode_file(filmed, 0)) as file:
        assert file.attrs["format"] == "robolearn-episode-1"  # which earlier versions read
    assert_same(filmed.load(name), walk())
    assert rate_of(dataclasses.replace(CAMERA, period_s=0.0)) == 1


@pytest.mark.parametrize("images", ["frames", "video", "lossless"])
def test_convert_keeps_cameras_as_it_is_told(filmed, tmp_path, images):
    config = ConvertConfig(format="robolearn", images=images, check=True)
    done = convert(filmed.path, tmp_path / "there", config)
    assert done.check.is_exact == (images != "video")
    _, clips = read_stored(tmp_path / "there/episodes/episode_000000.hdf5")
    assert list(clips) == ([] if images == "frames" else ["wrist/left"])


def test_a_way_of_keeping_cameras_that_a_format_has_not_is_refused(filmed, tmp_path):
    for kind, images in (("robolearn", "png"), ("lerobot", "frames")):
        with pytest.raises(DataError, match=f"images={images}: datasets of {kind} keep them as"):
            convert(filmed.path, tmp_path / kind, ConvertConfig(format=kind, images=images))
        assert not (tmp_path / kind).exists()
