"""Checkpoints: safetensors with a JSON header, written whole or not at all; no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from labkit.border import existing, reading
from labkit.errors import CheckpointError
from labkit.store.atomic import atomic_file, make_folder

_KEY = "labkit"
_PLAIN = (bool, int, float, str, type(None))


def save_checkpoint(path: str | Path, tensors: Mapping[str, torch.Tensor], header: Mapping) -> Path:
    """Write tensors (copied to the CPU) and a header of plain JSON values; an older file stays until this is whole.

    Raises OutOfSpace or DataError where it cannot be written.
    """
    path = Path(path)
    make_folder(path.parent)
    text = json.dumps(dict(header))
    # A copy each: safetensors refuses tensors that share memory, as tied weights do.
    copies = {name: torch.clone(t.detach().cpu(), memory_format=torch.contiguous_format) for name, t in tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(copies, temporary, metadata={_KEY: text})
        except SafetensorError as error:
            raise _as_os_error(error) from error
    return path


def load_checkpoint(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors (CPU) and header of a checkpoint; CheckpointError where the file is absent, damaged or not ours."""
    with _opened(Path(path)) as (file, header):
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


def load_header(path: str | Path) -> dict:
    """The header alone, without reading tensors; raises as `load_checkpoint`."""
    with _opened(Path(path)) as (_, header):
        return header


def checkpoint_hash(path: str | Path) -> str:
    """SHA-256 of the file as 64 hexadecimal digits; output trees carry it to say which model drew them."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _error(Path(path), error.strerror or str(error), "check the path") from error


def flatten(tree, prefix: str = "") -> tuple[dict[str, torch.Tensor], object]:
    """Split nested dictionaries, lists and tuples into named tensors and a JSON structure that refers to them.

    For optimiser and random-number states. Leaves are tensors, numbers, text or None; keys of any of these but
    tensors are kept with their type. Raises TypeError for anything else. `unflatten` puts it together again.
    """
    if isinstance(tree, torch.Tensor):
        return {prefix: tree}, {"tensor": prefix}
    if isinstance(tree, Mapping):
        parts = {key: flatten(value, f"{prefix}.{key}".lstrip(".")) for key, value in tree.items()}
        return _merged(parts), {"dict": [[key, structure] for key, (_, structure) in parts.items()]}
    if isinstance(tree, list | tuple):
        parts = {i: flatten(value, f"{prefix}.{i}".lstrip(".")) for i, value in enumerate(tree)}
        return _merged(parts), {type(tree).__name__: [structure for _, structure in parts.values()]}
    if type(tree) in _PLAIN:
        return {}, {"value": tree}
    raise TypeError(f"{prefix or 'state'}: found {type(tree).__name__}, expected tensors and plain values")


def unflatten(structure, tensors: Mapping[str, torch.Tensor]):
    """The nested state that `flatten` took apart; tensors not referred to are ignored."""
    ((kind, content),) = structure.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    if kind == "dict":
        return {key: unflatten(value, tensors) for key, value in content}
    parts = [unflatten(value, tensors) for value in content]
    return tuple(parts) if kind == "tuple" else parts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[safe_open, dict]]:
    existing(path, f"checkpoint {path.name}", kind=CheckpointError)
    try:
        with reading_checkpoint(path), safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise _error(path, "safetensors without a labkit header", "choose a checkpoint written by labkit")
            header = json.loads(metadata[_KEY])
            if not isinstance(header, dict):
                raise _error(path, "a header that is no mapping", "choose a checkpoint written by labkit")
            yield file, header
    except SafetensorError as error:
        with reading_checkpoint(path):
            raise ValueError(str(error)) from error


def reading_checkpoint(path: Path):
    """A block in which what goes wrong is this checkpoint's fault: see `labkit.border.reading`."""
    options = {"expected": "a whole labkit checkpoint", "kind": CheckpointError}
    todo = "copy it again, or take an earlier checkpoint of the run"
    return reading(f"checkpoint {path.name}", path, todo=todo, **options)


def _merged(parts: Mapping) -> dict[str, torch.Tensor]:
    merged: dict[str, torch.Tensor] = {}
    for tensors, _ in parts.values():
        if clash := set(merged) & set(tensors):
            raise TypeError(f"two tensors would be named {sorted(clash)[0]}")
        merged |= tensors
    return merged


def _as_os_error(error: SafetensorError) -> Exception:
    """The library reports a full disk as text only: 'I/O error: No space left on device (os error 28)'."""
    text = str(error)
    code = int(digits) if (digits := text.rpartition("os error ")[2].rstrip(") \"'")).isdigit() else 0
    return OSError(code, text) if code else error


def _error(path: Path, found: str, todo: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {path.name}", found=found, expected="a whole labkit checkpoint", todo=todo)
