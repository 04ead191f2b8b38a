"""Drawing members of a model and writing them, with truth and rivals, to an output tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

import labkit
from labkit.data.batches import load
from labkit.data.pairs import Pairs
from labkit.data.regrid import upsample
from labkit.errors import Cancelled, DataError
from labkit.grid import COARSENING
from labkit.recipes.model import Model, default_batch
from labkit.recipes.patching import Prepared
from labkit.sampling import Cancel, Request, Schedule, draw, noise_seed
from labkit.store.tree_writer import TreeWriter

OnMember = Callable[[int, int, np.ndarray], None]
Progress = Callable[[int, int], None]
ORACLE_SEED = 1_000_000  # oracle members never share the seed of a drawn one


def draw_cases(
    model: Model,
    pairs: Pairs,
    times: Sequence[int],
    seeds: Sequence[int],
    *,
    schedule: Schedule,
    wanted: Sequence[tuple[int, int]] | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Members as (position in `times`, member, fields (channel, y, x) in native units), as they are finished; where a
    model has no denoiser each is the mean.

    `wanted` picks some (position, member) of them; by default all are drawn, in order of time. `batch_size` is what the
    network is given at once: domains, or patches of them where the model draws these.
    """
    wanted = [(t, k) for t in range(len(times)) for k in range(len(seeds))] if wanted is None else list(wanted)
    stamps = pairs.target.time.values
    requests = [
        Request(t, k, noise_seed(seeds[k], stamps[times[t]], _repeats_before(stamps, times[t]))) for t, k in wanted
    ]
    kept = int(np.clip(2**22 // np.prod(pairs.shape), 2, 64))
    prepared = lru_cache(maxsize=kept)(lambda t: _prepare(model, pairs, times[t]))
    size = batch_size or default_batch(model, pairs.shape)

    if not model.generative:
        yield from ((t, k, model.physical(prepared(t).mean[0].cpu())) for t, k in wanted)
        return

    def bind(cases: list[int]):
        ready = {case: prepared(case) for case in sorted(set(cases))}
        return model.denoiser([ready[case] for case in cases], batch_size=size)

    fields = draw(
        bind,
        requests,
        shape=(len(model.channels.target), *pairs.shape),
        schedule=schedule,
        batch_size=model.patching.members_at_once(pairs.shape, size),
        device=model.hardware.device,
        progress=progress,
        cancel=cancel,
    )
    for request, residual in fields:
        yield request.case, request.member, model.member(prepared(request.case), residual)


def _prepare(model: Model, pairs: Pairs, index: int) -> Prepared:
    return model.prepared(load(pairs, [index], model.statistics))


def _repeats_before(stamps: np.ndarray, index: int) -> int:
    return int((stamps[:index] == stamps[index]).sum())


def sample(
    model: Model,
    pairs: Pairs,
    path: str | Path,
    *,
    times: Sequence[int],
    seeds: Sequence[int],
    solver: str | None = None,
    num_steps: int | None = None,
    with_oracle: bool = False,
    batch_size: int | None = None,
    digits: dict[str, int] | None = None,
    on_member: OnMember | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Path:
    """Draw members of some cases into an output tree (.nc or .zarr) and return its path.

    times: positions in `pairs`; seeds: one for each member. Members are kept as they finish; the same call goes on
    after a kill. A member that is not finite is recorded and never written, and the call ends with a DataError.
    Raises CheckpointError where the pairs do not fit the model, and Cancelled when `cancel()` says so.
    """
    model.check(pairs)
    times = _checked_times(pairs, times)
    changes = {"solver": solver, "num_steps": num_steps}
    base = model.config.sampler.model_dump()
    schedule = Schedule(**(base | {name: value for name, value in changes.items() if value is not None}))
    with _writer(model, pairs, path, times, seeds, schedule, with_oracle) as writer:
        _write_regression(model, pairs, times, writer)
        _refuse_rejected(writer, ("regression",))
        if with_oracle:
            _write_oracle(pairs, times, seeds, writer, cancel)
        drawn = draw_cases(
            model,
            pairs,
            times,
            seeds,
            schedule=schedule,
            wanted=writer.missing(),
            batch_size=batch_size,
            progress=progress,
            cancel=cancel,
        )
        for time_index, member, fields in drawn:
            if writer.write_member(time_index, member, fields) and on_member is not None:
                on_member(time_index, member, fields)
        _refuse_rejected(writer, ("prediction", "oracle"))
        return writer.finish(digits=digits)


def _refuse_rejected(writer: TreeWriter, groups: Sequence[str]) -> None:
    """Raise DataError where fields of these groups were not finite."""
    rejected = [note for note in writer.manifest["rejected"] if note["group"] in groups]
    if rejected:
        first = rejected[0]
        raise DataError(
            f"output {writer.path.name}",
            found=f"{len(rejected)} fields not written, the first being {first['group']} member {first['member']} of "
            f"time {first['time_index']}: {first['reason']}",
            expected="finite numbers",
            todo="draw with --precision fp32 or other noise levels; the finished members are kept",
        )


def _checked_times(pairs: Pairs, times: Sequence[int]) -> list[int]:
    bad = [index for index in times if not 0 <= index < len(pairs)]
    if bad or not len(times):
        raise DataError(
            "times to draw",
            found=str(bad[0]) if bad else "none",
            expected=f"positions from 0 to {len(pairs) - 1}",
            todo="choose times that the data set has",
        )
    return [int(index) for index in times]


def _writer(model: Model, pairs: Pairs, path, times, seeds, schedule: Schedule, with_oracle: bool) -> TreeWriter:
    if with_oracle and pairs.oracle is None:
        raise DataError(
            "oracle",
            found="a data set without a known law",
            expected="the idealised atmosphere",
            todo="draw without it",
        )
    attrs = {
        "source": str(pairs.attrs.get("source", "")),
        COARSENING: list(pairs.factor),
        "title": f"{type(model).__name__} members of {pairs.attrs.get('source', 'a data set')}",
        "labkit_version": labkit.__version__,
        "sampler": f"{schedule.solver}, {schedule.num_steps} steps",
        "sigma_max": schedule.sigma_max,
        "sigma_min": schedule.sigma_min,
        "precision": "bf16" if model.hardware.bf16 else "fp32",
        **model.describe(),
    }
    if "crs_wkt" in pairs.attrs:
        attrs["crs"] = pairs.attrs["crs_wkt"]
    return TreeWriter(
        path,
        truth=pairs.target.isel(time=times),
        inputs=_inputs_on_grid(pairs, times),
        interpolation=pairs.interpolated(times),
        seeds=seeds,
        attrs=attrs,
        with_oracle=with_oracle,
    )


def _inputs_on_grid(pairs: Pairs, times: list[int]) -> xr.DataArray:
    """Coarse input and invariants on the fine grid, (time, channel, y, x), as the CorrDiff writer has them."""
    coarse = upsample(np.asarray(pairs.input.isel(time=times).data), pairs.factor)
    static = pairs.invariant.isel(time=times) if "time" in pairs.invariant.dims else pairs.invariant
    static = np.broadcast_to(np.asarray(static.data), (len(times), *static.shape[-3:]))
    like = pairs.target.isel(time=times, channel=0, drop=True)
    names = [*pairs.input_channels, *pairs.invariant_channels]
    values = np.concatenate([coarse, static], axis=1).astype(np.float32)
    coords = {name: coord for name, coord in like.coords.items() if name in ("time", "y", "x", "lat", "lon")}
    return xr.DataArray(values, dims=("time", "channel", "y", "x"), coords={**coords, "channel": names})


def _write_regression(model: Model, pairs: Pairs, times: list[int], writer: TreeWriter) -> None:
    for time_index, _ in writer.missing("regression"):
        mean = _prepare(model, pairs, times[time_index]).mean[0].cpu()
        writer.write_regression(time_index, model.physical(mean))


def _write_oracle(pairs: Pairs, times: list[int], seeds, writer: TreeWriter, cancel: Cancel | None) -> None:
    missing: dict[int, list[int]] = {}
    for time_index, member in writer.missing("oracle"):
        missing.setdefault(time_index, []).append(member)
    for time_index, members in missing.items():
        if cancel is not None and cancel():
            raise Cancelled("drawing was cancelled; finished members are kept")
        draws = pairs.oracle(pairs, times[time_index], [ORACLE_SEED + int(seeds[k]) for k in members])
        for member, fields in zip(members, draws, strict=True):
            writer.write_member(time_index, member, fields, group="oracle")
