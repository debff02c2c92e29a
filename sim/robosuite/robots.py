"""Which robots a task takes, and repairs of robot models that today's MuJoCo refuses."""

import contextlib
import threading
from collections.abc import Iterator

from robolearn.errors import UserError
from sim.base.options import as_tuple, choose, require_names

# Robots with a mesh that encloses no volume, which MuJoCo 3.3 and later want to be called a shell.
# They are only drawn: the bodies they belong to state their inertia.
FLAT_MESHES = {"Sawyer": ("head_1", "head_4"), "Baxter": ("H1_1",)}
_repairing = threading.Lock()  # the repair is seen by all threads: one may make it at a time


def robot_names(task: str, robot: str | tuple[str, ...], where: str) -> list[str]:
    """List the robots of a task; a one-armed robot alone in a two-arm task is doubled.

    Raises UserError for an unknown robot, and for more robots than the task takes.
    """
    from robosuite.robots import ROBOT_CLASS_MAPPING
    from robosuite.utils.robot_utils import check_bimanual

    require_names(where, robot=robot)
    robots = list(as_tuple(robot))
    for name in robots:
        choose(name, ROBOT_CLASS_MAPPING, where, "robot")
    most = 2 if task.startswith("TwoArm") else 1
    if most == 2 and len(robots) == 1 and not check_bimanual(robots[0]):
        robots *= 2
    if not 1 <= len(robots) <= most:
        raise UserError(f"{where}: {len(robots)} robots given, the task takes {most}")
    if len(robots) == 2 and any(check_bimanual(name) for name in robots):
        raise UserError(f"{where}: one robot with two arms is enough: {' and '.join(robots)}")
    return robots


@contextlib.contextmanager
def repaired_models() -> Iterator[None]:
    """Let robosuite build the robots of ``FLAT_MESHES`` while this context lasts."""
    from robosuite.models.robots.robot_model import REGISTERED_ROBOTS

    with _repairing:
        originals = {name: REGISTERED_ROBOTS[name] for name in FLAT_MESHES}
        try:
            for name, original in originals.items():
                REGISTERED_ROBOTS[name] = _with_shell(original, FLAT_MESHES[name])
            yield
        finally:
            REGISTERED_ROBOTS.update(originals)


def _with_shell(robot: type, mesh_names: tuple[str, ...]) -> type:
    def __init__(self, idn=0):
        robot.__init__(self, idn=idn)
        for mesh in self.asset.findall("mesh"):
            if mesh.get("name").endswith(mesh_names):
                mesh.set("inertia", "shell")

    return type(robot.__name__, (robot,), {"__init__": __init__})
