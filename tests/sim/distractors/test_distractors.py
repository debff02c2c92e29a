"""What moves behind a robot: nothing of it is covered, and a state decides what is behind."""

import contextlib
import shutil
import subprocess
import sys

import cv2
import mujoco
import numpy as np
import pytest

import sim
from robolearn.errors import SpecError, UserError
from sim.distractors import videos
from sim.distractors.backdrop import Backdrop
from sim.distractors.noise import Noise
from sim.distractors.options import DistractorOptions, parse_distractors
from sim.distractors.scenery import scenery
from sim.rendering.gl import backend_name

needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")
SIZE = (64, 64)
PLANE, GEOM = mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtObj.mjOBJ_GEOM
TASKS = [  # with a camera, a window, and geoms that are to be seen
    ("dmc/cartpole-swingup", "fixed", 40, ("cart", "pole_1")),
    ("dmc/walker-walk", "side", 64, ("torso", "left_foot")),
    ("dmc/cheetah-run", "side", 32, ("torso", "ffoot")),
    ("dmc/reacher-easy", "fixed", 64, ("target", "finger", "root")),
    ("dmc/ball_in_cup-catch", "cam0", 64, ("ball", "cup_part_0")),
    ("dmc/finger-turn_easy", "cam0", 64, ("fingertip", "cap1")),
    ("robosuite/Lift", "frontview", 64, ("cube_g0_vis", "table_visual")),
    ("tabletop/cube", "front", 64, ("table",)),
]


def write_video(path, frames=60, size=(48, 64), first=0, rise=1):
    """Write a video whose frames get brighter from one to the next."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, size[::-1])
    for i in range(frames):
        writer.write(np.full((*size, 3), (first + rise * i) % 256, np.uint8))
    writer.release()
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos, dark, grey and bright, of which the last is for evaluation."""
    folder = tmp_path_factory.mktemp("videos")
    for i, first in enumerate((0, 80, 160)):
        write_video(folder / f"{i}.avi", first=first)
    return str(folder)


def backdrop(options, size=SIZE, where="here"):
    return Backdrop(parse_distractors(options, where), size, where)


def frame(backdrop, size=SIZE):
    """Give the frame as it is on an empty image."""
    image = np.zeros((*size, 3), np.uint8)
    backdrop.put_behind(image, np.ones(size, bool))
    return image


def frames(options, seed=0, steps=20, size=SIZE):
    shown = backdrop(options, size)
    shown.begin(seed)
    found = []
    for _ in range(steps):
        found.append(frame(shown, size))
        shown.advance()
    return np.array(found)


# on images


