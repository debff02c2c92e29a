"""Triton's library is loaded before GL, or not at all."""

import sys

import pytest

import sim
from sim.rendering import load_order
from sim.rendering.gl import backend_name
from sim.rendering.load_order import load_triton_before_gl


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """Pretend that triton is installed and GL is not loaded; list what is loaded instead."""
    library = tmp_path / "triton" / "_C" / "libtriton.so"
    library.parent.mkdir(parents=True)
    library.touch()
    (tmp_path / "triton" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("triton", *load_order.GL_MODULES):
        monkeypatch.delitem(sys.modules, name, raising=False)
    names = []

    def load(name):
        names.append(name.removeprefix(f"{tmp_path}/"))
        raise OSError("no library")

    monkeypatch.setattr(load_order.ctypes, "CDLL", load)
    return names


def test_making_an_environment_loads_triton_before_the_adapter(loaded, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)  # robosuite sets it when it is imported
    monkeypatch.setattr(sim.registry.importlib, "import_module", loaded.append)
    with pytest.raises(AttributeError):  # of the adapter, which is None here
        sim.make("dmc/walker-walk")
    assert loaded == ["triton/_C/libtriton.so", "sim.dmc.env"]


def test_trying_gl_loads_triton_before_it(loaded, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert backend_name() is None
    assert loaded[:2] == ["triton/_C/libtriton.so", "libEGL.so.1"]


def test_without_triton_nothing_is_loaded(loaded, monkeypatch):
    monkeypatch.setattr(load_order.importlib.util, "find_spec", lambda name: None)
    load_triton_before_gl()
    assert loaded == []


def test_after_gl_it_is_too_late(loaded, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco.egl", sys)
    load_triton_before_gl()
    assert loaded == []
