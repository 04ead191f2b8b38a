"""How well a source knows a storm's place and numbers: CRPS, bias and spread over storms, beside the oracle's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scoringrules
import xarray as xr

from labkit.errors import DataError
from labkit.verify.bootstrap import interval, resampled_means

CENTRE = "centre"  # the place of the storm, km
MEASURES = (CENTRE, "max_wind", "wave_wind", "mean_wind", "rmw", "min_pressure")
SOURCES = ("interpolation", "regression", "mean", "prediction", "oracle")
FIGURES = ("crps", "bias", "spread", "error", "achieved")
POSITIVE = ("spread", "error")
_MOMENTS = ("cases", "crps", "east", "north", "square", "variance")


def storm_scores(
    studies: Sequence[xr.DataTree],
    *,
    measures: Sequence[str] = MEASURES,
    level: float = 0.95,
) -> xr.Dataset:
    """Scores (source, measure) of `cyclones.study` trees against their truth, over all times in which every source has
    the storm: in all members of the ensembles, so that sources are compared on the same cases.

    crps: fair CRPS of ensembles (Ferro 2014), absolute error of single sources, in the measure's unit; of the measure
    "centre" the energy score (Gneiting & Raftery 2007) and the distance, km. bias: mean of the ensemble mean minus the
    truth; of the centre the length of that. spread: root mean variance of the members; error: root mean square of the
    bias-free error of the ensemble mean, which the spread of a calibrated ensemble equals but for (1 + 1/n). achieved:
    share of the way from the input (0) to the oracle (1) in CRPS. cases: number of times (measure,). `crps_interval`
    and so on (bound, source, measure) are intervals over whole storms, which have nothing to do with each other, while
    hours of one storm are alike; NaN for fewer than four storms. NaN where a tree lacks the source.
    """
    found = [_of(studies, measure, level) for measure in measures]
    return xr.concat(found, xr.Variable("measure", list(measures)))


def truth_ranks(studies: Sequence[xr.DataTree], measure: str, *, source: str = "prediction") -> np.ndarray:
    """How many members lie below the truth, of each time (case,) in which truth and all members have the storm."""
    values, truth, _ = _pairs(studies, measure, [source])
    return (values[source][..., 0] < truth[None, :, 0]).sum(axis=0)


def _of(studies: Sequence[xr.DataTree], measure: str, level: float) -> xr.Dataset:
    names = _names(measure)
    sources = [s for s in SOURCES if all(_has(study, s, names) for study in studies)]
    if not studies or not all(_has(study, "truth", names) for study in studies):
        expected, todo = f"{measure} of the truth", "study such trees"
        raise DataError("scores of storms", found="no truth", expected=expected, todo=todo)
    values, truth, storm = _pairs(studies, measure, sources)
    moments = np.full((len(_MOMENTS), len(SOURCES), len(studies)), np.nan)
    for source, members in values.items():
        parts = _moments(members, truth)
        counts = [np.bincount(storm, part, minlength=len(studies)) for part in parts]
        moments[:, SOURCES.index(source)] = counts
    sums = xr.DataArray(moments, {"moment": list(_MOMENTS), "source": list(SOURCES)}, ["moment", "source", "storm"])
    made = _figures(sums.sum("storm", skipna=False)).assign(cases=len(truth))
    drawn = _figures(resampled_means(sums, dim="storm", ordered=False))
    for name in FIGURES:
        made[f"{name}_interval"] = interval(drawn[name], level=level, positive=name in POSITIVE)
    return made


def _names(measure: str) -> tuple[str, ...]:
    return ("x", "y") if measure == CENTRE else (measure,)


def _has(study: xr.DataTree, source: str, names: Sequence[str]) -> bool:
    return source in study.children and all(name in study[source] for name in names)


def _pairs(studies, measure: str, sources: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Values (member, case, part) by source, the truth (case, part) and the number of its storm (case,), of the times
    that all of them have. A place has two parts, a number one."""

    def joined(source: str) -> np.ndarray:
        parts = [[np.atleast_2d(study[source][name].values) for name in _names(measure)] for study in studies]
        return np.concatenate([np.stack(part, axis=-1) for part in parts], axis=1)

    truth, values = joined("truth")[0], {source: joined(source) for source in sources}
    storm = np.repeat(np.arange(len(studies)), [study["truth"][_names(measure)[0]].size for study in studies])
    whole = np.isfinite(truth).all(-1)
    for members in values.values():
        whole &= np.isfinite(members).all(axis=(0, -1))
    return {source: members[:, whole] for source, members in values.items()}, truth[whole], storm[whole]


def _moments(members: np.ndarray, truth: np.ndarray) -> list[np.ndarray]:
    """Of members (member, case, part) and truth (case, part), each (case,): those whose means make the figures."""
    miss = members.mean(axis=0) - truth
    distance = np.sqrt((miss**2).sum(-1))
    crps = distance if len(members) == 1 else _crps(members, truth)
    variance = members.var(axis=0, ddof=1).sum(-1) if len(members) > 1 else np.zeros(len(truth))
    north = miss[:, 1] if miss.shape[1] > 1 else np.zeros(len(truth))
    return [np.ones(len(truth)), crps, miss[:, 0], north, distance**2, variance]


def _crps(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Fair CRPS (case,) of numbers, fair energy score of places."""
    if members.shape[-1] == 1:
        return scoringrules.crps_ensemble(truth[:, 0], members[..., 0], m_axis=0, estimator="fair")
    return scoringrules.es_ensemble(truth, members.swapaxes(0, 1), estimator="fair")


def _figures(sums: xr.DataArray) -> xr.Dataset:
    """The scores (source, ...) that sums or means over cases (moment, source, ...) give."""
    parts = {name: sums.sel(moment=name, drop=True) for name in _MOMENTS}
    mean = {name: part / parts["cases"].where(parts["cases"] > 0) for name, part in parts.items()}
    bias_squared = mean["east"] ** 2 + mean["north"] ** 2
    # A number has no second part: its bias keeps its sign.
    bias = xr.where(mean["north"] == 0, mean["east"], np.sqrt(bias_squared))
    crps = mean["crps"]
    start = crps.sel(source="interpolation")
    return xr.Dataset(
        {
            "crps": crps,
            "bias": bias,
            "spread": np.sqrt(mean["variance"]),
            "error": np.sqrt(np.maximum(mean["square"] - bias_squared, 0)),
            "achieved": (start - crps) / (start - crps.sel(source="oracle")),
        }
    )
