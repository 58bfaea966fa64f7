"""Pictures of many points: each pixel has the mean color of its points.

Written with numpy: a picture of a million points takes a tenth of a second from the first one on,
without compilation; see ADR 40.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SPREADS = ((400, 5), (4_000, 3), (40_000, 2), (400_000, 1))
"""Up to so many points in view, a point has this radius in pixels."""
_LEAST_ALPHA = 0.45
"""Opacity of a pixel of one point, where others have many."""


@dataclass(frozen=True)
class Window:
    """The part of the plane that is drawn, and the size of its picture.

    Parameters
    ----------
    x0, x1, y0, y1
        Its ends.
    width, height
        Pixels.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int

    def holds(self, positions: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Return which positions are within; NaN are not.

        Parameters
        ----------
        positions
            (n, 2) float32.
        """
        x, y = positions[:, 0], positions[:, 1]
        held: npt.NDArray[np.bool_] = (
            (x >= self.x0) & (x < self.x1) & (y >= self.y0) & (y < self.y1)
        )
        return held


def draw(
    positions: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int32],
    palette: npt.NDArray[np.uint8],
    window: Window,
) -> npt.NDArray[np.uint32]:
    """Draw points.

    Parameters
    ----------
    positions
        (n, 2) float32, all within the window.
    codes
        (n,) int32 into the palette.
    palette
        (n_colors, 3) uint8, sRGB.
    window
        What is drawn.

    Returns
    -------
    ndarray
        (height, width) uint32 of RGBA bytes, the first row at the bottom; transparent where there
        is no point.
    """
    width, height = window.width, window.height
    column = (positions[:, 0] - window.x0) * np.float32(width / (window.x1 - window.x0))
    row = (positions[:, 1] - window.y0) * np.float32(height / (window.y1 - window.y0))
    # Rounding may put a point just within the end onto it.
    at = np.minimum(row.astype(np.int32), height - 1) * width
    at += np.minimum(column.astype(np.int32), width - 1)
    n_pixels = width * height
    counts = np.bincount(at, minlength=n_pixels).astype(np.float32).reshape(height, width)
    sums = [
        np.bincount(at, palette[:, channel][codes], n_pixels).astype(np.float32)
        for channel in range(3)
    ]
    layers = [counts, *(layer.reshape(height, width) for layer in sums)]
    radius = next((size for most, size in _SPREADS if len(at) <= most), 0)
    return _colored([_spread(layer, radius) for layer in layers] if radius else layers)


def _spread(layer: npt.NDArray[np.float32], radius: int) -> npt.NDArray[np.float32]:
    """Add every pixel to those around it, within a radius."""
    spread = np.zeros_like(layer)
    height, width = layer.shape
    for up in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if up * up + right * right > radius * radius + 1:
                continue
            to = (
                slice(max(up, 0), height + min(up, 0)),
                slice(max(right, 0), width + min(right, 0)),
            )
            of = (
                slice(max(-up, 0), height + min(-up, 0)),
                slice(max(-right, 0), width + min(-right, 0)),
            )
            spread[to] += layer[of]
    return spread


def _colored(layers: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.uint32]:
    counts = layers[0]
    there = counts > 0
    picture = np.zeros((*counts.shape, 4), np.uint8)
    if there.any():
        many = np.log1p(counts[there])
        alpha = _LEAST_ALPHA + (1 - _LEAST_ALPHA) * many / max(float(many.max()), np.log(3.0))
        for channel, layer in enumerate(layers[1:]):
            picture[there, channel] = np.rint(layer[there] / counts[there])
        picture[there, 3] = np.rint(255 * alpha)
    return picture.view(np.uint32)[..., 0]


def rgb(colors: list[str]) -> npt.NDArray[np.uint8]:
    """Return (n_colors, 3) uint8 of hexadecimal colors, such as ``#0072b2``."""
    return np.array([[int(c[at : at + 2], 16) for at in (1, 3, 5)] for c in colors], np.uint8)


def hexadecimal(colors: npt.NDArray[np.uint8]) -> list[str]:
    """Return hexadecimal colors of (n_colors, 3) uint8."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colors.tolist()]
