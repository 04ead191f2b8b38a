"""CorrDiff from end to end: `load_preset`, `train`, `load`, `sample`."""

from labkit.recipes.corrdiff.config import CorrDiffConfig, apply_overrides, load_preset, presets, validate
from labkit.recipes.corrdiff.drawing import sample
from labkit.recipes.corrdiff.model import CorrDiff, load, open_part
from labkit.recipes.corrdiff.training import train

__all__ = [
    "CorrDiff",
    "CorrDiffConfig",
    "apply_overrides",
    "load",
    "load_preset",
    "open_part",
    "presets",
    "sample",
    "train",
    "validate",
]
