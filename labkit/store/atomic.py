"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.errors import DataError, LabError, OutOfSpace

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MORE_BYTES = 2**23


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes the place of `path` only if the block ends well.

    A block that fails leaves the old `path` as it was and no temporary file behind. Raises OutOfSpace or DataError
    where the operating system refuses to write.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write `content` so that a reader, or a restart after a kill, sees the old file or the new one whole."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def make_folder(path: str | Path) -> Path:
    """The folder, made with its parents where it is not there; raises as `atomic_file`."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(Path(path), error) from error
    return Path(path)


def sync(path: Path) -> None:
    """Bring a file's content to the disk, so that a rename never overtakes it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def failed_write(path: Path, unfinished: Path, error: Exception) -> LabError:
    """The one-sentence error for a library's failed write of `path`, of which `unfinished` is there by now.

    NetCDF says "HDF error" or "Permission denied" of a full disk: the system is asked again, by writing more.
    """
    asked = unfinished.parent / "more" if unfinished.is_dir() else unfinished
    try:
        with asked.open("ab") as stream:
            stream.write(bytes(_MORE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as why:
        return write_error(path, error if getattr(error, "errno", None) in FULL else why)
    finally:
        asked.unlink(missing_ok=True)
    return write_error(path, error)


def write_error(path: Path, error: Exception) -> LabError:
    """The one-sentence error for a failed write of `path`."""
    code, said = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
    if code in FULL:
        return OutOfSpace(
            f"writing {path.name}",
            found=f"no room left ({said})",
            expected="room for the whole file",
            todo="free some space or choose another disk and run the same command again; finished pieces are kept",
        )
    return DataError(
        f"writing {path.name}",
        found=said,
        expected="a place that can be written",
        todo="choose another output path or change its permissions"
        if code in (errno.EACCES, errno.EPERM, errno.EROFS)
        else "choose another output path or check the disk; finished pieces are kept",
    )
