"""What the states of three world models hold of one episode: ``docs/infopower_believed.png``.

    python benchmarks/infopower_believed.py RUNS

RUNS is the folder of the runs of ``infopower.py --stage 2``, ``runs/benchmarks/infopower``: their
pictures of the walker, seed 0, are put together.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from robolearn.viz.strips import GAP, MARGIN, draw_strips

PICTURE = Path(__file__).parents[1] / "docs" / "infopower_believed.png"
METHODS = {"dreamer": "Dreamer", "c_dreamer": "C-Dreamer", "infopower": "InfoPower"}
SIZE = 64


def main() -> None:
    """Draw what was seen, then what each model holds of it, and what InfoPower foresees."""
    found = {m: strips(Path(sys.argv[1]) / f"2-walker-walk-{m}-0-2000") for m in METHODS}
    seen, _, foreseen = found["infopower"]
    drawn = {"seen": seen} | {name: found[method][1] for method, name in METHODS.items()}
    draw_strips(drawn | {"foreseen": foreseen}, PICTURE)


def strips(run: Path) -> list[np.ndarray]:
    """Read the three strips of a run's picture, [T, 64, 64, 3] each."""
    picture = cv2.cvtColor(cv2.imread(str(run / "seed-0" / "believed.png")), cv2.COLOR_BGR2RGB)
    lines = (picture[top : top + SIZE, MARGIN:] for top in range(0, len(picture), SIZE + GAP))
    return [line.reshape(SIZE, -1, SIZE, 3).swapaxes(0, 1) for line in lines]


if __name__ == "__main__":
    main()
