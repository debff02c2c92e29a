"""Do the tests hold on other processors? Runs them under several kernels of BLAS, numpy and torch.

    python benchmarks/portability.py [--kernels own Haswell ...] [--jobs 2] [-- tests/sim ...]

What a processor can do decides how libraries round: fused multiply-add, the order of sums, the
approximation of an exponential. Here one machine is told to be several: each row is a run of the
test suite in a process of its own. Prints a JSON line for each, with what really ran as
``threadpoolctl``, numpy and torch tell it, and fails if a test does, or if a kernel that was asked
for did not run. A kernel that this processor lacks is left out, with the reason.
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


def main() -> None:
    """Run every kernel and print its line."""
    arguments = _arguments()
    if arguments.child:
        run_tests(arguments.tests, arguments.child)
        return
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = pool.map(lambda name: measure(name, arguments.tests), arguments.kernels)
        sound = [report(row) for row in rows]
    sys.exit(not all(sound))


def measure(kernel: str, tests: list[str]) -> dict[str, Any]:
    """Run the tests under one kernel, and tell what ran and what failed."""
    flags = Path("/proc/cpuinfo").read_text().split()
    if NEEDS.get(kernel, flags[0]) not in flags:
        return {"kernel": kernel, "left_out": f"this processor lacks {NEEDS[kernel]}"}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--child", str(result), "--", *tests]
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "NPY_"))}
        child = subprocess.run(
            command, cwd=ROOT, env=plain | KERNELS[kernel], capture_output=True, text=True
        )
        if not result.exists():
            raise RuntimeError(f"{kernel}: the tests did not end:\n{child.stdout}{child.stderr}")
        return {"kernel": kernel, **json.loads(result.read_text())}


def report(row: dict[str, Any]) -> bool:
    """Print a row; say whether all is well."""
    wanted = KERNELS[row["kernel"]].get("OPENBLAS_CORETYPE")
    row["as_asked"] = wanted is None or {*row.get("blas", {}).values()} <= {
        wanted,
        ALSO.get(wanted),
    }
    print(json.dumps(row), flush=True)
    return row["as_asked"] and not row.get("failed")


class Outcomes:
    """Counts what became of the tests; a plugin of pytest."""

    def __init__(self) -> None:
        self.counts = {"passed": 0, "skipped": 0}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down one phase of one test."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped or report.when == "call":
            self.counts[report.outcome] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take down a file that could not be read."""
        if report.failed:
            self.failed.append(report.nodeid)


def run_tests(tests: list[str], result: str) -> None:
    """Run the tests in this process and write their outcomes, and what computed them."""
    sys.path.insert(0, str(ROOT))  # as ``python -m pytest``: for processes that tests start
    outcomes = Outcomes()
    pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[outcomes])
    row = {**libraries(), **outcomes.counts, "failed": outcomes.failed}
    Path(result).write_text(json.dumps(row))


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
