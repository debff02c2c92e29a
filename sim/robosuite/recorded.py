"""Observations of states that robosuite recorded, in the models that it recorded them with.

A recorded state is time, qpos and qvel; beside it stands the model's XML, which differs from
episode to episode where a reset draws sizes or places. Nothing is stepped: a state is put in, and
looked at as our adapter looks.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.errors import DataError, UserError
from robolearn.types import Observation, Spec
from sim.base.options import parse
from sim.base.physics import refresh
from sim.rendering.images import Images
from sim.robosuite.env import COLLISION_GROUP, RobosuiteOptions, make
from sim.robosuite.observation import StateReader
from sim.robosuite.random import seeded

FILES = (  # attributes that name a file or the folder of files
    *(f"file{side}" for side in ("", "up", "down", "left", "right", "front", "back")),
    *(f"{kind}dir" for kind in ("mesh", "texture", "asset")),
)


class Recorded:
    """The task in which states are looked at; make it with the options of its adapter."""

    def __init__(self, task: str, options: Mapping[str, Any]) -> None:
        """Make the task; UserError for an unknown one, or for options that it does not know."""
        self._where = f"robosuite/{task}"
        self._env = make(task, options)
        self._options = parse(RobosuiteOptions, options, self._where)
        if self._env._env.chooses_object:
            self._env.close()
            raise UserError(f"{self._where}: a state does not say which object is to be moved")
        self._xml = ""
        self._reader, self._images = self._env._reader, self._env._images
        self._own: list[Images] = []

    @property
    def interface(self) -> Spec:
        """What our adapter gives for this task, and takes."""
        return self._env.interface

    def use(self, xml: str | None) -> None:
        """Look at the next states in this model; DataError for none, and for others' files."""
        if xml == self._xml:
            return
        if not isinstance(xml, str):
            raise DataError("no model_file beside the states")
        world = self._env._env
        try:
            here = world.edit_model_xml(xml)
        except ElementTree.ParseError as error:
            raise DataError(f"its model_file is no whole XML: {error}") from None
        with seeded(0):
            world.reset_from_xml_string(_within_robosuite(here))
        self._xml = xml
        self._reader = StateReader(world, self._reader._keys, self._where)
        if self._options.cameras:
            model, data = world.sim.model._model, world.sim.data._data
            for images in self._own:
                images.close()
            drawn = Images(model, data, self._options, self._where, (COLLISION_GROUP,))
            self._images, self._own = drawn, [drawn]

    def observe(self, state: np.ndarray) -> Observation:
        """Give what is observed in a recorded state [1 + nq + nv]; DataError for another size."""
        sim = self._env._env.sim
        model, data = sim.model._model, sim.data._data
        if state.shape != (1 + model.nq + model.nv,):
            right = 1 + model.nq + model.nv
            raise DataError(f"states have {state.size} entries; this model's have {right}")
        sim.set_state_from_flattened(state)
        refresh(model, data)
        return {"state": self._reader.read(), **self._images.observe()}

    def close(self) -> None:
        """Free the simulator."""
        for images in self._own:
            images.close()
        self._env.close()


def _within_robosuite(xml: str) -> str:
    """Give a model back if all files that it names are robosuite's; DataError otherwise."""
    import robosuite

    own = Path(robosuite.__file__).resolve().parent
    for element in ElementTree.fromstring(xml).iter():
        if element.tag == "include":
            raise DataError("its model_file includes another file")
        for name in (element.get(attribute) for attribute in FILES):
            if name is not None and not (own / name).resolve().is_relative_to(own):
                raise DataError(f"its model_file names a file that is not robosuite's ({name})")
    return xml
