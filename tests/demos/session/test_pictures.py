"""Pictures come from another process, which makes its environment by name."""

import os
import time

import cv2
import numpy as np
import pytest

from demos.session.pictures import Pictured
from robolearn.errors import UserError

LAMP = '''
import os, time
import numpy as np
from robolearn.errors import UserError

class Lamp:
    """Its state is how bright it is; one below zero waits for a file, one above 255 is its end."""
    def __init__(self, cameras, size, waits_for):
        self.cameras, self.size, self.waits_for = cameras, size, waits_for
    def reset(self, seed):
        return self.set_state(np.zeros(1)), {}
    def set_state(self, state):
        if state[0] > 255:
            os._exit(1)
        while state[0] < 0 and not os.path.exists(self.waits_for):
            time.sleep(0.005)
        return {name: np.full((*self.size, 3), abs(state[0]), np.uint8) for name in self.cameras}

def make(name, *, cameras, image_size, waits_for="", broken=False):
    if broken:
        raise UserError("no GL library works here")
    return Lamp(cameras, image_size, waits_for)
'''


@pytest.fixture
def pictured(tmp_path, monkeypatch):
    """Give a function that starts the process."""
    (tmp_path / "lamp.py").write_text(LAMP)
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(jpeg=False, **options):
        made.append(Pictured("lamp", options, ("front", "top"), (4, 6), jpeg, maker="lamp:make"))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.close()


def test_states_are_drawn_and_only_the_newest_of_those_that_wait(pictured, tmp_path):
    pictures = pictured(waits_for=str(tmp_path / "go"))
    assert pictures.latest() is None
    first = pictures.offer(np.array([-7.0]))
    while pictures._waiting is not None:  # until it is being drawn
        time.sleep(0.001)
    for level in range(10, 20):
        last = pictures.offer(np.array([float(level)]))
    (tmp_path / "go").touch()
    found = pictures.after(0, 30.0)
    assert found.number == first and found.images["front"].shape == (4, 6, 3)
    assert (found.images["top"] == 7).all()
    found = pictures.after(first, 30.0)
    assert found.number == last == 11 and (found.images["front"] == 19).all()
    assert pictures.latest() is found and pictures.after(last, 0.0) is None


@pytest.mark.parametrize("jpeg", [False, True])
def test_another_state_is_drawn_beside_it_as_the_first_camera_has_it(pictured, jpeg):
    pictures = pictured(jpeg)
    first = pictures.offer(np.array([50.0]), np.array([150.0]), 17)
    found = pictures.after(0, 30.0)
    assert found.frame == 17
    images = (found.images["front"], found.beside)
    if jpeg:
        images = [cv2.imdecode(np.frombuffer(image, np.uint8), 1) for image in images]
    assert [round(image.mean()) for image in images] == [50, 150]
    pictures.offer(np.array([50.0]))
    assert pictures.after(first, 30.0).beside is None


def test_they_are_jpeg_if_that_is_asked_for(pictured):
    pictures = pictured(jpeg=True)
    pictures.offer(np.array([200.0]))
    image = cv2.imdecode(np.frombuffer(pictures.after(0, 30.0).images["front"], np.uint8), 1)
    assert image.shape == (4, 6, 3) and np.abs(image.astype(int) - 200).max() < 5


def test_what_cannot_be_drawn_is_said(pictured):
    with pytest.raises(UserError, match="no GL library works here"):
        pictured(broken=True)


def test_a_process_that_has_ended_is_said_and_nobody_waits_for_it(pictured):
    pictures = pictured()
    pictures.offer(np.array([300.0]))
    assert pictures.after(0, 30.0) is None and "ended" in pictures.lost
    pictures.offer(np.array([1.0]))


def test_it_gives_way_to_the_control_loop(pictured):
    assert os.getpriority(os.PRIO_PROCESS, pictured()._process.pid) > os.getpriority(0, 0)
