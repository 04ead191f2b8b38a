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
from labkit.data.radar import HELD_OUT, open_radar, split_radar
from labkit.errors import ConfigError


def open_radar_part(part: str = "all", *, last: int = 8, held_out: tuple = HELD_OUT, **options) -> Pairs:
    """Radar composites, all of them, or the "train" or "test" part of `split_radar`."""
    if part not in ("all", "train", "test"):
        raise ConfigError("radar part", found=str(part), expected="all, train or test", todo="choose one of these")
    pairs = open_radar(**options)
    return pairs if part == "all" else split_radar(pairs, last=last, region=tuple(held_out))[part == "test"]


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
