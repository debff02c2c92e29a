"""Everything that happens, in Rerun: the model in 3D, cameras, actions, observations and scores.

    with Viewer("recording.rrd") as viewer:
        rollout(env, policy, horizon=200, on_step=step_logger(viewer, env))

Entities
    world/BODY/GEOM                geoms once; one transform per body and step, in the world's frame
    camera/NAME                    JPEG
    action, observation/GROUP      scalars, named by the Spec; "eef_pos_x" is "x" of eef_pos
    reward/total, reward/TERM      scalars
    score/NAME                     scalars, with .../threshold and .../incompatible (marked steps)
    skills/paths, skills/ends      where objects went, a line and a point each, in colours
    episodes                       one line of text where an episode begins; what is said of it

Timelines: ``episode``; ``step`` and ``time`` (simulated) run on from one episode to the next, so
that no two moments coincide. An episode of T actions takes T + 1 steps: an observation and the
bodies' poses stand at the moment they were seen, an action and its scores at the moment it began.
Steps that nobody logs leave a gap.

The loop only copies arrays into a queue. A thread turns whatever has piled up into columns, a few
times a second: one call per entity, not one per entity and step.
"""

from __future__ import annotations

import ctypes
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from robolearn.errors import DataError
from robolearn.types import Observation, Spec, Step
from robolearn.viz import entries as viz_entries
from robolearn.viz import shapes
from robolearn.viz.backlog import Backlog
from robolearn.viz.entries import EntityPath, Entry, Group, Row, StepScores
from robolearn.viz.process import ViewerProcess, has_screen

