"""Does Rerun's own reader open the LeRobot datasets that we export? It is held against ours.

    python benchmarks/rerun_lerobot.py [DATASET]

Without a LeRobot DATASET, a small one is made and exported with each kind of images. Rerun's
command line loads it without a window (``rerun DATASET --save FILE``); the recordings are read
back: states, actions, rewards and tasks, and every frame decoded. A row of JSON for each dataset.
"""

import io
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import av
import numpy as np
from PIL import Image
from rerun.chunk import RrdReader

from demos.data.dataset import Dataset
from demos.formats.convert import ConvertConfig, convert
from demos.formats.guess import open_source
from robolearn.types import ArraySpec, Episode, Spec

IMAGES = ("video", "lossless", "png")
CAMERA = "/observation.images."
SAMPLES, BLOB = "VideoStream:sample", "EncodedImage:blob"
SCALARS, TEXT = "Scalars:scalars", "TextDocument:text"


def main() -> None:
    """Check the dataset that is given, or those that are made."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        if sys.argv[1:]:
            row(Path(sys.argv[1]), base, dataset=sys.argv[1])
            return
        ours = made(base / "ours")
        for images in IMAGES:
            there = base / images
            convert(ours, there, ConvertConfig(format="lerobot", images=images))
            row(there, base, images=images)


def row(dataset: Path, folder: Path, **about: str) -> None:
    """Have Rerun load a dataset, compare, and print what came of it."""
    recording = folder / f"{dataset.name}.rrd"
    rerun = str(Path(sys.executable).with_name("rerun"))
    command = [
        rerun,
        str(dataset),
        "--save",
        str(recording),
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode or not recording.exists():
        print(json.dumps({**about, "opened": False, "said": done.stderr[-400:]}))
        return
    left_out = sorted({line.split("(")[1].split(")")[0] for line in _warnings(done.stderr)})
    found = compared(dataset, episodes_of(recording))
    print(json.dumps({**about, "opened": True, "left_out": left_out, **found}), flush=True)


def _warnings(said: str) -> list[str]:
    return [line for line in said.splitlines() if "Loading LeRobot feature (" in line]


def episodes_of(recording: Path) -> dict[str, dict[str, dict[str, list]]]:
    """Read a recording: episode -> entity -> component -> its values, in the order of frames."""
    reader, found = RrdReader(str(recording)), {}
    for entry in reader.recordings():
        if not entry.recording_id.startswith("episode_"):
            continue
        rows: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
        for chunk in reader.stream(store=entry):
            batch = chunk.to_record_batch()
            if "frame_index" not in batch.schema.names:
                continue
            frames = batch.column("frame_index").to_pylist()
            for name in batch.schema.names:
                if ":" in name:
                    values = batch.column(name).to_pylist()
                    rows[str(chunk.entity_path)][name] += zip(frames, values, strict=True)
        found[entry.recording_id] = {
            path: {
                name: [value for _, value in sorted(values, key=lambda both: both[0])]
                for name, values in parts.items()
            }
            for path, parts in rows.items()
        }
    return found


def compared(dataset: Path, found: dict[str, dict[str, dict[str, list]]]) -> dict[str, object]:
    """Hold what Rerun has read against what our own reader reads."""
    source, same, frames, largest = open_source(dataset), True, 0, 0
    for number, name in enumerate(source.names):
        episode, there = source.load(name), found[f"episode_{number}"]
        state = np.array(there["/observation.state"][SCALARS], np.float32)
        same &= np.array_equal(state, episode.observations["state"][:-1])
        action = np.array(there["/action"][SCALARS], np.float32)
        given = episode.records.get("action_as_given", episode.actions).astype(np.float32)
        same &= np.array_equal(action.reshape(given.shape), given)
        rewards = np.ravel(there["/next.reward"][SCALARS]).astype(np.float32)
        same &= np.array_equal(rewards, episode.rewards)
        if "task" in episode.metadata:
            same &= {text for (text,) in there["/task"][TEXT]} == {episode.metadata["task"]}
        for path in filter(lambda path: path.startswith(CAMERA), there):
            images = decoded(there[path])
            ours = episode.observations[path.removeprefix(CAMERA)][:-1]
            same &= images.shape == ours.shape
            frames += len(images)
            largest = max(largest, int(np.abs(images.astype(int) - ours).max()))
    about = {"episodes": len(found), "numbers_and_tasks_same": bool(same), "frames": frames}
    return about | {"largest_difference_of_pixels": largest}


def decoded(parts: dict[str, list]) -> np.ndarray:
    """Decode a camera's frames [T, H, W, 3], images or samples of a video."""
    if BLOB in parts:
        blobs = [bytes(blob) for (blob,) in parts[BLOB]]
        return np.stack([np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")) for blob in blobs])
    stream = b"".join(bytes(sample) for (sample,) in parts[SAMPLES])
    with av.open(io.BytesIO(stream), format="h264") as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def made(path: Path) -> Path:
    """Write three short episodes with a moving square."""
    names = ("eef_pos_x", "eef_pos_y")
    camera = ArraySpec((48, 64, 3), "uint8")
    spec = Spec("x/Square", {"state": ArraySpec((2,), names=names), "front": camera},
                ArraySpec((2,), names=("dx", "dy")), 0.05)  # fmt: skip
    dataset, rng = Dataset.create(path, spec), np.random.default_rng(0)
    for number in range(3):
        steps = 20 + number
        walk = rng.normal(size=(steps + 1, 2)).cumsum(axis=0).astype(np.float32)
        frames = rng.integers(0, 30, (steps + 1, 48, 64, 3), np.uint8)
        for t, image in enumerate(frames):
            image[10:20, t : t + 10] = (230, 60, 40)
        actions = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        rewards = rng.normal(size=steps).astype(np.float32)
        seen = {"state": walk, "front": frames}
        about = {"task": "move the square" if number else "rest"}
        dataset.append(Episode(seen, actions, rewards, True, False, True, metadata=about))
    dataset.flush()
    return path


if __name__ == "__main__":
    main()
