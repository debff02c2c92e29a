"""Do the tests hold on other processors? Runs them under several kernels of BLAS, numpy and torch.

    python benchmarks/portability.py [--kernels own Haswell ...] [--jobs 2] [-- tests/sim ...]

What a processor can do decides how libraries round: fused multiply-add, the order of sums, the
approximation of an exponential. Here one machine is told to be several: each row is a run of the
test suite in a process of its own. Prints a JSON line for each, with what really ran as
``threadpoolctl``, numpy and torch tell it, and fails if a test does, if none ran, or if what ran is
not what was asked for (of oneDNN, MKL, glibc and numba nobody tells). A kernel that this processor
lacks is left out, with the reason. What failing tests print goes to stderr.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Name -> the environment variables that make it: OpenBLAS, numpy's own loops, torch with its
# oneDNN and MKL, glibc's mathematics and numba's compiler choose each for themselves.
KERNELS: dict[str, dict[str, str]] = {
    "own": {},
    "Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "SkylakeX": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "Zen": {"OPENBLAS_CORETYPE": "Zen"},
    "Sandybridge": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "numpy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "numpy plain": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    "torch without AVX-512": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "AVX2",
    },
    "all plain": {
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX512F,-FMA,-FMA4",
        "NUMBA_CPU_NAME": "generic",
    },
}
NEEDS = {"SkylakeX": "avx512f", "Haswell": "avx2", "Zen": "avx2", "Sandybridge": "avx"}  # flags
# Builds of OpenBLAS that have one kernel for several processors call it by the first of them.
ALSO = {"Prescott": "Katmai", "Zen": "Haswell"}
CHOOSING = {"OPENBLAS_L2_SIZE", *(name for kernel in KERNELS.values() for name in kernel)}


def main() -> None:
    """Run every kernel and print its line."""
    arguments = _arguments()
    if arguments.child:
        sys.exit(run_tests(arguments.tests, arguments.child))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = pool.map(lambda name: measure(name, arguments.tests), arguments.kernels)
        sound = [report(row) for row in rows]
    sys.exit(not all(sound))


def measure(kernel: str, tests: list[str]) -> dict[str, Any]:
    """Run the tests under one kernel, and tell what ran and what failed."""
    flags = Path("/proc/cpuinfo").read_text().split()
    if NEEDS.get(kernel, flags[0]) not in flags:
        return {"kernel": kernel, "left_out": f"this processor lacks {NEEDS[kernel]}"}
    environment = {name: value for name, value in os.environ.items() if name not in CHOOSING}
    environment |= {"OMP_NUM_THREADS": "1", **KERNELS[kernel]}  # one thread, as ./test has it
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--child", str(result), "--", *tests]
        child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        row = {"kernel": kernel, "exit_code": child.returncode}
        if child.returncode:
            print(f"{kernel}:\n{child.stdout}{child.stderr}", file=sys.stderr)
        return row | (json.loads(result.read_text()) if result.exists() else {})


def report(row: dict[str, Any]) -> bool:
    """Print a row; say whether all is well."""
    if "left_out" not in row:
        row["as_asked"] = "blas" in row and as_asked(row, KERNELS[row["kernel"]])
    print(json.dumps(row), flush=True)
    return "left_out" in row or (row["as_asked"] and row["exit_code"] == 0)


def as_asked(row: dict[str, Any], asked: dict[str, str]) -> bool:
    """Say whether the libraries did as the environment variables told them."""
    core = asked.get("OPENBLAS_CORETYPE")
    blas = core is None or {*row["blas"].values()} <= {core, ALSO.get(core)}
    without = asked.get("NPY_DISABLE_CPU_FEATURES", "").split()
    torch = asked.get("ATEN_CPU_CAPABILITY", row["torch"]).upper()
    return bool(row["blas"]) and blas and not {*without} & {*row["numpy"]} and torch == row["torch"]


class Outcomes:
    """Takes down what pytest sums up; a plugin of it."""

    counts: dict[str, Any]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Count what passed and was skipped, and name what did not."""
        found = terminalreporter.stats
        self.counts = {name: len(found.get(name, ())) for name in ("passed", "skipped")}
        bad = [*found.get("failed", ()), *found.get("error", ())]
        self.counts["failed"] = [report.nodeid for report in bad]


def run_tests(tests: list[str], result: str) -> int:
    """Run the tests in this process; write their outcomes, and what computed them.

    Gives pytest's exit code, which is 0 only where some ran and none failed.
    """
    sys.path.insert(0, str(ROOT))  # as ``python -m pytest``: for processes that tests start
    outcomes = Outcomes()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[outcomes])
    Path(result).write_text(json.dumps(libraries() | outcomes.counts))
    return int(code)


def libraries() -> dict[str, Any]:
    """Say which kernels the libraries of this process use."""
    import scipy.linalg.cython_blas  # noqa: F401  loads scipy's BLAS, which is not numpy's
    import torch
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    from threadpoolctl import threadpool_info

    blas = [found for found in threadpool_info() if found["user_api"] == "blas"]
    return {
        "blas": {_owner(one["filepath"], one["version"]): one["architecture"] for one in blas},
        "numpy": [name for name in __cpu_dispatch__ if __cpu_features__[name]],
        "torch": torch.backends.cpu.get_cpu_capability(),
    }


def _owner(path: str, version: str) -> str:
    """Name a BLAS by the package that brings it."""
    return f"{Path(path).parent.name.removesuffix('.libs')} OpenBLAS {version}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    parser.add_argument("--jobs", type=int, default=2, help="kernels at a time")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("tests", nargs="*", help="what pytest is to run; without it, everything")
    return parser.parse_args()


if __name__ == "__main__":
    main()
