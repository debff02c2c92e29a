"""A recording says what happened: read back, it holds the poses, numbers, images and marks."""

import subprocess
import sys
import threading
from collections import defaultdict

import cv2
import mujoco
import numpy as np
import pytest
from rerun.chunk import RrdReader

from robolearn.errors import DataError
from robolearn.loops.rollout import rollout
from robolearn.types import ArraySpec, Spec, Step
from robolearn.viz import StepScores, Viewer, replay_arrays, replay_episode, step_logger
from robolearn.viz import viewer as viz

pytestmark = pytest.mark.filterwarnings("error")  # Rerun warns of what it guesses

MJCF = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="0 2 0.1"/>
    <body name="shelf/left" pos="1 0 0.5"><geom name="board" type="box" size=".3 .2 .01"/></body>
    <body name="arm" pos="0 0 1">
      <joint name="shoulder" axis="0 1 0"/>
      <geom name="link" type="capsule" size=".05 .3" pos="0 0 -.3" rgba="1 0 0 1"/>
      <body pos="0 0 -.6">
        <joint name="wrist" axis="1 0 0"/>
        <geom name="hand" type="sphere" size=".1" mass="1"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="shoulder"/><motor joint="wrist"/></actuator>
</mujoco>
"""
BODIES = {"arm": 2, "body_3": 3}  # moving ones, and their ids


class Pendulum:
    """A double pendulum with one camera, which shows a grey that grows with the angle."""

    interface = Spec(
        environment="test/Pendulum",
        observations={
            "state": ArraySpec((4,), names=("q_a", "q_b", "v_a", "v_b")),
            "front": ArraySpec((16, 24, 3), "uint8"),
        },
        action=ArraySpec((2,), names=("shoulder", "wrist")),
        period_s=0.05,
    )

    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(MJCF)
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)

    def reset(self, *, seed=None, options=None):
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = np.random.default_rng(seed).uniform(-1, 1, 2)
        mujoco.mj_forward(self.model, self.data)
        return self._observe(), {}

    def step(self, action):
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 10)
        mujoco.mj_forward(self.model, self.data)
        info = {"success": False, "reward_terms": {"upright": float(self.data.qpos[0])}}
        return self._observe(), 2.0 * self.data.qpos[0], False, False, info

    def get_state(self):
        return np.concatenate([[self.data.time], self.data.qpos, self.data.qvel])

    def set_state(self, state):
        self.data.time, self.data.qpos[:], self.data.qvel[:] = state[0], state[1:3], state[3:]
        mujoco.mj_forward(self.model, self.data)
        return self._observe()

    def close(self):
        pass

    def _observe(self):
        grey = np.uint8(128 + 100 * np.sin(self.data.qpos[0]))
        state = np.concatenate([self.data.qpos, self.data.qvel]).astype(np.float32)
        return {"state": state, "front": np.full((16, 24, 3), (grey, 0, 255 - grey), np.uint8)}


class Swing:
    """A policy: slow sines."""

    def reset(self, n):
        self.t = 0

    def act(self, observation, explore=False):
        self.t += 1
        return np.array([[np.sin(0.3 * self.t), np.cos(0.2 * self.t)]], np.float32)


class Recording:
    """What a file holds: of each entity and component, the values along ``step``."""

    def __init__(self, path):
        self.values = defaultdict(dict)  # (entity, component) -> {step or None: value}
        self.times = defaultdict(dict)  # timeline -> {step: value}
        reader = RrdReader(path)
        for chunk in reader.stream(store=reader.recordings()[0]):
            self._read(chunk.entity_path, chunk.to_record_batch())

    def _read(self, entity, batch):
        columns = {name.split(":")[-1]: batch.column(name) for name in batch.schema.names}
        indexes = {n: columns[n].cast("int64").to_pylist() for n in TIMELINES if n in columns}
        steps = indexes.get("step", [None] * batch.num_rows)
        for timeline, moments in indexes.items():
            self.times[timeline] |= dict(zip(steps, moments, strict=True))
        for name, column in columns.items():
            if name not in TIMELINES:
                for step, value in zip(steps, column.to_pylist(), strict=True):
                    if value is not None:
                        self.values[entity, name][step] = value

    def series(self, entity, component):
        found = self.values[entity, component]
        return np.array(sorted(found)), np.array([found[step] for step in sorted(found)])

    def scalars(self, entity):
        return self.series(entity, "scalars")

    def entities(self):
        return {entity for entity, _ in self.values}


TIMELINES = ("episode", "step", "time")


def record(path, seeds=(0, 1), horizon=12):
    """Record episodes of the pendulum as they happen; give them with all poses [T + 1, 7]."""
    env, episodes, poses = Pendulum(), [], []
    with Viewer(path) as viewer:
        log = step_logger(viewer, env)

        def on_step(step):
            log(step)
            poses.append(np.concatenate([env.data.xpos, env.data.xquat], axis=1))

        for seed in seeds:
            env.reset(seed=seed)
            poses.append(None)
            episodes.append(rollout(env, Swing(), horizon=horizon, seed=seed, on_step=on_step))
    return env, episodes, poses


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    path = tmp_path_factory.mktemp("viz") / "recording.rrd"
    happened = record(path)
    return Recording(path), *happened


@pytest.fixture(scope="module")
def replayed(tmp_path_factory, live):
    path = tmp_path_factory.mktemp("viz") / "recording.rrd"
    _, _, episodes, _ = live
    M, L, N = np.linspace(0, 1, 36).reshape(3, 12)
    scores = StepScores.along({"M": M, "L": L, "N": N}, {"L": 0.5, "N": 0.8}, L > 0.5)
    with Viewer(path) as viewer:
        for episode in episodes:
            replay_episode(viewer, Pendulum(), episode, scores, text="operator A")
    return Recording(path), L


def test_poses_are_those_of_mujoco(live):
    recording, _, _, poses = live
    for name, body in BODIES.items():
        steps, position = recording.series(f"/world/{name}", "translation")
        _, rotation = recording.series(f"/world/{name}", "quaternion")
        assert set(steps) == set(range(26)) - {13}  # nobody sees the poses at a second reset
        for at, xyz, xyzw in zip(steps[1:], position[1:, 0], rotation[1:, 0], strict=True):
            assert np.allclose(xyz, poses[at][body, :3], atol=1e-6)
            assert np.allclose(xyzw, poses[at][body, [4, 5, 6, 3]], atol=1e-6)


def test_a_still_body_has_one_pose_per_episode(live):
    recording, env, _, _ = live
    steps, position = recording.series("/world/shelf\\/left", "translation")
    assert steps.tolist() == [0, 1, 14]
    assert np.allclose(position[:, 0], env.data.body("shelf/left").xpos)


def test_timelines_run_on_from_one_episode_to_the_next(live):
    recording = live[0]
    steps, _ = recording.scalars("/observation/q")
    assert steps.tolist() == list(range(26))  # 2 episodes of 12 actions, 13 observations
    assert [recording.times["episode"][s] for s in steps] == [0] * 13 + [1] * 13
    assert [recording.times["time"][s] for s in steps] == [round(s * 0.05e9) for s in steps]


def test_actions_observations_and_rewards_are_named_series(live):
    recording, _, episodes, _ = live
    steps, actions = recording.scalars("/action")
    assert steps.tolist() == [*range(12), *range(13, 25)]
    assert np.array_equal(actions, np.concatenate([e.actions for e in episodes]))
    seen = np.concatenate([e.observations["state"] for e in episodes])
    assert np.array_equal(recording.scalars("/observation/q")[1], seen[:, :2])
    assert np.array_equal(recording.scalars("/observation/v")[1], seen[:, 2:])
    rewards = np.concatenate([e.rewards for e in episodes])
    assert np.allclose(recording.scalars("/reward/total")[1][:, 0], rewards)
    assert np.allclose(recording.scalars("/reward/upright")[1][:, 0], rewards / 2)
    assert recording.values["/action", "names"][None] == ["shoulder", "wrist"]
    assert recording.values["/observation/v", "names"][None] == ["a", "b"]


@pytest.mark.parametrize("size", [0, 1, 3, 4, 12])
def test_lines_of_any_number_get_colours(tmp_path, size):
    names = tuple(f"joint_{i}" for i in range(size))
    with Viewer(tmp_path / "r.rrd") as viewer:
        viewer.log_spec(Spec("test", {}, ArraySpec((size,), names=names), 0.05))
    recording = Recording(tmp_path / "r.rrd")
    assert len(recording.values["/action", "colors"][None]) == size


def test_cameras_are_jpeg_in_the_right_colours(live):
    recording, _, episodes, _ = live
    steps, blobs = recording.series("/camera/front", "blob")
    assert steps.tolist() == list(range(26))
    image = cv2.imdecode(np.array(blobs[20][0], np.uint8), cv2.IMREAD_COLOR_RGB)
    expected = episodes[1].observations["front"][20 - 13]
    assert image.shape == (16, 24, 3)
    assert np.abs(image.astype(int) - expected).max() < 6


def test_geoms_are_drawn_once(live):
    recording = live[0]
    assert recording.values["/world/world/floor", "half_sizes"][None] == [
        pytest.approx([viz.ENDLESS_M, 2, viz.PLANE_M])
    ]
    link = "/world/arm/link"
    assert recording.values[link, "lengths"][None] == [pytest.approx(0.6)]
    assert recording.values[link, "translations"][None] == [pytest.approx([0, 0, -0.3])]
    assert recording.values[link, "translation"][None] == [pytest.approx([0, 0, -0.3])]
    assert recording.values[link, "colors"][None] == [0xFF0000FF]
    assert recording.values["/world/body_3/hand", "half_sizes"][None] == [pytest.approx([0.1] * 3)]


def test_a_replay_shows_the_poses_that_were_recorded_live(live, replayed):
    for name in BODIES:
        for component in ("translation", "quaternion"):
            steps, values = live[0].series(f"/world/{name}", component)
            again = replayed[0].values[f"/world/{name}", component]
            assert set(again) == set(range(26))  # the first pose too
            for step, value in list(zip(steps, values, strict=True))[1:]:
                assert np.allclose(again[step], value, atol=1e-6)
    for entity in ("/action", "/observation/q", "/reward/upright"):
        assert np.allclose(live[0].scalars(entity)[1], replayed[0].scalars(entity)[1], atol=1e-6)
    assert replayed[0].series("/camera/front", "blob")[0].tolist() == list(range(26))


def test_scores_have_thresholds_and_marks(replayed):
    recording, L = replayed
    bad = np.flatnonzero(L > 0.5)
    assert 0 < len(bad) < 12
    assert np.allclose(recording.scalars("/score/L")[1][:, 0], [*L, *L])
    assert np.all(recording.scalars("/score/L/threshold")[1] == 0.5)
    assert np.all(recording.scalars("/score/N/threshold")[1] == 0.8)
    assert "/score/M/threshold" not in recording.entities()
    for name in "MLN":
        assert recording.scalars(f"/score/{name}/incompatible")[0].tolist() == [*bad, *(bad + 13)]
    assert np.allclose(recording.scalars("/score/L/incompatible")[1][:, 0], [*L[bad], *L[bad]])


def test_episodes_are_announced(replayed):
    steps, texts = replayed[0].series("/episodes", "text")
    assert steps.tolist() == [0, 13]
    assert texts[:, 0].tolist() == ["episode 0 operator A", "episode 1 operator A"]


def test_a_replay_can_add_cameras_to_an_episode_without(tmp_path, live):
    episode = live[2][0]
    blind = {"state": episode.observations["state"]}
    stored = type(episode)(**{**vars(episode), "observations": blind})
    with Viewer(tmp_path / "r.rrd") as viewer:
        replay_episode(viewer, Pendulum(), stored)
    recording = Recording(tmp_path / "r.rrd")
    assert recording.series("/camera/front", "blob")[0].tolist() == list(range(13))
    assert recording.series("/episodes", "text")[1].tolist() == [["episode 0 failure"]]


def test_an_episode_without_states_shows_its_numbers(tmp_path, live):
    stored = type(live[2][0])(**{**vars(live[2][0]), "states": None})
    with Viewer(tmp_path / "r.rrd") as viewer:
        replay_episode(viewer, Pendulum(), stored)
    recording = Recording(tmp_path / "r.rrd")
    assert len(recording.scalars("/action")[0]) == 12
    assert recording.series("/world/arm", "translation")[0].tolist() == [0]


def test_arrays_alone_show_their_numbers(tmp_path):
    interface = Spec(
        "test/Arrays",
        {"state": ArraySpec((2,), names=("hand_x", "hand_y")), "residual": ArraySpec((1,))},
        ArraySpec((1,), names=("dx",)),
        period_s=0.0,
    )
    rng = np.random.default_rng(0)
    seen = {"state": rng.normal(size=(5, 2)), "residual": rng.normal(size=(5, 1))}
    actions, lost = rng.normal(size=(5, 1)), rng.uniform(size=5)
    scores = StepScores.along({"lost": lost}, {}, lost > 0.5)
    with Viewer(tmp_path / "r.rrd") as viewer:
        replay_arrays(viewer, interface, seen, actions, scores, "demo_3")
        replay_arrays(viewer, interface, seen, actions)
    recording = Recording(tmp_path / "r.rrd")
    again = np.concatenate([seen["state"], seen["state"][-1:]])
    assert np.array_equal(recording.scalars("/observation/hand")[1], [*again, *again])
    assert np.array_equal(recording.scalars("/observation/residual")[1][:5], seen["residual"])
    assert np.array_equal(recording.scalars("/action")[1], [*actions, *actions])
    assert np.array_equal(recording.scalars("/score/lost")[1][:, 0], lost)
    assert recording.series("/episodes", "text")[1].tolist() == [
        ["episode 0 demo_3"],
        ["episode 1"],
    ]
    assert "/reward/total" not in recording.entities() and "time" not in recording.times


def test_without_a_scene_the_numbers_have_the_page():
    paths = [("score", "lost"), ("action",), ("observation", "hand")]
    page = viz.layout(paths, scene=False).root_container.contents
    assert [view.name for view in page[:1]] == ["episodes"]
    assert page[1].origin == "/score/lost"
    assert [view.name for view in page[2].contents] == ["action", "observation"]
    tabs = viz.layout([*paths, ("reward", "total")]).root_container.contents[1].contents[-1]
    assert [view.name for view in tabs.contents] == ["action", "observation", "reward"]


def test_the_layout_shows_what_there_is():
    paths = [("camera", "front"), ("score", "M"), ("score", "L"), ("action",), ("observation", "q")]
    page = viz.layout(paths).root_container.contents
    right = [getattr(view, "name", None) for view in page[1].contents]
    assert [str(name).split(" ")[0] for name in right[1:3]] == ["M", "L"]
    assert [view.name for view in page[1].contents[0].contents] == ["front"]
    assert page[0].contents[0].origin == "world"
    tabs = viz.layout(paths, skills=True).root_container.contents[0].contents[0]
    assert [view.name for view in tabs.contents] == ["skills", "scene"]
    assert tabs.contents[0].contents == ["/world/**", "/skills/**"]


def test_paths_stand_in_the_scene_at_all_times(tmp_path):
    paths = [np.arange(12.0).reshape(4, 3), np.zeros((2, 3))]
    colours = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    with Viewer(tmp_path / "r.rrd") as viewer:
        viewer.log_paths(paths, colours, ["z = 1", "z = 2"])
    recording = Recording(tmp_path / "r.rrd")
    assert recording.values["/skills/paths", "strips"] == {None: [path.tolist() for path in paths]}
    ends = recording.series("/skills/ends", "positions")[1][0]
    np.testing.assert_array_equal(ends, [paths[0][-1], paths[1][-1]])
    assert recording.series("/skills/ends", "labels")[1].tolist() == [["z = 1", "z = 2"]]


def step(t=0, image=None):
    seen = {} if image is None else {"front": image}
    return Step(t, seen, np.zeros(2, np.float32), 0.0, seen, False, False, {})


def test_moments_without_an_action_have_steps_of_their_own(tmp_path):
    with Viewer(tmp_path / "r.rrd") as viewer:
        viewer.begin_episode("watched")
        for level in range(3):
            viewer.log_sight({"level": np.array([level])})
        viewer.begin_episode("done")
        viewer.log_step(step(0), scores=StepScores({"M": 0.5}))
        viewer.log_step(step(4))  # those between were left out
        before, (episode, at) = (0, 2), viewer.moment
        viewer.log_images({"front": b"a picture"})
        viewer.log_images({"front": b"took long"}, before)
        viewer.log_text("rejected", warning=True)
        viewer.log_sight({"level": np.array([9])})
        viewer.log_sight({"level": np.array([9])})
    recording = Recording(tmp_path / "r.rrd")
    steps, levels = recording.scalars("/observation/level")
    assert steps.tolist() == [0, 1, 2, 9, 10] and levels[:, 0].tolist() == [0, 1, 2, 9, 9]
    steps, actions = recording.scalars("/action")
    assert steps.tolist() == [3, 7, 9] and np.isnan(actions).all(axis=1).tolist() == [0, 0, 1]
    steps, _ = recording.series("/camera/front", "blob")
    assert steps.tolist() == [2, at] == [2, 8] and episode == 1
    steps, told = recording.series("/episodes", "text")
    assert steps.tolist() == [0, 3, 8] and told[-1] == "rejected"
    _, levels = recording.series("/episodes", "level")
    assert levels[:, 0].tolist() == ["INFO", "INFO", "WARN"]


def test_images_are_dropped_rather_than_the_loop_held_up(tmp_path, monkeypatch):
    monkeypatch.setattr(viz, "QUEUE_ROWS", 32)
    busy, go = threading.Event(), threading.Event()
    send = Viewer._send

    def slow_send(self, rows):
        busy.set()
        go.wait()
        send(self, rows)

    monkeypatch.setattr(Viewer, "_send", slow_send)
    viewer = Viewer(tmp_path / "r.rrd")
    image = np.zeros((8, 8, 3), np.uint8)
    for t in range(16):
        viewer.log_step(step(t, image))
        if t == 3:
            busy.wait()  # the thread has taken what there was, and is stuck
    go.set()
    with pytest.warns(UserWarning, match="camera images dropped"):
        viewer.close()
    recording = Recording(tmp_path / "r.rrd")
    assert len(recording.scalars("/action")[0]) == 16  # no number is lost
    kept = len(recording.series("/camera/front", "blob")[0])
    assert kept == 17 - viewer.images_dropped < 17


def test_an_error_in_the_thread_is_raised_at_close(tmp_path, monkeypatch):
    monkeypatch.setattr(viz, "QUEUE_ROWS", 8)
    viewer = Viewer(tmp_path / "r.rrd")
    wrong = np.zeros((8, 8, 5), np.uint8)  # no image has five channels
    for t in range(40):
        viewer.log_step(step(t, wrong), wait=True)
    with pytest.raises(cv2.error):
        viewer.close()
    viewer.close()
    with pytest.raises(RuntimeError, match="closed"):
        viewer.log_step(step())


def test_the_body_of_the_with_keeps_its_own_error(tmp_path):
    with pytest.raises(KeyError) as caught, Viewer(tmp_path / "r.rrd") as viewer:
        viewer.log_step(step(0, np.zeros((8, 8, 5), np.uint8)))
        raise KeyError("mine")
    assert "the viewer failed" in caught.value.__notes__[0]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        Viewer(tmp_path / "nowhere" / "r.rrd")
    with pytest.raises(ValueError, match="path"):
        Viewer()


FULL_DISK = """
import resource, signal, sys
import numpy as np
from robolearn.errors import DataError
from robolearn.types import Step
from robolearn.viz import Viewer

viewer = Viewer(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
images = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
for t, image in enumerate(images):
    viewer.log_step(
        Step(t, {"c": image}, np.zeros(2), 0.0, {"c": image}, False, False, {}), wait=True
    )
try:
    viewer.close()
except DataError as error:
    print(error)
"""


def test_a_stream_that_could_not_be_written_is_left_alone(tmp_path, monkeypatch):
    class Stuck:
        def flush(self, timeout_sec):
            raise ValueError("no answer")

        def disconnect(self):
            raise AssertionError("that might wait for ever")

    left = []
    monkeypatch.setattr(viz.rr, "unregister_shutdown", lambda: left.append("no shutdown"))
    viewer = Viewer(tmp_path / "r.rrd")
    stream, viewer._stream = viewer._stream, Stuck()
    with pytest.raises(DataError, match="r.rrd: the recording is incomplete: no answer"):
        viewer.close()
    viewer.close()  # again: nothing
    assert left == ["no shutdown"]
    stream.disconnect()


def test_a_full_disk_is_an_error_and_no_hang(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "r.rrd")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "r.rrd: the recording is incomplete" in done.stdout