QUEUE_ROWS = 512  # two a step; once half of it is taken, images are dropped
LIVE_PERIOD_S, FILE_PERIOD_S = 0.2, 1.0  # how often the thread sends what has piled up
FLUSH_TIMEOUT_S = 20.0  # a full disk or a dead viewer must not hang the run
RED, GREY, BLUE = (220, 40, 40), (150, 150, 150), (70, 130, 220)
PALETTE = np.array(
    [0x1F77B4FF, 0xFF7F0EFF, 0x2CA02CFF, 0xD62728FF, 0x9467BDFF, 0x8C564BFF, 0xE377C2FF], np.uint32
)
ENDLESS_M, PLANE_M = 10.0, 1e-3  # half width and half height of what stands for an endless plane


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
        self._groups: dict[str, list[Group]] = {}  # observation -> its plots
        self._bodies: dict[int, str] = {}  # drawn bodies: id -> name
        self._moving: dict[int, str] = {}
        self._model: Any = None
        self._eye: rrb.EyeControls3D | None = None
        self._has_paths = False
        self._known: dict[EntityPath, None] = {}  # entities so far, in order
        self._views: list[EntityPath] = []  # what the layout shows
        self._episode, self._step, self._begun = -1, 0, False
        self._first = 0  # the episode's
        self._lines: list[Entry] = []  # actions and scores that go on
        self._stream = rr.RecordingStream(application)
        self._process = ViewerProcess(window=has_screen()) if live else None
        self._stuck = False  # whether Rerun has failed to write
        self._open_sinks()
        self._backlog = Backlog(self._send, QUEUE_ROWS, LIVE_PERIOD_S if live else FILE_PERIOD_S)

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
        if self._stream is None:
            return
        try:
            self._backlog.close()
            self._flush()
        finally:
            if self._stuck:
                _abandon(self._stream)
            else:
                self._stream.disconnect()
            self._stream = None  # the file is complete once nobody holds the stream
            if self._process is not None and not self._process.window:
                self._process.close()
        if self.images_dropped:
            warnings.warn(f"viewer: {self.images_dropped} camera images dropped", stacklevel=2)

    def log_spec(self, spec: Spec) -> None:
        """Take names of actions and observations, and the control period, from a Spec."""
        self._period_s = spec.period_s
        self._groups = {
            key: viz_entries.groups(array.names) for key, array in spec.observations.items()
        }
        labels = {("action",): spec.action.names}
        labels |= {plot.path: plot.labels for plots in self._groups.values() for plot in plots}
        for path, names in labels.items():
            colours = np.resize(PALETTE, len(names))
            self._log_static(path, rr.SeriesLines(names=names, colors=colours))

    def log_model(self, model: Any, data: Any) -> None:
        """Draw the geoms of an ``mujoco.MjModel`` in the poses of ``data``, its MjData.

        Geoms that only collide are left out where bodies have others to be looked at. A second
        model should have the same bodies: what is no longer logged stays where it was.
        """
        if model is self._model:
            return
        self._model = model
        geoms = shapes.drawn_geoms(model)
        drawn = np.unique(model.geom_bodyid[geoms])
        self._bodies = {int(i): model.body(i).name or f"body_{i}" for i in drawn}
        self._moving = {int(i): self._bodies[i] for i in shapes.moving_bodies(model, drawn)}
        position, target = shapes.eye(model, data)
        self._eye = rrb.EyeControls3D(position=position, look_target=target, eye_up=(0, 0, 1))
        self._log_static(("world",), rr.ViewCoordinates.RIGHT_HAND_Z_UP)
        for geom in geoms:
            body = self._bodies[model.geom_bodyid[geom]]
            pose = rr.Transform3D(
                translation=model.geom_pos[geom], quaternion=_xyzw(model.geom_quat[geom])
            )
            name = model.geom(geom).name or f"geom_{geom}"
            self._log_static(("world", body, name), shape(model, geom), pose)
        if self._episode < 0:  # the first moment has no poses unless somebody gives them
            self._put(viz_entries.poses(data, self._bodies), wait=True)

    def log_paths(
        self, paths: Sequence[np.ndarray], colours: np.ndarray, labels: Sequence[str]
    ) -> None:
        """Draw paths [T, 3], metres, of the world, each in a colour [M, 3] of uint8, at all times.

        Labels, one for each, are shown where the paths end, when they are pointed at.
        """
        ends = np.stack([path[-1] for path in paths])
        lines = rr.LineStrips3D(paths, colors=colours, radii=rr.Radius.ui_points(1.0))
        self._log_static(("skills", "paths"), lines)
        points = rr.Points3D(
            ends, colors=colours, labels=labels, show_labels=False, radii=rr.Radius.ui_points(3.0)
        )
        self._log_static(("skills", "ends"), points)
        self._has_paths = True
        self._stream.send_blueprint(layout(self._views, self._eye, skills=True))

    def begin_episode(self, text: str = "", data: Any = None) -> None:
        """Begin an episode; ``text`` says which; ``data`` (MjData) holds the first poses."""
        self._step += self._episode >= 0
        self._episode += 1
        self._first, self._begun = self._step, True
        title = Entry("text", ("episodes",), f"episode {self._episode} {text}".rstrip())
        self._put([title, *viz_entries.poses(data, self._bodies)], wait=True)

    def log_step(
        self, step: Step, data: Any = None, scores: StepScores | None = None, wait: bool = False
    ) -> None:
        """Log a step after it was taken; ``data`` (MjData) holds the poses after it.

        Begins an episode at ``step.t == 0`` if ``begin_episode`` did not. Arrays of the step must
        not be overwritten later; those of ``data`` are copied. With ``wait`` no image is dropped:
        not for a control loop.
        """
        entries = [Entry("scalars", ("action",), step.action)]
        entries += viz_entries.reward(step) + viz_entries.score(scores)
        self._lines = list(entries)
        if step.t == 0:
            if not self._begun:
                self.begin_episode()
            entries += viz_entries.seen(step.observation, self._groups)
        self._step = max(self._step, self._first + step.t)
        self._put(entries, wait)
        self._step += 1
        self._put_sight(step.next_observation, data, wait)

    def log_sight(self, observation: Observation, data: Any = None) -> None:
        """Log what is seen at a moment at which nothing is done; ``data`` (MjData) has the poses.

        It takes a step, but for the first one of an episode, which is that of its beginning.
        """
        self._step += not self._begun
        self._put([Entry(kind, path, np.full(len(v), np.nan)) for kind, path, v in self._lines])
        self._lines = []
        self._put_sight(observation, data, wait=False)

    @property
    def moment(self) -> tuple[int, int]:
        """The last moment: its episode and step."""
        return max(self._episode, 0), self._step

    def log_images(
        self, images: Mapping[str, np.ndarray | bytes], moment: tuple[int, int] | None = None
    ) -> None:
        """Log images of cameras, by name: uint8 [H, W, 3], or JPEG; at a moment, or the last."""
        entries = [Entry("image", ("camera", name), image) for name, image in images.items()]
        self._put(entries, moment=moment)

    def log_text(self, text: str, warning: bool = False) -> None:
        """Log a line at the last moment, among those where episodes begin."""
        self._put([Entry("warning" if warning else "text", ("episodes",), text)])

    def _put_sight(self, observation: Observation, data: Any, wait: bool) -> None:
        bodies = self._bodies if self._begun else self._moving  # the others stand still until then
        seen = viz_entries.seen(observation, self._groups)
        self._put(seen + viz_entries.poses(data, bodies), wait)
        self._begun = False

    def _put(
        self, entries: list[Entry], wait: bool = False, moment: tuple[int, int] | None = None
    ) -> None:
        if self._backlog.is_behind and not wait:
            kept = [entry for entry in entries if entry.kind != "image"]
            self.images_dropped += len(entries) - len(kept)
            entries = kept
        self._backlog.put(Row(*(moment or self.moment), entries))

    def _send(self, rows: list[Row]) -> None:
        moments: dict[tuple[str, EntityPath], list[Row]] = defaultdict(list)
        values: dict[tuple[str, EntityPath], list[Any]] = defaultdict(list)
        for row in rows:
            for kind, path, value in row.entries:
                moments[kind, path].append(row)
                values[kind, path].append(value)
        self._lay_out(path for _, path in values)
        for (kind, path), series in values.items():
            times = self._times(moments[kind, path])
            columns = _columns(kind, series)
            self._stream.send_columns(rr.new_entity_path(list(path)), times, columns, strict=True)

    def _times(self, rows: list[Row]) -> list[rr.TimeColumn]:
        steps = np.array([row.step for row in rows])
        times = [
            rr.TimeColumn("episode", sequence=[row.episode for row in rows]),
            rr.TimeColumn("step", sequence=steps),
        ]
        if self._period_s:  # 0: nobody knows
            times.append(rr.TimeColumn("time", duration=steps * self._period_s))
        return times

    def _lay_out(self, paths: Iterable[EntityPath]) -> None:
        """Send the styles of new scores, and a layout when there is something new to see."""
        new = [path for path in paths if path[0] != "world" and path not in self._known]
        for path in new:
            if path[0] == "score":
                self._log_static(path, _score_style(path))
        self._known |= dict.fromkeys(new)
        views = dict.fromkeys(path[:2] for path in self._known)
        if list(views) != self._views:  # somebody who has moved the views keeps them otherwise
            self._views = list(views)
            scene = self._model is not None or self._has_paths
            blueprint = layout(self._views, self._eye, self._has_paths, scene)
            self._stream.send_blueprint(blueprint)

    def _log_static(self, path: EntityPath, *what: rr.AsComponents) -> None:
        self._stream.log(rr.new_entity_path(list(path)), *what, static=True, strict=True)

    def _open_sinks(self) -> None:
        sinks = [] if self._path is None else [rr.FileSink(self._path)]
        if self._process is not None:
            sinks.append(rr.GrpcSink(self._process.url))
        try:
            self._stream.set_sinks(*sinks)
        except RuntimeError as error:
            if self._process is not None:
                self._process.close()
            raise DataError(f"{self._path}: cannot write a recording: {error}") from error
        if self._process is not None and not self._process.window:
            print(f"live view: {self._process.address}", flush=True)

    def _flush(self) -> None:
        """Wait until all is written. A viewer that somebody closed is no fault of the run."""
        try:
            self._stream.flush(timeout_sec=FLUSH_TIMEOUT_S)
        except (RuntimeError, ValueError) as error:
            self._stuck = True
            if self._process is None:
                raise DataError(f"{self._path}: the recording is incomplete: {error}") from error
            warnings.warn(f"the live view is incomplete: {error}", stacklevel=3)


