"""The connection to a Ray cluster, of machines with the same software; the only import of Ray."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robolearn import signals
from robolearn.errors import UserError
from robolearn.running.run import provenance
from robolearn.sweeps import machine
from robolearn.sweeps.attempt import printing_to

COMPARED = (  # versions that must be the driver's
    "torch", "numpy", "mujoco", "robosuite", "dm-control", "gymnasium", "metaworld",
)  # fmt: skip
PATIENCE_S = 120.0  # until a node answers
CALL_S = 10.0  # until a machine does


def connect(what: str, address: str | None, log: Path) -> Any:
    """Connect to the cluster at an address, or make one on this machine; give the module ``ray``.

    Its ``shutdown`` ends both; what it says at the beginning goes into ``log``. UserError, which
    begins with the key ``what``, if Ray is not installed or not there.
    """
    _choose_environment(address)
    ray = _imported(what)
    if address is not None:
        require_listening(what, address)
    _connect(ray, what, address, log)
    return ray


def living(ray: Any) -> list[dict[str, Any]]:
    """Give the nodes that are there."""
    return [node for node in ray.nodes() if node["Alive"]]


def _imported(what: str) -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == "ray"
        wrong = "is not installed" if is_missing else f"cannot be imported ({error})"
        raise UserError(f"{what}: ray {wrong}; pip install 'robolearn[ray]'") from None
    return ray


def _choose_environment(address: str | None) -> None:
    """Set what Ray reads when it is imported, as far as the user has not.

    It tells its makers nothing; a cluster of a sweep's own has a token of its own, which nobody
    else knows.
    """
    chosen = {"RAY_USAGE_STATS_ENABLED": "0"}
    if address is None and "RAY_AUTH_MODE" not in os.environ:
        chosen |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in chosen.items():
        os.environ.setdefault(name, value)


def require_listening(what: str, address: str) -> None:
    """Raise UserError if nobody listens at HOST:PORT, where Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdigit():  # "auto", or one of Ray's own kinds
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CALL_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{what}: nobody listens at {address}: {first_line(error)}") from None


def _connect(ray: Any, what: str, address: str | None, log: Path) -> None:
    """Connect to a cluster, or start one, which talks into ``log``.

    Raises UserError if that is not possible.
    """
    own = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, *signals.ENDING)}
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        with printing_to(log):
            if address is None:
                ray.init("local", num_cpus=machine.cores(), include_dashboard=False, **quiet)
            else:
                ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        where = f"at {address} (or it wants a token: docs/sweeps.md)" if address else "here"
        raise UserError(f"{what}: no cluster {where}: {first_line(error)} ({log})") from None
    for kind, handler in own.items():  # Ray's would end this program at once, and what it runs late
        signal.signal(kind, handler)


def require_same(ray: Any, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError that names the first node that differs from this machine, and in what."""
    ours = _about(os.getcwd())
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked = {}
    for node in nodes:
        there = affinity(node["NodeID"], soft=False)
        task = ray.remote(_about).options(num_cpus=0, scheduling_strategy=there)
        asked[node["NodeManagerAddress"], node["NodeID"]] = task.remote(os.getcwd())
    for (address, _), reference in asked.items():
        try:
            theirs = ray.get(reference, timeout=PATIENCE_S)
        except ray.exceptions.RayError as error:
            raise UserError(
                f"node {address}: robolearn cannot be asked there: {_last_line(error)}"
            ) from None
        for what, value in ours.items():
            if theirs.get(what) != value:
                raise UserError(
                    f"node {address}: {what} is {theirs.get(what)} there, {value} here; install "
                    "the same on every machine"
                )


def _about(here: str) -> dict[str, str]:
    """Say what a run's numbers depend on at this machine, and whether it has a folder."""
    made = provenance()
    versions = {name: str(made["versions"][name]) for name in COMPARED}
    about = {
        "python": made["python"],
        "robolearn": made["robolearn"],
        "commit": str(made["commit"]),
    }
    return about | versions | {f"folder {here}": "there" if Path(here).is_dir() else "missing"}


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says."""
    return str(error).strip().partition("\n")[0]


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2]
