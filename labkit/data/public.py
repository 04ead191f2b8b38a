"""Public data sets by name: from the cache that LABKIT_DATA names, else downloaded once and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import pooch
import yaml

from labkit.errors import DataError


@dataclass(frozen=True)
class PublicDataset:
    """Where a data set comes from; `files` maps each file name to its sha256, `address` + name is its address. Files
    that were made of public ones have no address, and `derived` says how they were made."""

    name: str
    title: str
    producer: str
    licence: str
    citation: str
    address: str
    files: Mapping[str, str]
    derived: str = ""


@cache
def datasets() -> dict[str, PublicDataset]:
    """All registered public data sets by name."""
    listed = yaml.safe_load((files("labkit") / "assets" / "public_files.yaml").read_text())
    return {name: PublicDataset(name, **entry) for name, entry in listed.items()}


def fetch(name: str) -> Path:
    """The folder with all files of a data set.

    First the cache laid out as LABKIT_DATA/<name>/, else a download into the user's cache, where every file is
    checked against its sha256. Raises DataError for an unknown name, and where neither can be had.
    """
    dataset = _dataset(name)
    root = os.environ.get("LABKIT_DATA")
    if root and all((Path(root) / name / file).is_file() for file in dataset.files):
        return Path(root) / name
    if dataset.derived:
        raise DataError(
            f"data set {name}",
            found="none of its files on this machine",
            expected=f"{', '.join(dataset.files)} in a folder {name}, LABKIT_DATA naming its parent",
            todo=f"make them anew, as they have no public address ({dataset.derived})",
        )
    folder = Path(pooch.os_cache("labkit")) / name
    for file, sha256 in dataset.files.items():
        _download(dataset, file, sha256, folder)
    return folder


def present(name: str) -> bool:
    """Whether `fetch` would find every file of a data set on this machine, so that nothing is downloaded."""
    roots = [root for root in (os.environ.get("LABKIT_DATA"), pooch.os_cache("labkit")) if root]
    return any(all((Path(root) / name / file).is_file() for file in _dataset(name).files) for root in roots)


def _dataset(name: str) -> PublicDataset:
    if name not in datasets():
        raise DataError(
            "public data set", found=name, expected=" or ".join(datasets()), todo="choose one of the registered names"
        )
    return datasets()[name]


def _download(dataset: PublicDataset, file: str, sha256: str, folder: Path) -> None:
    address = dataset.address + file
    try:
        pooch.retrieve(address, known_hash=f"sha256:{sha256}", fname=file, path=folder)
    except (OSError, ValueError) as error:  # no network, no such address, or another checksum
        raise DataError(
            f"file {file} of {dataset.name}",
            found=f"{type(error).__name__} at {address}",
            expected="a download with the registered checksum",
            todo=f"connect to the network, or put the files in a folder {dataset.name}, LABKIT_DATA naming its parent",
        ) from error
