"""Pictures shared by notebooks, the terminal and the apps; no Panel.

`figures`, `products` and `calibration` are matplotlib, one call a figure; `interactive` is HoloViews; `colours` and
`geography` are what they share with the apps. `calibration` is imported by its own name, since compiling the scores
takes seconds.
"""

from labkit.plots.colours import colour_limits, colour_map, palette
from labkit.plots.figures import maps_figure, point_figure, probability_figure, stamps_figure

__all__ = [
    "colour_limits",
    "colour_map",
    "maps_figure",
    "palette",
    "point_figure",
    "probability_figure",
    "stamps_figure",
]
