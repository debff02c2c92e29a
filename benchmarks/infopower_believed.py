"""What the states of three world models hold of one episode: ``docs/infopower_believed.png``.

    python benchmarks/infopower_believed.py RUNS

RUNS is the folder of the runs of ``infopower.py --stage 2``, ``runs/benchmarks/infopower``: their
pictures of the walker, seed 0, are put together.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from robolearn.viz.strips import GAP, MARGIN, draw_strips

PICTURE = Path(__file__).parents[1] / "docs" / "infopower_believed.png"
METHODS = {"dreamer": "Dreamer", "c_dreamer": "C-Dreamer", "infopower": "InfoPower"}
SIZE = 64


def main() -> None:
    """Draw what was seen, then what each model holds of it, and what InfoPower foresees."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    pictures = {m: runs / f"2-walker-walk-{m}-0-2000" / "seed-0" / "believed.png" for m in METHODS}
    for picture in pictures.values():
        if not picture.is_file():
            parser.error(f"{picture}: no such picture; infopower.py --stage 2 draws it")
    found = {method: strips(picture) for method, picture in pictures.items()}
    seen, _, foreseen = found["infopower"]
    drawn = {"seen": seen} | {name: found[method][1] for method, name in METHODS.items()}
    draw_strips(drawn | {"foreseen": foreseen}, PICTURE)


def strips(picture: Path) -> list[np.ndarray]:
    """Read the three strips of a run's picture, [T, 64, 64, 3] each."""
    pixels = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
    lines = (pixels[top : top + SIZE, MARGIN:] for top in range(0, len(pixels), SIZE + GAP))
    return [line.reshape(SIZE, -1, SIZE, 3).swapaxes(0, 1) for line in lines]


if __name__ == "__main__":
    main()
