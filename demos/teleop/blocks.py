"""A picture in coloured characters: two pixels in each, one above the other."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

UPPER = "\u2580"  # the upper half is the foreground, the lower the background
PLAIN = "\x1b[0m"
TRUE = ("truecolor", "24bit")
CUBE = np.array([0, 95, 135, 175, 215, 255])  # levels of the 256 colours' cube


def has_true_colour(environ: Mapping[str, str]) -> bool:
    """Say whether a terminal knows all colours, and not only 256."""
    return environ.get("COLORTERM", "") in TRUE


def lines(image: np.ndarray, columns: int, rows: int, true_colour: bool) -> list[str]:
    """Draw an image uint8 [H, W, 3] in at most so many characters, in its proportions."""
    height, width = image.shape[:2]
    wide = max(1, min(columns, round(2 * rows * width / height)))
    high = max(1, min(rows, round(wide * height / width / 2)))
    small = cv2.resize(image, (wide, 2 * high), interpolation=cv2.INTER_AREA)
    codes = _true(small) if true_colour else _of_256(small)
    return [_line(codes[2 * row], codes[2 * row + 1]) for row in range(high)]


def _line(upper: list[str], lower: list[str]) -> str:
    """Write a line; a colour is said when it changes."""
    text, before = [], ("", "")
    for colours in zip(upper, lower, strict=True):
        said = [
            f"{kind};{c}" for kind, c, b in zip((38, 48), colours, before, strict=True) if c != b
        ]
        text.append((f"\x1b[{';'.join(said)}m" if said else "") + UPPER)
        before = colours
    return "".join(text) + PLAIN


def _true(image: np.ndarray) -> list[list[str]]:
    return [[f"2;{r};{g};{b}" for r, g, b in row] for row in image]


def _of_256(image: np.ndarray) -> list[list[str]]:
    nearest = np.abs(image[..., None].astype(int) - CUBE).argmin(axis=-1)  # [H, W, 3]
    codes = 16 + nearest @ [36, 6, 1]
    return [[f"5;{code}" for code in row] for row in codes]
