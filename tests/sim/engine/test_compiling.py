"""Who waits for numba's compiler is told so; who does not wait is not."""

import importlib.util

from sim.engine.compiling import ONCE, announce, announcing

SOURCE = """
from numba import njit

@njit(cache=True)
def double(x):
    return 2 * x
"""


def _fresh(path):
    """Import a file anew, as another process would."""
    spec = importlib.util.spec_from_file_location("doubling", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def test_compiling_is_announced_once_and_loading_from_the_cache_is_not(tmp_path, capsys):
    path = tmp_path / "doubling.py"
    path.write_text(SOURCE)
    double = _fresh(path)
    announce(double, "a double")
    assert double(3) == double(4) - 2 == 6
    assert capsys.readouterr().err == f"compiling a double ({ONCE})\n"

    double = _fresh(path)
    announce(double, "a double")
    assert double(3) == 6
    assert capsys.readouterr().err == ""


def test_whatever_is_compiled_meanwhile_is_announced_once(tmp_path, capsys):
    path = tmp_path / "doubling.py"
    path.write_text(SOURCE)
    with announcing("all that is needed"):
        double = _fresh(path)
        assert double(3) == double(1.5) * 2 == 6
    assert double(1j) == 2j
    assert capsys.readouterr().err == f"compiling all that is needed ({ONCE})\n"
    with announcing("all that is needed"):
        assert _fresh(path)(3) == 6
    assert capsys.readouterr().err == ""
