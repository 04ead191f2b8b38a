"""What is taken along as a file: pictures, tables, and names that are harmless wherever they are saved."""

from __future__ import annotations

from io import BytesIO, StringIO
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

# Of a Zarr folder: what is written anew with the arrays. Chunks are too many to be looked at.
_ZARR = ("zarr.json", ".z*", "*/zarr.json", "*/.z*", "*/*/zarr.json", "*/*/.z*")


def file_mark(path: Path) -> tuple:
    """What tells a file, or a Zarr folder, from what may take its place: identity, size and time; () where none is."""
    files = [path, *(file for pattern in _ZARR for file in sorted(path.glob(pattern)))] if path.is_dir() else [path]
    try:
        stats = [file.stat() for file in files]
    except FileNotFoundError:
        return ()
    return tuple((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


def png_of(figure: Figure) -> BytesIO:
    """A figure at 150 dots an inch."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    buffer.seek(0)
    return buffer


def csv_of(what: str, table: pd.DataFrame, **options) -> StringIO:
    """A table as text after a line that says what it is; options as of `DataFrame.to_csv`."""
    buffer = StringIO()
    buffer.write(f"# {what}\n")
    table.to_csv(buffer, **options)
    buffer.seek(0)
    return buffer


def file_name(*parts: str, ending: str) -> str:
    """`run-variable-t3.png`: letters and digits only, and not too many."""
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in "-".join(parts))
    return f"{safe[:80]}.{ending}"
