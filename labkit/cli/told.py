"""What a person says of a file that the file does not: `--units NAME=UNIT` and `--spacing-km KM`."""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager

UNITS_HELP = "unit of a variable whose file names none, such as t2m=degC; may be repeated"
SPACING_HELP = "grid spacing of a file without x, y, lat and lon: one, or along y and x, such as 3 or 2,3"


def add_told(parser: argparse.ArgumentParser) -> None:
    """Add the two options."""
    parser.add_argument("--units", action="append", default=[], type=_unit, metavar="NAME=UNIT", help=UNITS_HELP)
    parser.add_argument("--spacing-km", type=_spacing, metavar="KM", help=SPACING_HELP)


def told(options: argparse.Namespace) -> dict:
    """What was said, as `open_tree` takes it."""
    spacing = {"spacing_km": options.spacing_km} if options.spacing_km else {}
    return ({"units": dict(options.units)} if options.units else {}) | spacing


@contextmanager
def opened(path, options: argparse.Namespace):
    """The output tree at `path`, after what has to be known of it was said on standard error."""
    from labkit.store.trees import in_memory, open_tree

    with open_tree(path, **told(options)) as tree:
        warn(tree)
        yield in_memory(tree)


def warn(tree) -> None:
    """Say what the file of a tree, or of a data set, does not say and is taken for granted."""
    from labkit.store.trees import cautions, units_assumed

    for sentence in filter(None, [*cautions(tree), units_assumed(tree)]):
        print(f"note: {sentence}", file=sys.stderr)


def _unit(text: str) -> tuple[str, str]:
    name, equals, unit = text.partition("=")
    if not (name and equals and unit):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected NAME=UNIT such as t2m=degC; name a variable and its unit"
        )
    return name, unit


def _spacing(text: str) -> float | tuple[float, float]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 2) or not all(0 < value < 1e4 for value in values):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected km such as 3 or 2,3 (along y, x); give the spacing")
    return values[0] if len(values) == 1 else values
