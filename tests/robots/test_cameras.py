import threading
import time

import numpy as np
import pytest

from robots import cameras
from robots.base import RobotError
from robots.cameras import CameraConfig, OpenCvCamera


class Device:
    """What cv2.VideoCapture gives, played by a test: an image at a time, when it is allowed to."""

    def __init__(self, opens=True):
        self.opens, self.released, self.shown = opens, False, None
        self.read_ones = threading.Semaphore(0)

    def __call__(self, source):
        return self

    def isOpened(self):
        return self.opens

    def set(self, what, value):
        return True

    def show(self, image):
        """Have an image read, and wait until it has been."""
        self.shown = image
        for _ in range(2):  # the first may have been under way
            self.read_ones.acquire()

    def read(self):
        time.sleep(1e-3)
        image = self.shown
        self.read_ones.release()
        return image is not None, image

    def release(self):
        self.released = True


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def camera(device):
    device.shown = np.zeros((4, 6, 3), np.uint8)
    now = iter(range(1, 1000))
    camera = OpenCvCamera("front", CameraConfig(size=(4, 6)), lambda: float(next(now)), device)
    yield camera
    camera.close()


def drain(device):
    while device.read_ones.acquire(blocking=False):
        pass


def test_the_newest_image_in_rgb(camera, device):
    camera.open()
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV's order
    drain(device)
    device.show(blue)
    device.show(blue)
    image, _ = camera.latest()
    assert image.shape == camera.shape and (image[0, 0] == [0, 0, 255]).all()


def test_a_frozen_camera_keeps_its_old_time(camera, device):
    camera.open()
    _, at_s = camera.latest()
    drain(device)
    for _ in range(3):
        device.show(device.shown)
    assert camera.latest()[1] == at_s
    device.show(device.shown + 1)
    device.show(device.shown)
    assert camera.latest()[1] > at_s


def test_an_image_of_another_size_is_made_to_fit(camera, device):
    device.shown = np.full((8, 12, 3), 9, np.uint8)
    camera.open()
    assert camera.latest()[0].shape == (4, 6, 3)


def test_one_that_is_not_there():
    device = Device(opens=False)
    camera = OpenCvCamera("front", CameraConfig(source=7), capture=device)
    with pytest.raises(RobotError, match="camera 'front': cannot open 7; `robolearn robots find`"):
        camera.open()
    assert device.released


def test_one_that_gives_no_image(monkeypatch):
    monkeypatch.setattr(cameras, "FIRST_IMAGE_S", 0.05)
    device = Device()
    camera = OpenCvCamera("front", CameraConfig(), capture=device)
    with pytest.raises(RobotError, match="camera 'front': no image in 0.05 s"):
        camera.open()
    assert device.released


def test_closing_lets_go(camera, device):
    camera.open()
    camera.close()
    camera.close()
    assert device.released