@needs_gl
@pytest.mark.parametrize(("name", "camera", "window", "seen"), TASKS)
def test_it_is_where_planes_walls_and_sky_were_and_nowhere_else(name, camera, window, seen):
    cameras = {"cameras": (camera, f"{camera}_segmentation"), "image_size": SIZE}
    clean = sim.make(name, **cameras)
    env = sim.make(name, **cameras, distractors={"video": "noise", "window": window})
    expected, image = clean.reset(seed=3)[0], env.reset(seed=3)[0]
    number, kind = np.moveaxis(expected[f"{camera}_segmentation"], -1, 0)
    model = env.model
    behind = (model.geom_type == PLANE) & (np.arange(model.ngeom) != id_of(model, "table"))
    behind |= [model.geom(i).name.startswith("wall") for i in range(model.ngeom)]
    free = np.where(kind == GEOM, behind[number], number < 0)
    free[: 32 - window // 2] = free[32 + window // 2 :] = False
    free[:, : 32 - window // 2] = free[:, 32 + window // 2 :] = False
    np.testing.assert_array_equal(image[camera][~free], expected[camera][~free])
    np.testing.assert_array_equal(image[camera][free], frame(env._images.backdrop)[free])
    np.testing.assert_array_equal(*(o[f"{camera}_segmentation"] for o in (expected, image)))
    assert free.sum() > 100 and (~free).sum() > 20
    for part in seen:
        assert ((number == id_of(model, part)) & (kind == GEOM) & ~free).any(), part
    clean.close(), env.close()


def id_of(model, name):
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, name)


@needs_gl
def test_more_can_be_kept_and_dropped():
    options = {"cameras": ("fixed",), "image_size": SIZE}
    clean = sim.make("dmc/reacher-easy", **options).reset(seed=0)[0]["fixed"]
    kept = {"video": "noise", "keep": ["ground", "wall_*"]}
    env = sim.make("dmc/reacher-easy", **options, distractors=kept)
    np.testing.assert_array_equal(env.reset(seed=0)[0]["fixed"], clean)  # all is ground or object
    env.close()
    dropped = {"video": "noise", "drop": ["target", "hand", "arm"]}
    env = sim.make("dmc/reacher-easy", **options, distractors=dropped)
    image = env.reset(seed=0)[0]["fixed"]
    alike = (image == frame(env._images.backdrop)).all(axis=-1)
    assert 0.95 < alike.mean() < 1  # all but the finger and the root
    env.close()


@needs_gl
def test_a_state_decides_what_is_behind_and_episodes_do_not_change():
    options = {"cameras": ("side",), "image_size": (24, 32)}
    plain = sim.make("dmc/cheetah-run", **options)
    env, other = (
        sim.make("dmc/cheetah-run", **options, distractors={"video": "noise", "steps": 3})
        for _ in range(2)
    )
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 6)).astype(np.float32)
    env.reset(seed=4), plain.reset(seed=4)
    first = env.reset()[0]
    np.testing.assert_array_equal(first["state"], plain.reset()[0]["state"])
    start = env.get_state()
    seen = [env.step(action)[0]["side"] for action in actions]
    for again in (env, other):
        np.testing.assert_array_equal(again.set_state(start)["side"], first["side"])
        for action, image in zip(actions, seen, strict=True):
            np.testing.assert_array_equal(again.step(action)[0]["side"], image)
    assert (env.reset(seed=4)[0]["side"] != first["side"]).any()
    other.reset(seed=4)
    np.testing.assert_array_equal(other.reset()[0]["side"], first["side"])
    with pytest.raises(SpecError, match="state"):
        plain.set_state(start)
    for made in (plain, env, other):
        made.close()


@needs_gl
def test_what_is_behind_can_be_told_from_what_is_seen():
    looks = {"cameras": ["side"], "image_size": SIZE}
    with contextlib.closing(sim.make("dmc/walker-walk", **looks)) as clean:
        with pytest.raises(UserError, match="reset the environment before what is behind"):
            clean.behind()
        plain = clean.reset(seed=0)[0]["side"]
        assert clean.behind() is None
    behind = {"distractors": {"video": "noise"}}
    with contextlib.closing(sim.make("dmc/walker-walk", **looks, **behind)) as env:
        image = env.reset(seed=0)[0]["side"]
        robot = (image == plain).all(axis=-1) & (env.behind() != image).any(axis=-1)
        np.testing.assert_array_equal(env.behind()[~robot], image[~robot])
        assert 100 < robot.sum() < 2000
        before = env.behind()
        env.step(np.zeros(6, np.float32))
        assert (env.behind() != before).any()


@needs_gl
def test_environments_of_a_batch_have_backdrops_of_their_own(folder):
    options = {"cameras": ("fixed",), "image_size": (24, 24), "distractors": {"video": folder}}
    batch = sim.make_vec("dmc/cartpole-swingup", 3, threads=2, **options)
    env = sim.make("dmc/cartpole-swingup", **options)
    seeds = [5, 6, 5]
    images = [batch.reset(seed=seeds)[0]["fixed"]]
    images += [batch.step(np.zeros((3, 1), np.float32))[0]["fixed"] for _ in range(2)]
    for i, seed in enumerate(seeds):
        np.testing.assert_array_equal(env.reset(seed=seed)[0]["fixed"], images[0][i])
        for image in images[1:]:
            np.testing.assert_array_equal(env.step(np.zeros(1, np.float32))[0]["fixed"], image[i])
    assert (images[0][0] != images[0][1]).any()
    batch.close(), env.close()


