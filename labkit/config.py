"""Configuration: sections that refuse what they do not know, and overrides as `key.sub=value`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labkit.border import parse_yaml, read_yaml
from labkit.errors import ConfigError

Positive = Annotated[int, Field(gt=0, lt=2**53)]
Size = Annotated[int, Field(gt=0, le=4096)]  # of a network: beyond lie slips of the finger that no memory holds
DEEPEST = 8  # sections within sections
_RANGE = re.compile(r"-?\d*(:-?\d*){1,2}")


class Strict(BaseModel):
    """A section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Section = TypeVar("Section", bound=Strict)


def validate(kind: type[Section], values: dict) -> Section:
    """The values as a `kind` of configuration, or a ConfigError that names the first path that does not fit."""
    try:
        return kind.model_validate(values)
    except RecursionError as error:
        found, todo = "sections nested too deep", "check the file"
        raise ConfigError("configuration", found=found, expected="a few levels", todo=todo) from error
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        raise ConfigError(
            f"configuration at {path}",
            found="an unknown key" if unknown else repr(first.get("input"))[:200],
            expected=_known_keys(kind, path) if unknown else first["msg"][0].lower() + first["msg"][1:],
            todo="correct it (labkit train --show prints the whole configuration)",
        ) from error


def read_config(path: str | Path) -> dict:
    """The sections in a YAML file, not yet validated."""
    what = f"configuration {Path(path).name}"
    values = read_yaml(path, what)
    if not isinstance(values, dict):
        todo = "begin with what labkit train --show prints"
        raise ConfigError(what, found=type(values).__name__, expected="sections by name", todo=todo)
    return values


def apply_overrides(values: dict, overrides: Sequence[str]) -> dict:
    """A copy of nested `values` with each `key.sub=value` set; values are read as YAML without aliases."""
    result = _copied(values)
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise ConfigError(
                "override", found=repr(text), expected="key.sub=value", todo="write it with an equals sign"
            )
        *parents, last = path.strip().split(".")
        if len(parents) > DEEPEST:
            raise ConfigError(f"override {path[:40]}", found="a long path", expected="a short one", todo="check it")
        section = result
        for depth, parent in enumerate(parents, 1):
            if not isinstance(section.setdefault(parent, {}), dict):
                found = f"a value at {'.'.join(parents[:depth])}"
                raise ConfigError(f"override {path}", found=found, expected="a section", todo="check the path")
            section = section[parent]
        section[last] = _parsed(text, value)
    return result


def first_difference(found, wanted) -> str:
    """Path of the first value that differs between two nested configurations, "" where they are equal."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return "" if found == wanted else "value"
    for key in sorted(found.keys() | wanted.keys()):
        if inner := first_difference(found.get(key), wanted.get(key)):
            return key if inner == "value" else f"{key}.{inner}"
    return ""


def _copied(values):
    """Sections of their own: what a preset writes once for two networks is two when one of them is changed."""
    if isinstance(values, dict):
        return {key: _copied(value) for key, value in values.items()}
    return [_copied(value) for value in values] if isinstance(values, list) else values


def _known_keys(kind: type[Strict], path: str) -> str:
    section: Any = kind
    for part in path.split(".")[:-1]:
        annotation = section.model_fields[part].annotation
        section = next(one for one in (*get_args(annotation), annotation) if one is not type(None))
    return "one of " + ", ".join(section.model_fields)


def _parsed(text: str, value: str):
    """The value as YAML reads it, but as text dates, which is what the readers take and JSON holds, and ranges such as
    4:8, of which YAML makes four minutes and eight seconds."""
    if _RANGE.fullmatch(value):
        return value
    parsed = parse_yaml(value, f"override {text[:80]!r}")
    return value if isinstance(parsed, date) else parsed
