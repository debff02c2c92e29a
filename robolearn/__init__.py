"""Robot imitation and skill learning: episodes in, policies out."""

import importlib
from typing import Any

_FACE = {  # name -> module; imported when it is first asked for, as torch takes seconds
    "HarmJudge": "robolearn.judging.harm",
    "HarmJudgeConfig": "robolearn.judging.harm",
    "HarmVerdict": "robolearn.judging.harm",
    "calibrate": "robolearn.judging.calibration",
    "Judge": "robolearn.judging.judge",
    "JudgeConfig": "robolearn.judging.judge",
    "Verdict": "robolearn.judging.judge",
}
__all__ = [
    "HarmJudge",
    "HarmJudgeConfig",
    "HarmVerdict",
    "Judge",
    "JudgeConfig",
    "Verdict",
    "calibrate",
]


def __getattr__(name: str) -> Any:
    """Import a part of the public face when it is first asked for."""
    if name not in _FACE:
        raise AttributeError(f"module 'robolearn' has no attribute '{name}'")
    return getattr(importlib.import_module(_FACE[name]), name)