def _abandon(stream: rr.RecordingStream) -> None:
    """Leave a stream alone that cannot write: Rerun 0.41 may wait for ever to end it.

    A disk that fills at the wrong moment is enough. So it is ended neither when the process ends
    nor when nobody holds it: one reference is left to nobody.
    """
    rr.unregister_shutdown()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))


def _xyzw(wxyz: np.ndarray) -> np.ndarray:
    return np.roll(wxyz, -1, axis=-1)


def _columns(kind: str, values: list[Any]) -> rr.ComponentColumnList:
    """Give what Rerun stores of values of that kind (see ``Entry``), one per moment."""
    match kind:
        case "scalars":
            lengths = [len(value) for value in values]
            return rr.Scalars.columns(scalars=np.concatenate(values)).partition(lengths)
        case "pose":
            poses = np.stack(values)  # [T, 7]
            return rr.Transform3D.columns(translation=poses[:, :3], quaternion=_xyzw(poses[:, 3:]))
        case "image":
            types = ["image/jpeg"] * len(values)
            return rr.EncodedImage.columns(
                blob=[viz_entries.jpeg(v) for v in values], media_type=types
            )
        case "text":
            return rr.TextLog.columns(text=values, level=["INFO"] * len(values))
        case "warning":
            return rr.TextLog.columns(text=values, level=["WARN"] * len(values))
    raise ValueError(f"no columns for {kind}")


