"""Storms and fronts worth seeing: when, where, why, and what of them is at hand. A user adds theirs in a text file.

case("morakot-2009").why
best_track(case("morakot-2009"))          # JTWC's, where the table is on this machine
cases("mine.yaml")                        # with those of a file in the form of labkit/assets/cases.yaml
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from labkit.border import CONFIG_BYTES, parse_yaml, read_text
from labkit.data.public import datasets, fetch, present
from labkit.data.tracks.best_tracks import BestTracks, read_best_tracks
from labkit.errors import ConfigError, DataError

IDEALISED = "idealised"
TRACKS = ("best_tracks_and_coast", "ibtracs_jtwc_taiwan_2000_2024.csv", "jtwc")  # data set, file, agency


class Case(BaseModel):
    """A cyclone or a front between two times (UTC) about a place (degrees), and why it is worth seeing.

    `storm` is its IBTrACS id; `data` the data set that holds fields of it: "idealised", whose world `options` names, or
    one of `labkit.data.public`; None where the lab has none and a user brings their own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str = Field(min_length=1)
    kind: Literal["cyclone", "front"]
    start: datetime
    end: datetime
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=360)
    why: str = Field(min_length=1)
    storm: str | None = None
    data: str | None = None
    options: dict[str, Any] = {}

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, time: datetime) -> datetime:
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time

    @model_validator(mode="after")
    def _in_order(self) -> "Case":
        if self.end < self.start:
            raise PydanticCustomError("order", "an end that is not before the start")
        return self

    @property
    def idealised(self) -> bool:
        """Whether it happens in the idealised atmosphere, where the oracle is known."""
        return self.data == IDEALISED

    @property
    def at_hand(self) -> bool:
        """Whether fields of it are on this machine, so that nothing is downloaded."""
        return self.idealised or (self.data in datasets() and present(self.data))


def cases(extra: str | Path | None = None) -> dict[str, Case]:
    """The catalogue by key, in its order, followed by the cases of a file of one's own; ConfigError names the entry of
    that file that does not fit, and what in it."""
    if extra is None:
        return dict(_shipped())
    return _read(Path(extra).name, _text(Path(extra)), known=_shipped())


def case(key: str, extra: str | Path | None = None) -> Case:
    """The case of that key; ConfigError names those that there are."""
    catalogue = cases(extra)
    if key not in catalogue:
        raise ConfigError("case", found=repr(key), expected=", ".join(catalogue), todo="choose one of these keys")
    return catalogue[key]


def best_track(case: Case, tracks: BestTracks | None = None) -> BestTracks:
    """The best track of a case, out of `tracks` or of the lab's JTWC table of storms near Taiwan; DataError where the
    case names no storm, or the table is not at hand or does not hold it."""
    if case.storm is None:
        expected, todo = "the IBTrACS id of its storm", "choose a case of a real cyclone, or add the id to yours"
        raise DataError(f"best track of {case.key}", found="no storm", expected=expected, todo=todo)
    return (tracks or near_taiwan()).storm(case.storm)


def near_taiwan() -> BestTracks:
    """The lab's table of storms near Taiwan since 2000, by JTWC; DataError where it is not on this machine."""
    name, file, agency = TRACKS
    return _read_table(fetch(name) / file, agency)


@cache
def _read_table(path: Path, agency: str) -> BestTracks:
    return read_best_tracks(path, agency=agency)


@cache
def _shipped() -> dict[str, Case]:
    return _read("cases.yaml", (files("labkit") / "assets" / "cases.yaml").read_text("utf-8"), known={})


def _text(path: Path) -> str:
    return read_text(path, f"cases {path}", most=CONFIG_BYTES, kind=ConfigError)


def _read(name: str, text: str, known: dict[str, Case]) -> dict[str, Case]:
    """The known cases and those of a YAML list."""
    found = dict(known)
    for number, entry in enumerate(_listed(name, text), 1):
        one = _validated(f"{name}, case {number}", entry)
        if one.key in found:
            what, expected = f"{name}, case {number}", "a key of its own"
            raise ConfigError(what, found=f"the key {one.key} again", expected=expected, todo="give it another key")
        found[one.key] = one
    return found


def _listed(name: str, text: str) -> list[dict]:
    entries = parse_yaml(text, name)
    entries = entries if isinstance(entries, list) else [entries]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            expected = "a list of cases, each with " + ", ".join(Case.model_fields)
            todo = "begin each case with '- key: a-name-of-yours'"
            raise ConfigError(f"{name}, case {number}", found=repr(entry)[:60], expected=expected, todo=todo)
    return entries


def _validated(what: str, entry: dict) -> Case:
    try:
        return Case.model_validate(entry)
    except ValidationError as error:
        # a misspelt key is also a lacking one, but its own name says more
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        path = ".".join(str(part) for part in first["loc"])
        unknown, lacking = first["type"] == "extra_forbidden", first["type"] == "missing"
        found = "an unknown key" if unknown else ("nothing" if lacking else repr(first.get("input"))[:60])
        expected = "a value" if lacking else first["msg"][0].lower() + first["msg"][1:]
        expected = "one of " + ", ".join(Case.model_fields) if unknown else expected
        where = f"{what} ({entry.get('key', 'without a key')})" + (f" at {path}" if path else "")
        raise ConfigError(where, found=found, expected=expected, todo="correct that entry") from error
