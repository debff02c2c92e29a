"""Everything that happens, in Rerun: the model in 3D, cameras, actions, observations and scores.

    with Viewer("recording.rrd") as viewer:
        rollout(env, policy, horizon=200, on_step=step_logger(viewer, env))

Entities
    world/BODY/GEOM                geoms once; one transform per body and step, in the world's frame
    camera/NAME                    JPEG
    action, observation/GROUP      scalars, named by the Spec; "eef_pos_x" is "x" of eef_pos
    reward/total, reward/TERM      scalars
    score/NAME                     scalars, with .../threshold and .../incompatible (marked steps)
    episodes                       one line of text where an episode begins

Timelines: ``episode``; ``step`` and ``time`` (simulated) run on from one episode to the next, so
that no two moments coincide. An episode of T actions takes T + 1 steps: an observation and the
bodies' poses stand at the moment they were seen, an action and its scores at the moment it began.

The loop only copies arrays into a queue. A thread turns whatever has piled up into columns, a few
times a second: one call per entity, not one per entity and step.
"""

from __future__ import annotations

import queue
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from robolearn.errors import DataError, UserError
from robolearn.types import Environment, Episode, Observation, Spec, Step
from robolearn.viz_model import (
    GEOM_TYPES,
    colour,
    drawn_geoms,
    eye,
    hfield_surface,
    mesh_surface,
    moving_bodies,
)
from robolearn.viz_process import ViewerProcess, has_screen

JPEG_QUALITY = 80
QUEUE_ROWS = 512  # beyond half of it, images are dropped
PERIOD_S = 0.2  # how often the thread sends what has piled up
FLUSH_TIMEOUT_S = 20.0  # a full disk or a dead viewer must not hang the run
RED = (220, 40, 40)
GREY = (150, 150, 150)
BLUE = (70, 130, 220)
ENDLESS_M = 10.0  # half the width of what is drawn for an infinite plane
PLANE_M = 1e-3


@dataclass(frozen=True)
class StepScores:
    """What a measure says of one step: named values, their thresholds, and its verdict."""

    values: Mapping[str, float]  # "M", "L", "N"
    thresholds: Mapping[str, float] = field(default_factory=dict)  # "L": lambda, "N": eta
    incompatible: bool = False

    @classmethod
    def along(
        cls,
        values: Mapping[str, np.ndarray],
        thresholds: Mapping[str, float],
        incompatible: np.ndarray,
    ) -> list[StepScores]:
        """Cut series [T] of a whole episode, and the verdicts [T], into steps."""
        return [
            cls({name: float(series[t]) for name, series in values.items()}, thresholds, bool(bad))
            for t, bad in enumerate(incompatible)
        ]


class _Entry(NamedTuple):
    kind: str  # a key of _COLUMNS
    path: str
    value: np.ndarray | str


class _Row(NamedTuple):
    """What is logged at one moment."""

    episode: int
    step: int
    entries: list[_Entry]


