"""What happened, for the eye: recordings and live views in Rerun, curves as pictures."""

import importlib
from typing import Any

_FACE = {  # name -> module; imported when it is first asked for, as Rerun takes a second
    "StepScores": "robolearn.viz.entries",
    "Viewer": "robolearn.viz.viewer",
    "introduce": "robolearn.viz.episodes",
    "replay_arrays": "robolearn.viz.episodes",
    "replay_episode": "robolearn.viz.episodes",
    "step_logger": "robolearn.viz.episodes",
    "view": "robolearn.viz.process",
}
__all__ = [
    "StepScores", "Viewer", "introduce", "replay_arrays", "replay_episode", "step_logger", "view",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a part of the room's face when it is first asked for."""
    if name not in _FACE:
        raise AttributeError(f"module 'robolearn.viz' has no attribute '{name}'")
    return getattr(importlib.import_module(_FACE[name]), name)
