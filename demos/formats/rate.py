"""At which rate a dataset is written, where the format needs one."""

from __future__ import annotations

from robolearn.errors import DataError
from robolearn.types import Spec


def rate_hz(interface: Spec, fps: float | None) -> float:
    """Give the rate that the user states, else the source's; DataError if nobody knows it."""
    rate = fps or _stated(interface)
    if not rate:
        raise DataError("nobody knows at which rate these were recorded: fps=20, say, states it")
    return rate


def overruled(interface: Spec, fps: float | None, where: str) -> dict[str, str]:
    """Say of a rate of the source's that ``fps`` goes before where it is kept; else {}."""
    stated = _stated(interface)
    if not fps or not stated or abs(stated - fps) <= 1e-6 * fps:
        return {}
    return {
        f"the rate of {stated:g} Hz that the source states": f"{where}; fps={fps:g} goes before"
    }


def _stated(interface: Spec) -> float:
    return 1.0 / interface.period_s if interface.period_s else 0.0