@needs_gl
def test_another_robot_moves_behind():
    options = {"video": "agent:dmc/pendulum-swingup"}
    seen = frames(options, steps=8, size=(32, 32)).astype(int)
    assert (np.abs(np.diff(seen, axis=0)).max(axis=(1, 2, 3)) > 20).all()
    np.testing.assert_array_equal(frames(options, steps=8, size=(32, 32)), seen)
    assert (frames(options | {"part": "evaluation"}, size=(32, 32))[:8] != seen).any()
    with pytest.raises(UserError, match="no environment with a MuJoCo model"):
        backdrop({"video": "agent:gym/CartPole-v1"})
    with pytest.raises(UserError, match="did you mean 'walker-walk'"):
        backdrop({"video": "agent:dmc/waker-walk"})


# what is behind


def test_files_are_split_into_parts(folder):
    train = [int(frames({"video": folder}, seed, 3).mean()) // 80 for seed in range(12)]
    assert set(train) == {0, 1}
    evaluation = {"video": folder, "part": "evaluation"}
    assert {int(frames(evaluation, seed, 3).mean()) // 80 for seed in range(6)} == {2}


def test_a_single_file_is_split_by_time(tmp_path):
    video = write_video(tmp_path / "one.avi", frames=90, rise=2)
    for part, (first, end) in {"train": (0, 120), "evaluation": (120, 180)}.items():
        shown = [frames({"video": video, "part": part}, seed, 50) for seed in range(8)]
        grey = np.concatenate(shown).mean(axis=(1, 2, 3))
        assert first - 1.5 < grey.min() < first + 9 and end - 9 < grey.max() < end - 0.5


def test_a_video_goes_on_by_a_frame_a_step_and_back_at_its_end(tmp_path):
    video = write_video(tmp_path / "one.avi", frames=90, rise=2)
    for seed in range(4):
        grey = frames({"video": video, "steps": 200}, seed, 200).mean(axis=(1, 2, 3))
        assert np.abs(np.abs(np.diff(grey)) - 2).max() < 1.5  # the file's colours are not exact
        assert grey.max() < 120 and np.ptp(grey) > 110


def test_pieces_are_cropped_mirrored_and_changed_after_so_many_steps(tmp_path):
    ramp = np.tile(np.arange(0, 192, 2, dtype=np.uint8)[None, :, None], (64, 1, 3))
    (tmp_path / "still").mkdir()
    for i in range(50):
        cv2.imwrite(str(tmp_path / "still" / f"{i:03}.png"), ramp)
    seen = frames({"video": str(tmp_path), "steps": 5}, steps=100)[..., 0].astype(int)
    pieces = seen[::5]
    assert all((seen[5 * i : 5 * i + 5] == piece).all() for i, piece in enumerate(pieces))
    slopes = pieces[:, 32, -1] - pieces[:, 32, 0]
    assert (slopes > 0).any() and (slopes < 0).any()
    assert np.ptp(np.abs(slopes)) > 20  # of different sizes
    assert np.ptp(pieces.min(axis=(1, 2))) > 5  # and places
    assert len({piece.tobytes() for piece in pieces}) > 15


def test_the_window_is_in_the_middle():
    for window, covered in ((64, 64), (40, 40), (32, 32)):
        shown = frames({"video": "noise", "window": window}, steps=1)[0].any(axis=-1)
        assert shown.sum() > 0.9 * covered**2
        rows = np.flatnonzero(shown.any(axis=1))
        assert (rows[0], rows[-1]) == (32 - covered // 2, 31 + covered // 2)
    assert (
        frames({"video": "noise", "window": 32}, steps=1, size=(84, 60))[0].any(axis=-1).sum() > 0
    )


def test_noise_falls_as_one_over_frequency_and_moves():
    noise, size = Noise("train", SIZE), 64
    spectra = np.zeros((size, size))
    for seed in range(20):
        image = noise.piece(np.random.default_rng(seed))(3).mean(axis=-1)
        spectra += np.abs(np.fft.fft2(image - image.mean()))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    inner = (frequency > 0.04) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[inner]), np.log(spectra[inner]), 1)[0]
    assert -1.15 < slope < -0.85
    piece = noise.piece(np.random.default_rng(0))
    still, next_, later = (piece(t).astype(float) for t in (0, 1, 30))
    alike = [np.corrcoef(still.ravel(), other.ravel())[0, 1] for other in (next_, later)]
    assert 0.5 < alike[0] < 0.999 and alike[1] < 0.5
    other = Noise("evaluation", SIZE).piece(np.random.default_rng(0))(0).astype(float)
    assert abs(np.corrcoef(still.ravel(), other.ravel())[0, 1]) < 0.5
    assert 20 < still.std() < 80 and 60 < still.mean() < 190


def test_frames_are_kept_small(tmp_path):
    video = write_video(tmp_path / "large.avi", frames=videos.MOST_FRAMES + 20, size=(200, 300))
    (clip,) = videos.read_clips(video, 50, "here")
    assert clip().shape == (videos.MOST_FRAMES, 50, 75, 3)
    assert clip() is clip()


def test_walls_planes_and_what_is_named_are_scenery():
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody><geom name="floor" type="plane" size="1 1 1"/>
        <geom name="north_wall" type="box" size="1 1 1"/><geom name="rock" size="1"/>
        <body name="arm"><joint/><geom name="wall_e" size="1"/><geom size="1"/></body>
        </worldbody></mujoco>"""
    )

    def names(keep=(), drop=()):
        return scenery(model, keep, drop, "here").tolist()

    assert names() == [True, True, False, False, False]
    assert names(keep=("floor",), drop=("rock",)) == [False, True, True, False, False]
    assert names(keep=("world",), drop=("arm",)) == [False, False, False, True, True]
    with pytest.raises(UserError, match="here: no geom and no body 'flor'; did you mean 'floor'"):
        names(keep=("flor",))


# wrong ones

READ = """
import sys
from sim.distractors.videos import read_clips
try:
    read_clips(sys.argv[1], 64, "here")
except ValueError as error:
    print("one line" if "not a video" in str(error) else error)
"""


def test_what_cannot_be_read_is_one_line(tmp_path, folder):
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    write_video(tmp_path / "short.avi", frames=49)
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    for i in range(50):
        (tmp_path / "images" / f"{i}.png").write_bytes(b"no image")
    for name, fault in {
        "none.mp4": "no such file or folder, seen from",
        "bad.mp4": "not a video that can be read",
        "short.avi": "49 frames; a clip needs 50 or more",
        "empty": "no videos and no images in this folder",
        "images": "0.png: not an image that can be read",
    }.items():
        with pytest.raises(UserError, match=rf"^here: distractors.video: .*{fault}") as error:
            backdrop({"video": str(tmp_path / name)})
        assert "\n" not in str(error.value)
    shutil.copy(f"{folder}/0.avi", tmp_path / "short.avi")  # repaired meanwhile
    backdrop({"video": str(tmp_path / "short.avi")})
    told = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "bad.mp4")], capture_output=True, text=True
    )
    assert (told.stdout, told.stderr) == ("one line\n", "")  # the decoder keeps to itself


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("noise", "must be a mapping"),
        ({}, "video=None must be a path, 'noise' or 'agent:NAME'"),
        ({"video": 3}, "video=3 must be"),
        ({"video": "noise", "windw": 3}, "unknown option 'windw'; did you mean 'window'"),
        ({"video": "noise", "window": 65}, "window=65 is counted in 64ths; 64 at most"),
        ({"video": "noise", "window": 0}, "window=0 must be a whole number"),
        ({"video": "noise", "part": "test"}, "unknown part 'test'"),
        ({"video": "noise", "steps": 0.5}, "steps=0.5 must be a whole number"),
        ({"video": "noise", "keep": 3}, "keep=3 must be a name or a list of names"),
        ({"video": "noise", "keep": ["flor"]}, "no geom and no body 'flor'; did you mean 'floor'"),
    ],
)
def test_wrong_options_are_refused(options, fault):
    with pytest.raises(UserError, match=f"dmc/cartpole-swingup: .*{fault}"):
        sim.make("dmc/cartpole-swingup", cameras=("fixed",), distractors=options)


def test_distractors_need_cameras_and_options_may_be_an_object():
    with pytest.raises(UserError, match="name cameras"):
        sim.make("dmc/cartpole-swingup", distractors={"video": "noise"})
    with pytest.raises(UserError, match="distractors need an environment with a MuJoCo model"):
        sim.make("gym/CartPole-v1", distractors={"video": "noise"})
    options = DistractorOptions("noise", steps=7)
    assert parse_distractors(options, "here") is options
