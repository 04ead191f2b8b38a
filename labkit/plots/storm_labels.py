"""Which sources a figure of a storm shows, and what its numbers are called on axes."""

from __future__ import annotations

from labkit.verify.cyclones.structure import MEASURES

SINGLES = ("interpolation", "regression", "truth")
LABELS = {
    "max_wind": "highest 10 m wind",
    "wave_wind": "highest wind of waves 0 and 1",
    "mean_wind": "highest mean tangential wind",
    "rmw": "radius of maximum wind",
    "min_pressure": "lowest pressure",
    "asymmetry1": "asymmetry, wavenumber 1",
    "asymmetry2": "asymmetry, wavenumber 2",
    "tangential": "tangential wind",
    "radial": "radial wind, outward",
    "speed": "wind speed",
    "t2m": "2 m temperature",
    "reflectivity": "reflectivity",
    "tp": "rain",
    "msl": "sea-level pressure",
}


def label_of(name: str, unit: str = "") -> str:
    """The name of a measure or profile with its unit."""
    unit = unit or (MEASURES[name][0] if name in MEASURES else "")
    label = LABELS.get(name, name)
    return f"{label} [{unit}]" if unit and unit != "1" else label