class Viewer:
    """Writes a recording, shows it live, or both; a context manager.

    ``images_dropped`` counts camera images that were left out because the thread fell behind.
    """

    def __init__(
        self, path: str | Path | None = None, live: bool = False, application: str = "robolearn"
    ) -> None:
        """Write to ``path`` (an .rrd file), show ``live``, or both.

        Live means Rerun's window where there is a screen, else its web page on localhost, whose
        address is printed. Recordings of one ``application`` share a layout. Raises DataError if
        the file cannot be written.
        """
        if path is None and not live:
            raise ValueError("a viewer needs a path, live=True, or both")
        self.images_dropped = 0
        self._path = path
        self._period_s: float | None = None
        self._groups: dict[str, list[tuple[str, np.ndarray]]] = {}  # observation -> its series
        self._bodies: dict[int, str] = {}  # drawn bodies: id -> entity
        self._moving = np.zeros(0, int)
        self._eye: rrb.EyeControls3D | None = None
        self._laid_out: set[str] = set()  # entities that the layout knows
        self._episode, self._step, self._begun = -1, 0, False
        self._queue: queue.Queue[_Row] = queue.Queue(QUEUE_ROWS)
        self._wake, self._closing = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._stream = rr.RecordingStream(application)
        self._process = ViewerProcess(window=has_screen()) if live else None
        self._open_sinks()
        self._thread = threading.Thread(target=self._work, name="viewer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"and the viewer failed: {failure}")  # the first error is the cause

    def close(self) -> None:
        """Write all that waits and end; again: nothing. Raises what went wrong in the thread."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.set()
        self._thread.join()
        try:
            self._flush()
        finally:
            self._stream.disconnect()
            if self._process is not None and not self._process.window:
                self._process.close()
        if self.images_dropped:
            warnings.warn(f"viewer: {self.images_dropped} camera images dropped", stacklevel=2)
        if self._error is not None:
            raise self._error

    def log_spec(self, spec: Spec) -> None:
        """Take names of actions and observations, and the control period, from a Spec."""
        self._period_s = spec.period_s
        self._name("action", spec.action.names)
        for key, array in spec.observations.items():
            groups = _groups(key, array.names)
            self._groups[key] = [(path, where) for path, where, _ in groups]
            for path, _, labels in groups:
                self._name(path, labels)

    def _name(self, path: str, labels: Sequence[str]) -> None:
        if labels:
            self._stream.log(path, rr.SeriesLines(names=labels), static=True, strict=True)

    def log_model(self, model: Any, data: Any) -> None:
        """Draw the geoms of an ``mujoco.MjModel``, once; ``data`` says where the eye looks first.

        Geoms that only collide are left out where bodies have others to be looked at.
        """
        geoms = drawn_geoms(model)
        drawn = np.unique(model.geom_bodyid[geoms])
        self._bodies = {int(i): f"world/{_label(model.body(i), 'body')}" for i in drawn}
        self._moving = moving_bodies(model, drawn)
        position, target = eye(model, data, self._moving)
        self._eye = rrb.EyeControls3D(position=position, look_target=target, eye_up=(0, 0, 1))
        self._stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True, strict=True)
        for geom in geoms:
            path = f"{self._bodies[model.geom_bodyid[geom]]}/{_label(model.geom(geom), 'geom')}"
            pose = rr.Transform3D(
                translation=model.geom_pos[geom], quaternion=_xyzw(model.geom_quat[geom])
            )
            self._stream.log(path, shape(model, geom), pose, static=True, strict=True)

    def begin_episode(self, text: str = "", data: Any = None) -> None:
        """Begin an episode; ``text`` says which; ``data`` (MjData) holds the first poses."""
        self._step += self._episode >= 0
        self._episode += 1
        self._begun = True
        entries = [_Entry("text", "episodes", f"episode {self._episode} {text}".rstrip())]
        self._put(entries + self._poses(data, every=True), wait=True)

    def log_step(
        self, step: Step, data: Any = None, scores: StepScores | None = None, wait: bool = False
    ) -> None:
        """Log a step after it was taken; ``data`` (MjData) holds the poses after it.

        Begins an episode at ``step.t == 0`` if ``begin_episode`` did not. Arrays of the step must
        not be overwritten later; those of ``data`` are copied. With ``wait`` no image is dropped:
        not for a control loop.
        """
        if step.t == 0:
            if not self._begun:
                self.begin_episode()
            self._put(self._seen(step.observation), wait)
        self._put([_Entry("scalars", "action", step.action), *_reward(step), *_score(scores)], wait)
        self._step += 1
        self._put(self._seen(step.next_observation) + self._poses(data, every=self._begun), wait)
        self._begun = False

    def _seen(self, observation: Observation) -> list[_Entry]:
        entries = []
        for key, array in observation.items():
            if array.ndim == 3:
                entries.append(_Entry("image", f"camera/{rr.escape_entity_path_part(key)}", array))
                continue
            groups = self._groups.get(key) or [
                (f"observation/{rr.escape_entity_path_part(key)}", slice(None))
            ]
            entries += [_Entry("scalars", path, array[where]) for path, where in groups]
        return entries

    def _poses(self, data: Any, every: bool) -> list[_Entry]:
        """Copy poses [7]: of all drawn bodies, or only of those that move within an episode."""
        if data is None:
            return []
        bodies = self._bodies if every else self._moving
        poses = np.concatenate([data.xpos, data.xquat], axis=1)  # [bodies, 7], copied
        return [_Entry("pose", self._bodies[body], poses[body]) for body in bodies]

    def _put(self, entries: list[_Entry], wait: bool) -> None:
        if not wait and self._queue.qsize() > QUEUE_ROWS // 2:
            kept = [entry for entry in entries if entry.kind != "image"]
            self.images_dropped += len(entries) - len(kept)
            entries = kept
        if self._queue.qsize() > QUEUE_ROWS // 4:
            self._wake.set()
        self._queue.put(_Row(self._episode, self._step, entries))

    def _work(self) -> None:
        """Send what has piled up; after an error only empty the queue, so that no loop waits."""
        while not (self._closing.is_set() and self._queue.empty()):
            self._wake.wait(PERIOD_S)
            if not self._closing.is_set():
                self._wake.clear()
            rows = [self._queue.get() for _ in range(self._queue.qsize())]
            if self._error is None:
                try:
                    self._send(rows)
                except Exception as error:  # raised by close(), in the caller's thread
                    self._error = error

    def _send(self, rows: list[_Row]) -> None:
        moments: dict[tuple[str, str], list[_Row]] = defaultdict(list)
        values: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for row in rows:
            for kind, path, value in row.entries:
                moments[kind, path].append(row)
                values[kind, path].append(value)
        for (kind, path), series in values.items():
            times = self._times(moments[kind, path])
            self._stream.send_columns(path, times, _COLUMNS[kind](series), strict=True)
        self._lay_out({path for _, path in values})

    def _times(self, rows: list[_Row]) -> list[rr.TimeColumn]:
        steps = [row.step for row in rows]
        times = [
            rr.TimeColumn("episode", sequence=[row.episode for row in rows]),
            rr.TimeColumn("step", sequence=steps),
        ]
        if self._period_s is not None:
            times.append(rr.TimeColumn("time", duration=[n * self._period_s for n in steps]))
        return times

    def _lay_out(self, paths: set[str]) -> None:
        """Send the layout and the styles of scores when something new is to be seen."""
        new = {path for path in paths if not path.startswith("world/")} - self._laid_out
        if not new:
            return
        for path in new:
            if path.startswith("score/"):
                self._stream.log(path, _score_style(path), static=True, strict=True)
        self._laid_out |= new
        self._stream.send_blueprint(layout(self._laid_out, self._eye))

    def _open_sinks(self) -> None:
        sinks = [] if self._path is None else [rr.FileSink(self._path)]
        if self._process is not None:
            sinks.append(rr.GrpcSink(self._process.url))
            print(f"live view: {self._process.address}", flush=True)
        try:
            self._stream.set_sinks(*sinks)
        except RuntimeError as error:
            raise DataError(f"{self._path}: cannot write a recording: {error}") from error

    def _flush(self) -> None:
        """Wait until all is written. A viewer that somebody closed is no fault of the run."""
        try:
            self._stream.flush(timeout_sec=FLUSH_TIMEOUT_S)
        except (RuntimeError, ValueError) as error:
            if self._process is None:
                raise DataError(f"{self._path}: the recording is incomplete: {error}") from error
            warnings.warn(f"the live view is incomplete: {error}", stacklevel=3)


# what is called from outside the loop


def step_logger(
    viewer: Viewer, env: Environment, score: Callable[[Step], StepScores] | None = None
) -> Callable[[Step], None]:
    """Make an ``on_step`` for ``rollout`` that logs all there is: the model too, if there is one.

    ``score`` runs in the loop.
    """
    data = _introduce(viewer, env)

    def on_step(step: Step) -> None:
        viewer.log_step(step, data(), None if score is None else score(step))

    return on_step


def replay_episode(
    viewer: Viewer,
    env: Environment,
    episode: Episode,
    scores: Sequence[StepScores] | None = None,
    text: str = "",
) -> None:
    """Log a stored episode: its states are put into ``env``, one after the other.

    ``scores`` has one entry per action. Without stored states no body moves.
    """
    data = _introduce(viewer, env)

    def pose(t: int) -> Any:
        if episode.states is None:
            return None
        env.set_state(episode.states[t])
        return data()

    viewer.begin_episode(text or ("success" if episode.success else "failure"), pose(0))
    for t in range(len(episode)):
        step = _step_of(episode, t)
        viewer.log_step(step, pose(t + 1), None if scores is None else scores[t], wait=True)


def _introduce(viewer: Viewer, env: Environment) -> Callable[[], Any]:
    """Log the Spec and the model of an environment; give what returns its MjData, or None."""
    viewer.log_spec(env.interface)
    world = getattr(env, "unwrapped", env)
    if not hasattr(getattr(world, "model", None), "ngeom"):
        return lambda: None
    viewer.log_model(world.model, world.data)
    return lambda: world.data


def _step_of(episode: Episode, t: int) -> Step:
    def observation(at: int) -> Observation:
        return {name: array[at] for name, array in episode.observations.items()}

    last = t == len(episode) - 1
    terms = {name: float(values[t]) for name, values in episode.reward_terms.items()}
    return Step(
        t, observation(t), episode.actions[t], float(episode.rewards[t]), observation(t + 1),
        last and episode.terminated, last and episode.truncated, {"reward_terms": terms},
    )  # fmt: skip


def view(path: str | Path) -> None:
    """Open a recording, or the one in a run's directory, until Ctrl-C or the window is closed.

    In Rerun's window where there is a screen, else as a web page on localhost, whose address is
    printed. Raises UserError if there is no recording.
    """
    recording = Path(path) / "recording.rrd" if Path(path).is_dir() else Path(path)
    if not recording.is_file():
        raise UserError(f"{recording}: no such recording; a run with view=record makes one")
    process = ViewerProcess(has_screen(), recording)
    try:
        if not process.window:
            print(f"{recording} is shown at {process.address} (Ctrl-C ends it)", flush=True)
        process.wait()
    except KeyboardInterrupt:
        print()
    finally:
        process.close()


# entities


def _label(named: Any, kind: str) -> str:
    """Give a body's or geom's name as part of a path, or its number where it has none."""
    return rr.escape_entity_path_part(named.name or f"{kind}_{named.id}")


def _xyzw(wxyz: np.ndarray) -> np.ndarray:
    return np.roll(wxyz, -1, axis=-1)


def _groups(key: str, names: Sequence[str]) -> list[tuple[str, np.ndarray, list[str]]]:
    """Sort a vector's entries into series: "eef_pos_x" is entry "x" of observation/eef_pos."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        members[name.rpartition("_")[0] or name].append(i)
    return [
        (
            f"observation/{rr.escape_entity_path_part(group)}",
            np.array(where),
            [names[i].removeprefix(f"{group}_") for i in where],
        )
        for group, where in members.items()
    ]


def _reward(step: Step) -> list[_Entry]:
    terms = {"total": step.reward, **step.info.get("reward_terms", {})}
    return [
        _Entry("scalars", f"reward/{rr.escape_entity_path_part(name)}", np.array([value]))
        for name, value in terms.items()
    ]


def _score(scores: StepScores | None) -> list[_Entry]:
    if scores is None:
        return []
    series = {f"score/{name}": value for name, value in scores.values.items()}
    if scores.incompatible:
        series |= {f"{path}/incompatible": value for path, value in series.items()}
    series |= {f"score/{name}/threshold": value for name, value in scores.thresholds.items()}
    return [_Entry("scalars", path, np.array([value])) for path, value in series.items()]


def _score_style(path: str) -> rr.SeriesLines | rr.SeriesPoints:
    """A threshold is a grey line, an incompatible step a red mark."""
    if path.endswith("/incompatible"):
        return rr.SeriesPoints(colors=RED, markers="cross", marker_sizes=4, names="incompatible")
    if path.endswith("/threshold"):
        return rr.SeriesLines(colors=GREY, widths=1, names="threshold")
    return rr.SeriesLines(colors=BLUE, widths=1.5, names=path.removeprefix("score/"))


# columns: values of one entity, one per moment


def _jpeg(image: np.ndarray) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    if not done:
        raise ValueError(f"no JPEG can be made of an image of shape {image.shape}")
    return encoded.tobytes()


def _scalar_columns(values: list[np.ndarray]) -> rr.ComponentColumnList:
    lengths = [len(value) for value in values]
    return rr.Scalars.columns(scalars=np.concatenate(values)).partition(lengths)


def _pose_columns(values: list[np.ndarray]) -> rr.ComponentColumnList:
    poses = np.stack(values)  # [T, 7]
    return rr.Transform3D.columns(translation=poses[:, :3], quaternion=_xyzw(poses[:, 3:]))


def _image_columns(values: list[np.ndarray]) -> rr.ComponentColumnList:
    return rr.EncodedImage.columns(
        blob=[_jpeg(image) for image in values], media_type=["image/jpeg"] * len(values)
    )


def _text_columns(values: list[str]) -> rr.ComponentColumnList:
    return rr.TextLog.columns(text=values)


_COLUMNS = {
    "scalars": _scalar_columns,
    "pose": _pose_columns,
    "image": _image_columns,
    "text": _text_columns,
}


# shapes


def shape(model: Any, geom: int) -> rr.AsComponents:
    """Give what Rerun draws for a geom, in the geom's frame."""
    kind, size, colours = (
        GEOM_TYPES[model.geom_type[geom]],
        model.geom_size[geom],
        colour(model, geom),
    )
    solid = {"colors": [colours], "fill_mode": "solid"}
    match kind:
        case "box":
            return rr.Boxes3D(half_sizes=[size], **solid)
        case "sphere":
            return rr.Ellipsoids3D(half_sizes=[size[[0, 0, 0]]], **solid)
        case "ellipsoid":
            return rr.Ellipsoids3D(half_sizes=[size], **solid)
        case "cylinder":
            return rr.Cylinders3D(lengths=[2 * size[1]], radii=[size[0]], **solid)
        case "capsule":  # Rerun's begins at the origin, MuJoCo's is centred there
            bottom = [0, 0, -size[1]]
            return rr.Capsules3D(
                lengths=[2 * size[1]], radii=[size[0]], translations=[bottom], **solid
            )
        case "plane":  # of infinite extent where the size is 0
            x, y = np.where(size[:2] > 0, size[:2], ENDLESS_M)
            return rr.Boxes3D(half_sizes=[(x, y, PLANE_M)], centers=[(0, 0, -PLANE_M)], **solid)
    surface = hfield_surface(model, geom) if kind == "hfield" else mesh_surface(model, geom)
    return rr.Mesh3D(
        vertex_positions=surface.vertices,
        triangle_indices=surface.triangles,
        vertex_normals=surface.normals,
        albedo_factor=colours,
    )


# layout


def layout(paths: set[str], eye_controls: rrb.EyeControls3D | None) -> rrb.Blueprint:
    """Lay out what is there: the scene at the left; cameras, scores, actions at the right."""

    def under(root: str) -> list[str]:
        return sorted({"/".join(p.split("/")[:2]) for p in paths if p.startswith(f"{root}/")})

    def plot(path: str, name: str) -> rrb.TimeSeriesView:
        return rrb.TimeSeriesView(origin=path, name=name)

    scene = rrb.Spatial3DView(origin="world", name="scene", eye_controls=eye_controls)
    cameras = [rrb.Spatial2DView(origin=p, name=p.split("/")[1]) for p in under("camera")]
    scores = [plot(path, path.split("/")[1]) for path in under("score")]
    observations = [plot(path, path.split("/")[1]) for path in under("observation")]
    numbers = rrb.Tabs(
        plot("action", "action"),
        rrb.Grid(*observations, name="observations"),
        plot("reward", "reward"),
    )
    episodes = rrb.TextLogView(origin="episodes", name="episodes")
    right = ([rrb.Horizontal(*cameras)] if cameras else []) + scores + [numbers]
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(scene, episodes, row_shares=[5, 1]),
            rrb.Vertical(*right, row_shares=[2] * bool(cameras) + [1] * len(scores) + [2]),
            column_shares=[1, 1],
        ),
        rrb.TimePanel(timeline="step", state="collapsed"),
        collapse_panels=True,
    )
