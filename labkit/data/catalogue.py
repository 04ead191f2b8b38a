"""All data sets by name, for configurations and the terminal."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields

from labkit.border import reading
from labkit.data.files import open_files
from labkit.data.hrrr_mini import open_hrrr_mini
from labkit.data.idealised.reader import IdealisedConfig, open_idealised
from labkit.data.pairs import Pairs
from labkit.data.radar import HELD_OUT, VALIDATED, Region, open_radar, split_radar, window
from labkit.errors import ConfigError

PARTS = ("all", "train", "validation", "test")


def open_radar_part(
    part: str = "all",
    *,
    last: int | float = 8,
    validation: int | float = 0,
    held_out: Region | None = None,
    validation_region: Region | None = None,
    **options,
) -> Pairs:
    """Radar composites, all of them, or a part: "train", "validation" or "test".

    The test has the `last` frames, `validation` those before, training all others; a number below 1 is a share of the
    frames. The test lies within `held_out` (y start, y stop, x start, x stop), which training never sees, validation
    within `validation_region`: by default those of the public sequence, elsewhere the whole domain.
    """
    if part not in PARTS:
        raise ConfigError("radar part", found=str(part), expected=" or ".join(PARTS), todo="choose one of these")
    pairs = open_radar(**options)
    if part == "all":
        return pairs
    if options.get("folder") is None:
        held_out, validation_region = held_out or HELD_OUT, validation_region or VALIDATED
    last, validation = (round(n * len(pairs)) if 0 < n < 1 else int(n) for n in (last, validation))
    seen, test = split_radar(pairs, last=max(last, 1), region=held_out and tuple(held_out))
    if part == "test":
        return test
    if not 0 <= validation < len(seen) or (part == "validation" and not validation):
        raise ConfigError(
            "radar validation",
            found=f"{validation} of {len(seen)} frames",
            expected="at least one, and one left to train with",
            todo="set validation to a number or a share of frames",
        )
    first = len(seen) - validation
    if part == "train":
        return seen.isel(slice(0, first))
    chosen = pairs.isel(slice(first, len(seen)))
    return chosen if validation_region is None else window(chosen, tuple(validation_region))


READERS: dict[str, Callable[..., Pairs]] = {
    "idealised": open_idealised,
    "hrrr_mini": open_hrrr_mini,
    "radar": open_radar_part,
    "files": open_files,
}


def open_pairs(config: Mapping) -> Pairs:
    """Pairs of {"name": reader, **its options}; raises ConfigError for an unknown name or option."""
    options = dict(config)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in READERS:
        raise ConfigError("data set", found=str(name), expected=" or ".join(READERS), todo="set its name")
    _check_options(name, options)
    what, found = f"data set {name}", "files or options that do not fit"
    with reading(what, found=found, expected=f"what {name} reads", todo="check the options and the files they name"):
        return READERS[name](**options)


def options_of(name: str) -> dict[str, bool]:
    """Options of a reader, and whether each must be given."""
    own = inspect.signature(READERS[name]).parameters.values()
    named = {p.name: p.default is p.empty for p in own if p.kind is not p.VAR_KEYWORD}
    # these two pass further keywords on
    passed = {
        "idealised": [field.name for field in fields(IdealisedConfig)],
        "radar": inspect.signature(open_radar).parameters,
    }
    return named | dict.fromkeys(passed.get(name, ()), False)


def _check_options(name: str, options: Mapping) -> None:
    known = options_of(name)
    unknown = [key for key in options if key not in known]
    lacking = [key for key, needed in known.items() if needed and key not in options]
    if unknown or lacking:
        raise ConfigError(
            f"options of data set {name}",
            found=", ".join(unknown) if unknown else "no " + ", ".join(lacking),
            expected=", ".join(known),
            todo="give each option by one of these names" if unknown else "give what is lacking",
        )
