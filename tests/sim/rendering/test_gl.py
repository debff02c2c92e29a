"""Variables that name a GL library or a device: what is wrong is said before mujoco reads it."""

import subprocess
import sys

import pytest

from robolearn.errors import UserError
from sim.rendering import gl
from sim.rendering.gl import check_variables, gl_environment

VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID")


@pytest.fixture
def variables(monkeypatch):
    """Set variables, on a machine with so many EGL devices on which all libraries are there."""

    def set_them(devices=1, there=True, **values):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(gl, "_egl_devices", lambda: [0] * devices)
        monkeypatch.setattr(gl, "_loads", lambda backend: there)

    return set_them


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"MUJOCO_GL": "elg"}, "MUJOCO_GL='elg': unknown; did you mean 'egl'"),
        ({"MUJOCO_GL": "vulkan"}, "MUJOCO_GL='vulkan': unknown; known: disable, egl, glfw, osmesa"),
        (
            {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "osmesa"},
            "MUJOCO_GL='egl': PYOPENGL_PLATFORM='osmesa' says otherwise; unset one",
        ),
        (
            {"MUJOCO_GL": "osmesa", "there": False},
            "MUJOCO_GL='osmesa': libOSMesa.so.8 is not there; try: apt-get install",
        ),
        ({"MUJOCO_GL": "EGL", "there": False}, "MUJOCO_GL='EGL': libEGL.so.1 is not there"),
        ({"MUJOCO_EGL_DEVICE_ID": "3"}, "ID='3': EGL has 1 device here; 0 would be right"),
        ({"MUJOCO_EGL_DEVICE_ID": "-1"}, "ID='-1': EGL has 1 device here"),
        ({"MUJOCO_EGL_DEVICE_ID": "cuda"}, "ID='cuda': EGL has 1 device here"),
        ({"MUJOCO_EGL_DEVICE_ID": ""}, "ID='': EGL has 1 device here"),
        (
            {"MUJOCO_EGL_DEVICE_ID": "4", "devices": 4},
            "ID='4': EGL has 4 devices here; 0 to 3 would be right",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(variables, values, message):
    variables(**values)
    with pytest.raises(UserError, match=message) as error:
        check_variables()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"MUJOCO_GL": ""},
        {"MUJOCO_GL": " EGL "},
        {"MUJOCO_GL": "glfw", "there": False},
        {"MUJOCO_GL": "off", "MUJOCO_EGL_DEVICE_ID": "3"},
        {"MUJOCO_GL": "osmesa", "MUJOCO_EGL_DEVICE_ID": "3"},
        {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "EGL"},
        {"MUJOCO_EGL_DEVICE_ID": "3", "devices": 4},
        {"MUJOCO_EGL_DEVICE_ID": "3", "devices": 0},  # EGL will not be taken
    ],
)
def test_what_is_right_or_does_not_matter_is_left_alone(variables, values):
    variables(**values)
    check_variables()


@pytest.mark.parametrize(
    ("said", "works", "shown"),
    [
        ("glx", True, "glfw"),  # dm_control does not know it
        ("False", True, "disable"),
        ("EGL", True, "egl"),
        ("egl", False, "disable"),  # dm_control would take a device while it is imported
    ],
)
def test_packages_see_what_they_can_import(variables, monkeypatch, said, works, shown):
    variables(MUJOCO_GL=said)
    monkeypatch.setattr(gl, "_egl_works", lambda: works)
    with gl_environment():
        assert gl.os.environ["MUJOCO_GL"] == shown
    assert gl.os.environ["MUJOCO_GL"] == said


def test_hidden_variables_are_put_back(variables):
    variables(MUJOCO_GL="osmesa", MUJOCO_EGL_DEVICE_ID="0")
    with gl_environment(hidden=("MUJOCO_EGL_DEVICE_ID", "PYOPENGL_PLATFORM")):
        assert "MUJOCO_EGL_DEVICE_ID" not in gl.os.environ
    assert gl.os.environ["MUJOCO_EGL_DEVICE_ID"] == "0"
    assert "PYOPENGL_PLATFORM" not in gl.os.environ


def test_a_library_that_fails_is_named(variables, monkeypatch):
    variables(MUJOCO_GL="egl")
    module = type(sys)("mujoco.egl")
    module.GLContext = lambda width, height: 1 / 0
    monkeypatch.setitem(sys.modules, "mujoco.egl", module)
    with pytest.raises(UserError, match="cameras: egl does not work here: division by zero"):
        gl.gl_context(8, 8)


@pytest.mark.parametrize(
    "make",
    ["make('dmc/walker-walk')", "make_vec('tabletop/cube', 2)", "make_vec('dmc/walker-walk', 2)"],
)
def test_environments_are_not_made_with_a_misspelt_library(make, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "elg")
    code = f"import sim\ntry: sim.{make}\nexcept ValueError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("MUJOCO_GL='elg': unknown; did you mean 'egl'?"), done.stderr


def test_the_command_line_says_it_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setenv("MUJOCO_GL", "elg")
    command = [sys.executable, "-m", "robolearn", "collect_lift", f"out={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("robolearn: MUJOCO_GL='elg': unknown; did you mean 'egl'?")
