"""What is said after the files on the command line of what these do not say: as in the terminal's verbs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from labkit.cli.told import add_told, told


def files_and_told(words: Sequence[str]) -> tuple[list[Path], dict]:
    """The files named, and `units` and `spacing_km` as `open_tree` takes them."""
    parser = argparse.ArgumentParser(prog="explorer")
    parser.add_argument("files", nargs="*", type=Path)
    add_told(parser)
    options = parser.parse_intermixed_args(words)
    return options.files, told(options)


def opening_of(path: Path, said: dict) -> str:
    """The expression by which a program opens the tree."""
    return f"open_tree({str(path)!r}{''.join(f', {name}={value!r}' for name, value in said.items())})"
