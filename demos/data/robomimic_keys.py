"""robomimic's keys for low-dimensional observations, cut from ``"state"`` by its entries' names.

robomimic's stock configurations ask for ``robot0_eef_pos``, ``robot0_eef_quat``,
``robot0_gripper_qpos`` and ``object``. A state of robosuite holds all of them: an entry whose name
begins with ``robotN_`` belongs to the key that it names (two arms: ``robot0_*`` and ``robot1_*``),
every other entry to ``object``, in the state's order, which is that of robosuite's
``object-state``. A key stands for columns of the state, so values and dtype (float32) are the
state's; only quaternions change from wxyz to xyzw, as robosuite writes them.

What differs from what robosuite itself observes:

- The sign of a quaternion follows a fixed reference (``sim/robosuite/observation.py``); robosuite's
  own flips now and then. A policy that robomimic trained here, and then runs in robosuite, needs
  its quaternions turned to the side of the demonstrations'.
- Values describe the present; robosuite's own lag by a step in places.
- ``object`` holds what the state holds: all of ``object-state`` if the environment was made without
  a ``state`` of one's own. In tasks that choose one object, it stands where that object would.
"""

import re

from robolearn.types import Spec

STATE = "state"
OBJECT = "object"
OF_A_ROBOT = re.compile(r"(robot\d+_.+?)(_[wxyz]|_\d+)?")  # key, entry


def robomimic_keys(interface: Spec) -> dict[str, list[int]]:
    """Give the columns [n] of ``"state"`` that are each key's value, in robomimic's order.

    There are none where no entry is called as robosuite calls those of a robot, and none under a
    name that the interface gives to something else.
    """
    names = interface.observations[STATE].names if STATE in interface.observations else ()
    keys: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        of_a_robot = OF_A_ROBOT.fullmatch(name)
        keys.setdefault(of_a_robot[1] if of_a_robot else OBJECT, []).append(column)
    if not keys.keys() - {OBJECT}:
        return {}
    taken = {name.partition("/")[0] for name in interface.observations}
    return {key: _xyzw(keys[key], names) for key in keys if key not in taken}


def _xyzw(columns: list[int], names: tuple[str, ...]) -> list[int]:
    """Put the w of every quaternion behind its x, y and z."""
    order = list(columns)
    for i in range(len(order) - 3):
        four = [names[column] for column in order[i : i + 4]]
        if four == [f"{four[0][:-1]}{axis}" for axis in "wxyz"]:
            order[i : i + 4] = [*order[i + 1 : i + 4], order[i]]
    return order
