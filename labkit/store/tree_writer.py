"""Writing an output tree member by member: resumable after a kill at any moment, never half-valid."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr

import labkit
from labkit.border import read_json, reading
from labkit.errors import DataError, OutOfSpace
from labkit.store.atomic import atomic_file, atomic_write, failed_write, make_folder, sync
from labkit.store.tree_assembly import (
    Block,
    Layout,
    check_suffix,
    plain,
    root_blocks,
    root_layout,
    variable_attrs,
    write_tree,
)
from labkit.store.tree_request import (
    ARRAY_DIMS,
    channel_names,
    check_fields,
    differences,
    make_request,
    times_of,
    units_of,
)
from labkit.store.trees import MEMBER_GROUPS, group_dims


class TreeWriter:
    """Collects the members of an output tree as they finish, in any order, and assembles the file at the end.

    Until `finish`, everything lies in a folder `<path>.partial` beside the target: a manifest and one whole `.npy` file
    for each (group, time, member). A writer made again for the same request goes on where the last one ended, also
    after a kill; for another request it raises DataError. The target appears at once and whole.

    truth, inputs, interpolation: (time, channel, y, x); the truth carries `x`, `y` (km), `lat`, `lon`; inputs are
    already on the fine grid. seeds: one for each member. attrs: how the members were made; `crs` may hold a WKT text
    or a dictionary of CF grid-mapping attributes. Values of `attrs` are part of the request, but for `history`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        truth: xr.DataArray,
        inputs: xr.DataArray,
        seeds: Sequence[int],
        attrs: Mapping,
        interpolation: xr.DataArray | None = None,
        with_oracle: bool = False,
        resume: bool = True,
    ) -> None:
        self.path = Path(path)
        check_suffix(self.path)
        self._check_place()
        self.folder = self.path.with_name(self.path.name + ".partial")
        self.fields = {"truth": truth, "input": inputs}
        if interpolation is not None:
            self.fields["interpolation"] = interpolation
        check_fields(f"output {self.path.name}", truth, self.fields)
        self.shape = tuple(truth.sizes[dim] for dim in ARRAY_DIMS[1:])
        self.groups = ("prediction", "oracle") if with_oracle else ("prediction",)
        self._check_room(len(seeds) * len(self.groups) * truth.sizes["time"])
        self.request = make_request(truth, inputs, seeds, attrs, with_oracle)
        self.attrs = {name: plain(value) for name, value in attrs.items()}
        self._crs = attrs.get("crs")
        self._start(resume)

    def __enter__(self) -> "TreeWriter":
        return self

    def __exit__(self, *error) -> None:
        """Nothing to undo: what was finished stays in the partial folder for the next run."""

    @property
    def channels(self) -> list[str]:
        return self.request["channels"]

    @property
    def seeds(self) -> list[int]:
        return self.request["seeds"]

    @property
    def n_times(self) -> int:
        return len(self.request["times"])

    @property
    def manifest(self) -> dict:
        """The request, and under "rejected" the members that were not written, each with its reason."""
        rejected = [read_json(path, path.name) for path in sorted(self.folder.glob("*.rejected.json"))]
        return self.request | {"rejected": rejected}

    def missing(self, group: str = "prediction") -> list[tuple[int, int]]:
        """The (time index, member) still to be written, in order of time; members of "regression" are all 0."""
        members = range(len(self.seeds)) if group in MEMBER_GROUPS else (0,)
        expected = _piece_bytes(self.shape)
        whole = {item.name for item in os.scandir(self.folder) if item.stat().st_size == expected}
        wanted = ((time, member) for time in range(self.n_times) for member in members)
        return [key for key in wanted if _piece(group, *key) not in whole]

    def write_member(self, time_index: int, member: int, fields: np.ndarray, group: str = "prediction") -> bool:
        """Keep one member, (channel, y, x) in native units; False, with the reason in the manifest, if not finite."""
        if group not in self.groups or not (0 <= time_index < self.n_times and 0 <= member < len(self.seeds)):
            raise self._error(
                f"{group} member {member} of time {time_index}",
                f"{' or '.join(self.groups)} members 0 to {len(self.seeds) - 1} of times 0 to {self.n_times - 1}",
                "write only members that were asked for",
            )
        return self._write(group, time_index, member, fields)

    def write_regression(self, time_index: int, fields: np.ndarray) -> bool:
        """Keep the regression's mean of one time, (channel, y, x); otherwise as `write_member`."""
        return self._write("regression", time_index, 0, fields)

    def finish(
        self, *, allow_missing: bool = False, compression: int = 2, digits: Mapping[str, int] | None = None
    ) -> Path:
        """Assemble the file, put it in place at once and remove the partial folder; returns its path.

        Raises DataError where members are missing, unless `allow_missing`: they are then NaN and listed in the
        attribute `missing_members`. compression, digits: as in `write_tree`.
        """
        missing = {group: self.missing(group) for group in self._groups_written()}
        first = next(((group, *keys[0]) for group, keys in missing.items() if keys), None)
        if first and not allow_missing:
            raise self._error(
                f"{sum(map(len, missing.values()))} pieces missing, the first being {first[0]} member {first[2]} of "
                f"time {first[1]}",
                "all of them",
                "run the same command again to draw them, or allow missing members",
            )
        made = self.folder / f"assembling{self.path.suffix}"
        _remove(made)
        attrs = self._root_attrs(missing)
        try:
            write_tree(made, self._layout(), self._blocks(), attrs=attrs, compression=compression, digits=digits)
            _put_in_place(made, self.path)
        except (OSError, RuntimeError) as error:  # the latter is what the HDF5 library makes of a failed write
            raise failed_write(self.path, made, error) from error
        finally:
            _remove(made)
        shutil.rmtree(self.folder)
        return self.path

    def _check_place(self) -> None:
        """Only an output may be replaced: a folder of anything else would be gone."""
        folder = self.path.is_dir() and any(self.path.iterdir())
        ours = self.path.suffix == ".zarr" and any((self.path / name).exists() for name in ("zarr.json", ".zgroup"))
        if folder and not ours:
            raise self._error("a folder of that name", "a new file, or an output to replace", "choose another name")

    def _check_room(self, pieces: int) -> None:
        """OutOfSpace where the disk has no room for so many pieces, before any is drawn."""
        done = sum(1 for _ in self.folder.glob("*.npy"))
        needed = (pieces - done) * _piece_bytes(self.shape)
        there = next(parent for parent in self.path.absolute().parents if parent.exists())
        if needed > (free := shutil.disk_usage(there).free):
            raise OutOfSpace(
                f"output {self.path.name}",
                found=f"{free / 1e9:.3g} GB free on the disk",
                expected=f"room for {needed / 1e9:.3g} GB",
                todo="free some space, choose another disk, or ask for fewer members or times",
            )

    def _start(self, resume: bool) -> None:
        manifest = self.folder / "manifest.json"
        if not resume or (any(self.folder.glob("*.npy")) and not manifest.exists()):
            _remove(self.folder)
        if not manifest.exists():
            make_folder(self.folder)
            atomic_write(manifest, json.dumps(self.request, indent=1).encode())
            return
        broken = {"expected": "a whole one", "todo": f"remove {self.folder.name}"}
        found = read_json(manifest, f"{manifest.name} of output {self.path.name}")
        with reading(f"{manifest.name} of output {self.path.name}", **broken):
            other = differences(found, self.request)
        if other:
            raise self._error(
                f"the half-written output of another request ({', '.join(other)} differ)",
                "the same request as before",
                f"choose another output, repeat the first request, or remove {self.folder.name} to start anew",
            )

    def _write(self, group: str, time_index: int, member: int, fields: np.ndarray) -> bool:
        fields = np.ascontiguousarray(fields, dtype=np.float32)
        if fields.shape != self.shape:
            raise self._error(f"a member of shape {fields.shape}", f"(channel, y, x) = {self.shape}", "check the model")
        path = self.folder / _piece(group, time_index, member)
        note = path.with_suffix(".rejected.json")
        bad = [name for name, values in zip(self.channels, fields, strict=True) if not np.isfinite(values).all()]
        if bad:
            reason = f"not finite in {', '.join(bad)}"
            record = {"group": group, "time_index": time_index, "member": member, "reason": reason}
            atomic_write(note, json.dumps(record).encode())
            return False
        with atomic_file(path) as temporary:
            # by way of memory: NumPy's own writing to a file does not say why it failed
            content = io.BytesIO()
            np.save(content, fields, allow_pickle=False)
            temporary.write_bytes(content.getbuffer())
        note.unlink(missing_ok=True)
        return True

    def _groups_written(self) -> list[str]:
        """Groups that must be whole: those asked for, and the regression once any of it was written."""
        started = len(self.missing("regression")) < self.n_times
        return [*self.groups, *(["regression"] if started else [])]

    def _layout(self) -> list[Layout]:
        ny, nx = self.shape[1:]
        sizes = {"time": self.n_times, "ensemble": len(self.seeds), "y": ny, "x": nx}
        truth = self.fields["truth"]
        layout = root_layout(times_of(truth), sizes, self._crs, in_km=[axis for axis in "yx" if axis in truth.coords])
        names = {name: channel_names(array) for name, array in self.fields.items()}
        names |= {group: self.channels for group in self._groups_written()}
        for group, channels in names.items():
            dims = group_dims(group)
            shape = tuple(sizes[dim] for dim in dims)
            for name in channels:
                units = units_of(self.fields.get(group, truth)).get(name, "")
                attrs = variable_attrs(name, units=units, grid_mapping=self._crs is not None)
                layout.append(Layout(group, name, dims, shape, attrs=attrs))
        return layout

    def _blocks(self) -> Iterator[Block]:
        """All values of the tree, in pieces of at most one chunk of times or members."""
        truth = self.fields["truth"]
        yield from root_blocks(truth, times_of(truth), len(self.seeds))
        for group, array in self.fields.items():
            array = array.transpose(*ARRAY_DIMS)
            for times in _time_blocks(array):
                values = np.asarray(array.isel(time=times).data, np.float32)
                for number, name in enumerate(array.channel.values):
                    yield group, str(name), (times,), values[:, number]
        for group in self._groups_written():
            yield from self._piece_blocks(group)

    def _piece_blocks(self, group: str) -> Iterator[Block]:
        absent = set(self.missing(group))
        if group not in MEMBER_GROUPS:
            for time in range(self.n_times):
                fields = np.full(self.shape, np.nan, "f4") if (time, 0) in absent else self._load(group, time, 0)
                for name, values in zip(self.channels, fields, strict=True):
                    yield group, name, (time,), values
            return
        step = Layout(group, "", group_dims(group), (len(self.seeds), 1, *self.shape[1:])).chunks[0]
        for time in range(self.n_times):
            for start in range(0, len(self.seeds), step):
                members = range(start, min(start + step, len(self.seeds)))
                block = np.full((len(members), *self.shape), np.nan, np.float32)
                for row, member in enumerate(members):
                    if (time, member) not in absent:
                        block[row] = self._load(group, time, member)
                for number, name in enumerate(self.channels):
                    yield group, name, (slice(start, members.stop), time), block[:, number]

    def _load(self, group: str, time: int, member: int) -> np.ndarray:
        path = self.folder / _piece(group, time, member)
        try:
            piece = np.load(path, allow_pickle=False)
            if piece.shape != self.shape or piece.dtype != np.float32:
                raise ValueError(f"{piece.dtype} {piece.shape}")
            return piece
        except (OSError, ValueError, EOFError) as error:
            path.unlink(missing_ok=True)
            raise self._error(
                f"a damaged piece, {path.name}", "whole pieces", "run the same command again to draw it anew"
            ) from error

    def _root_attrs(self, missing: Mapping[str, list]) -> dict:
        made = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} labkit {labkit.__version__}: assembled from finished members"
        history = "\n".join(filter(None, [str(self.attrs.get("history", "")), made]))
        attrs = {name: value for name, value in self.attrs.items() if name != "crs"}
        if self._crs is not None:
            attrs["coordinates"] = "crs"  # to xarray no field then: CorrDiff's score_samples.py scores all that are
        attrs |= {"Conventions": "CF-1.11", "history": history, "seeds": self.seeds}
        absent = [f"{group}: time {t} member {m}" for group, keys in missing.items() for t, m in keys]
        return attrs | ({"missing_members": "; ".join(absent)} if absent else {})

    def _error(self, found: str, expected: str, todo: str) -> DataError:
        return DataError(f"output {self.path.name}", found=found, expected=expected, todo=todo)


def _piece(group: str, time: int, member: int) -> str:
    return f"{group}-t{time:06d}-m{member:05d}.npy"


def _piece_bytes(shape: tuple[int, ...]) -> int:
    """Size of a whole `.npy` file of float32."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.tell() + 4 * math.prod(shape)


def _time_blocks(array: xr.DataArray) -> Iterator[slice]:
    """Runs of times along the array's own chunks, so that no chunk is computed twice; single times without chunks."""
    lengths = array.chunksizes.get("time") or (1,) * array.sizes["time"]
    stops = np.cumsum(lengths)
    yield from (slice(int(stop - length), int(stop)) for stop, length in zip(stops, lengths, strict=True))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put_in_place(made: Path, path: Path) -> None:
    """Rename onto the target; a Zarr folder that is in the way is first moved aside, since only files are replaced."""
    for file in made.rglob("*") if made.is_dir() else [made]:
        if file.is_file():
            sync(file)
    if path.is_dir():
        aside = made.with_name("replaced")
        _remove(aside)
        os.replace(path, aside)
    os.replace(made, path)
