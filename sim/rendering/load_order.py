"""Native libraries that crash unless they are loaded in the right order."""

import contextlib
import ctypes
import importlib.util
import sys
from pathlib import Path

GL_MODULES = ("mujoco.egl", "mujoco.osmesa")  # they load GL when they are imported


def load_triton_before_gl() -> None:
    """Load triton's library, if it is installed; call it before anything imports mujoco.

    CUDA builds of torch bring triton, which has an LLVM of its own and is imported with the first
    optimiser. Mesa shows its LLVM to all libraries that are loaded later: triton would crash on it.
    With MUJOCO_GL set, mujoco loads GL when it is imported; once it has, it is too late.
    """
    if any(name in sys.modules for name in GL_MODULES):
        return
    triton = importlib.util.find_spec("triton")
    for folder in (triton and triton.submodule_search_locations) or ():
        for library in Path(folder, "_C").glob("libtriton*.so"):
            with contextlib.suppress(OSError):  # triton itself will say what is wrong with it
                ctypes.CDLL(str(library))
