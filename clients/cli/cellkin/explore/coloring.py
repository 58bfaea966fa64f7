"""What points are colored by: names, or numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from bokeh.palettes import Viridis256

from cellkin.explore.picture import hexadecimal, rgb
from cellkin.pages.palette import UNKNOWN_COLOR, label_colors

_STEPS = 64


@dataclass(frozen=True)
class Coloring:
    """Colors of points.

    Parameters
    ----------
    title
        What they are colored by.
    codes
        (n,) int32 into the palette.
    palette
        (n_colors, 3) uint8, sRGB.
    names
        The name of each color; empty if colors are a scale.
    ends
        The numbers at both ends of a scale.
    """

    title: str
    codes: npt.NDArray[np.int32]
    palette: npt.NDArray[np.uint8]
    names: tuple[str, ...] = ()
    ends: tuple[float, float] = (0.0, 1.0)

    @property
    def colors(self) -> list[str]:
        """Hexadecimal colors of the palette."""
        return hexadecimal(self.palette)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(n_colors,) int64, number of points of each color."""
        return np.bincount(self.codes, minlength=len(self.palette))


def by_names(title: str, codes: npt.NDArray[np.integer], names: Sequence[str]) -> Coloring:
    """Color points by names.

    Parameters
    ----------
    title
        What the names are.
    codes
        (n,) integers into the names; -1 for none, which is gray.
    names
        The names, whose order fixes their colors; ``unknown`` is gray.
    """
    of = label_colors(names)
    found = np.asarray(codes, np.int32)
    missing = found < 0
    named = tuple(names)
    if missing.any():
        found = np.where(missing, len(named), found).astype(np.int32)
        named += ("none",)
    palette = rgb([of.get(name, UNKNOWN_COLOR) for name in named])
    return Coloring(title, found, palette, named)


def by_values(
    title: str, values: npt.NDArray[np.floating], ends: tuple[float, float] | None = None
) -> Coloring:
    """Color points by numbers, from dark to bright; missing ones are gray.

    Parameters
    ----------
    title
        What the numbers are.
    values
        (n,) floats; NaN if missing.
    ends
        The numbers at both ends of the scale; None for the 1st and 99th percentile.
    """
    there = np.isfinite(values)
    if ends is None:
        few = np.percentile(values[there], (1, 99)) if there.any() else (0.0, 1.0)
        ends = float(few[0]), float(few[1])
    width = max(ends[1] - ends[0], 1e-9)
    steps = np.clip((np.where(there, values, 0) - ends[0]) / width, 0, 1) * (_STEPS - 1)
    codes = np.where(there, np.rint(steps), _STEPS).astype(np.int32)
    chosen = [Viridis256[at] for at in np.linspace(0, 255, _STEPS).astype(int)]
    return Coloring(title, codes, rgb([*(c[:7] for c in chosen), UNKNOWN_COLOR]), ends=ends)
