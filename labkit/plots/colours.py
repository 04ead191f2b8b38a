"""Colours, colour limits and names of sources: the same ones in notebooks and in the apps."""

from __future__ import annotations

from collections.abc import Sequence

import colorcet
import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, to_hex, to_rgb

from labkit.variables import Variable

# Okabe and Ito's colours in shades that are legible on white and on dark grey alike.
SOURCE_COLOURS = {
    "truth": "#e8590c",
    "prediction": "#2f8fd8",
    "mean": "#2f8fd8",
    "oracle": "#c45fa0",
    "regression": "#0f9d7a",
    "interpolation": "#8c8c8c",
}

BEST_TRACK_COLOUR = "#7b4fd0"  # dashed, seen on light and dark ground

SOURCE_LABELS = {
    "interpolation": "Coarse input",
    "regression": "Regression",
    "mean": "Ensemble mean",
    "prediction": "Model",
    "truth": "Truth",
    "oracle": "Oracle",
}

# Paul Tol's "muted" colours, told apart by colour-blind readers too; the tenth member takes the first again, dashed.
MEMBER_COLOURS = (
    "#332288",
    "#cc6677",
    "#117733",
    "#88ccee",
    "#882255",
    "#ddcc77",
    "#44aa99",
    "#aa4499",
    "#999933",
)
MEMBER_DASHES = ("solid", "dashed", "dotted", "dashdot")

# One event at several thresholds: in the order of the rainbow, legible on white and on dark grey.
THRESHOLD_COLOURS = ("#c29400", "#38a169", "#0a9fc0", "#7c6fd6", "#b5658f")

DIFFERENCES = "CET_D1A"
PROBABILITIES = "CET_L18"
SPREAD = "CET_L8"


def palette(name: str, n: int = 256) -> list[str]:
    """`n` hexadecimal colours of a colorcet or matplotlib colour map."""
    if name in colorcet.palette:
        colours = colorcet.palette[name]
        return [colours[i] for i in np.linspace(0, len(colours) - 1, n).round().astype(int)]
    return [to_hex(colour) for colour in matplotlib.colormaps[name](np.linspace(0, 1, n))]


def mixed(colour: str, share: float) -> str:
    """A share (0 to 1) of a colour in white, as hexadecimal."""
    return to_hex(share * np.array(to_rgb(colour)) + 1 - share)


def colour_map(name: str) -> ListedColormap:
    """The same colours as a matplotlib colour map; cells without data stay transparent."""
    return ListedColormap(palette(name), name=name).with_extremes(bad=(0, 0, 0, 0))


def member_style(k: int) -> tuple[str, str]:
    """Colour and dash of the line of member `k`; 36 members have one of their own."""
    return MEMBER_COLOURS[k % len(MEMBER_COLOURS)], MEMBER_DASHES[k // len(MEMBER_COLOURS) % len(MEMBER_DASHES)]


def is_signed(variable: Variable) -> bool:
    """Whether zero is the middle of the variable's colour scale."""
    low, high = variable.limits
    return low == -high


def colour_limits(variable: Variable, values: np.ndarray | Sequence[np.ndarray]) -> tuple[float, float]:
    """Round colour limits that hold all but the outer 0.1 % of `values`.

    Signed variables get limits symmetric about zero; variables that are never negative start at zero.
    Falls back on the registry's limits where nothing is finite.
    """
    values = np.concatenate([np.ravel(v) for v in values]) if isinstance(values, (list, tuple)) else np.ravel(values)
    values = values[np.isfinite(values)]
    if not values.size:
        return variable.limits
    low, high = (float(v) for v in np.quantile(values, [0.001, 0.999]))
    if is_signed(variable):
        return symmetric(max(abs(low), abs(high)))
    step = nice_step((high - low) / 6)
    low = 0.0 if variable.non_negative else np.floor(low / step) * step
    return float(low), float(max(np.ceil(high / step) * step, low + step))


def difference_limits(values: np.ndarray) -> tuple[float, float]:
    """Round limits symmetric about zero that hold 99.5 % of the differences."""
    values = np.abs(values[np.isfinite(values)])
    return symmetric(float(np.quantile(values, 0.995)) if values.size else 1.0)


def symmetric(half_width: float) -> tuple[float, float]:
    """Round limits about zero that hold `half_width`."""
    step = nice_step(max(half_width, 1e-12) / 4)
    top = float(np.ceil(max(half_width, step) / step) * step)
    return -top, top


def nice_step(step: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `step`."""
    if not np.isfinite(step) or step <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= step * (1 - 1e-9)))
