"""Executes notebooks as a reader would, each in a fresh kernel: `python tests/run_notebooks.py [NAME ...]`, in full.

The environment variable LABKIT_FAST=1 asks the lessons for their short setting; without it they run as they are read.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"


def all_notebooks() -> list[Path]:
    """The lessons, in their order."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path, *, fast: bool, timeout_s: int, output: Path | None = None) -> float:
    """Run a notebook and return the seconds it took; with `output`, a copy with its results is left there.

    Raises nbclient's CellExecutionError at the first cell that fails (cells tagged `raises-exception` may), with the
    copy written up to that cell.
    """
    notebook = nbformat.read(path, as_version=4)
    env = {**os.environ, "LABKIT_FAST": "1"} if fast else {k: v for k, v in os.environ.items() if k != "LABKIT_FAST"}
    client = NotebookClient(notebook, timeout=timeout_s, resources={"metadata": {"path": str(path.parent)}})
    start = time.perf_counter()
    try:
        client.execute(env=env)
    finally:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, output / path.name)
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    """Execute the notebooks named (default: all), print how long each took, and return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", type=Path, help="notebooks (default: all)")
    parser.add_argument("--output", type=Path, help="folder for the executed copies")
    parser.add_argument("--fast", action="store_true", help="the short setting, as in the tests")
    parser.add_argument("--timeout", type=int, default=7200, help="seconds a cell may take (default 7200)")
    chosen = parser.parse_args(arguments)
    failed = 0
    for path in chosen.names or all_notebooks():
        print(f"{path.name} ...", flush=True)
        try:
            seconds = execute(path, fast=chosen.fast, timeout_s=chosen.timeout, output=chosen.output)
            print(f"{path.name}: done in {seconds / 60:.1f} min", flush=True)
        except CellExecutionError as error:
            failed += 1
            print(f"{path.name}: failed\n{error}", file=sys.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