def shape(model: Any, geom: int) -> rr.AsComponents:
    """Give what Rerun draws for a geom, in the geom's frame."""
    kind, size, rgba = (
        shapes.GEOM_TYPES[model.geom_type[geom]],
        model.geom_size[geom],
        shapes.colour(model, geom),
    )
    solid = {"colors": [rgba], "fill_mode": "solid"}
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
            ends = {"lengths": [2 * size[1]], "translations": [(0, 0, -size[1])]}
            return rr.Capsules3D(radii=[size[0]], **ends, **solid)
        case "plane":
            x, y = np.where(size[:2] > 0, size[:2], ENDLESS_M)
            return rr.Boxes3D(half_sizes=[(x, y, PLANE_M)], centers=[(0, 0, -PLANE_M)], **solid)
    surface = (
        shapes.hfield_surface(model, geom) if kind == "hfield" else shapes.mesh_surface(model, geom)
    )
    return rr.Mesh3D(
        vertex_positions=surface.vertices,
        triangle_indices=surface.triangles,
        vertex_normals=surface.normals,
        albedo_factor=rgba,
    )


def _score_style(path: EntityPath) -> rr.SeriesLines | rr.SeriesPoints:
    if path[-1] == "incompatible":
        return rr.SeriesPoints(colors=RED, markers="cross", marker_sizes=4, names=path[-1])
    if path[-1] == "threshold":
        return rr.SeriesLines(colors=GREY, widths=1, names=path[-1])
    return rr.SeriesLines(colors=BLUE, widths=1.5, names=path[-1])


def layout(
    paths: Sequence[EntityPath],
    eye_controls: Any = None,
    skills: bool = False,
    scene: bool = True,
) -> rrb.Blueprint:
    """Lay out what there is: the scene at the left, with a page for paths of skills if there are
    some; cameras, scores and actions at the right, or alone if there is no scene.
    """

    def views(root: str, kind: Any, note: str = "", **options: Any) -> list[Any]:
        return [
            kind(origin=rr.new_entity_path(list(path)), name=path[1] + note, **options)
            for path in paths
            if path[0] == root
        ]

    hidden = rrb.PlotLegend(visible=False)
    note = "   (red: a step that stands out; grey: the threshold, if there is one)"
    cameras = views("camera", rrb.Spatial2DView)
    scores = views("score", rrb.TimeSeriesView, note, plot_legend=hidden)
    has_rewards = any(path[0] == "reward" for path in paths)
    numbers = rrb.Tabs(
        rrb.TimeSeriesView(origin="action", name="action"),
        rrb.Grid(*views("observation", rrb.TimeSeriesView), name="observation"),
        *[rrb.TimeSeriesView(origin="reward", name="reward")] * has_rewards,
    )
    drawn = rrb.Spatial3DView(origin="world", name="scene", eye_controls=eye_controls)
    if skills:
        both = {"contents": ["/world/**", "/skills/**"], "eye_controls": eye_controls}
        drawn = rrb.Tabs(rrb.Spatial3DView(origin="/", name="skills", **both), drawn)
    columns = rrb.TextLogColumns(text_log_columns=["LogLevel", "Body"])
    episodes = rrb.TextLogView(origin="episodes", name="episodes", columns=columns)
    shares = [2] * bool(cameras) + [1] * len(scores) + [2]
    right = [rrb.Horizontal(*cameras)] * bool(cameras) + scores + [numbers]
    page = rrb.Vertical(episodes, *right, row_shares=[1, *shares])
    if scene:
        left = rrb.Vertical(drawn, episodes, row_shares=[3, 1])
        page = rrb.Horizontal(left, rrb.Vertical(*right, row_shares=shares))
    return rrb.Blueprint(
        page,
        rrb.TimePanel(timeline="step", state="collapsed"),
        collapse_panels=True,
    )
