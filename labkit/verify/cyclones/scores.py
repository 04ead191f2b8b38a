"""How well a source knows a storm's numbers: CRPS, bias and spread over storms and hours, beside the oracle's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scoringrules
import xarray as xr

from labkit.errors import DataError

MEASURES = ("max_wind", "wave_wind", "mean_wind", "rmw", "min_pressure")
SOURCES = ("interpolation", "regression", "mean", "prediction", "oracle")


def storm_scores(studies: Sequence[xr.DataTree], *, measures: Sequence[str] = MEASURES) -> xr.Dataset:
    """Scores (source, measure) of `cyclones.study` trees against their truth, over all times in which every source has
    the storm: in all members of the ensembles, so that sources are compared on the same cases.

    crps: fair CRPS of ensembles (Ferro 2014), absolute error of single sources, in the measure's unit; bias: mean of
    the ensemble mean minus the truth; spread: root mean variance of the members; error: root mean square of the bias-
    free error of the ensemble mean, which the spread of a calibrated ensemble equals but for (1 + 1/n); achieved: share
    of the way from the input (0) to the oracle (1) in CRPS; cases: number of times. NaN where a tree lacks the source.
    """
    found = [_of(studies, measure) for measure in measures]
    return xr.concat(found, xr.Variable("measure", list(measures)))


def truth_ranks(studies: Sequence[xr.DataTree], measure: str, *, source: str = "prediction") -> np.ndarray:
    """How many members lie below the truth, of each time (case,) in which truth and all members have the storm."""
    members, truth = _pairs(studies, measure, [source])
    return (members[source] < truth[None]).sum(axis=0)


def _of(studies: Sequence[xr.DataTree], measure: str) -> xr.Dataset:
    sources = [s for s in SOURCES if all(s in study.children and measure in study[s] for study in studies)]
    if not studies or not all("truth" in study.children and measure in study["truth"] for study in studies):
        raise DataError(
            "scores of storms", found="no truth", expected=f"{measure} of the truth", todo="study such trees"
        )
    values, truth = _pairs(studies, measure, sources)
    lines = {source: _line(members, truth) for source, members in values.items()}
    nothing = {name: np.nan for name in ("crps", "bias", "spread", "error")}
    data = {name: ("source", [lines.get(s, nothing)[name] for s in SOURCES]) for name in nothing}
    made = xr.Dataset(data, {"source": list(SOURCES)}).assign(cases=len(truth))
    crps = made.crps
    gap = crps.sel(source="interpolation") - crps.sel(source="oracle")
    return made.assign(achieved=(crps.sel(source="interpolation") - crps) / gap)


def _pairs(studies, measure: str, sources: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Values (member, case) by source and the truth (case,), of the times that all of them have."""
    truth = np.concatenate([study["truth"][measure].values for study in studies])
    values = {
        s: np.concatenate([np.atleast_2d(study[s][measure].values) for study in studies], axis=1) for s in sources
    }
    whole = np.isfinite(truth)
    for members in values.values():
        whole &= np.isfinite(members).all(axis=0)
    return {source: members[:, whole] for source, members in values.items()}, truth[whole]


def _line(members: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    miss = members.mean(axis=0) - truth
    if len(members) == 1:
        return {"crps": float(np.abs(miss).mean()), "bias": float(miss.mean()), "spread": 0.0, "error": _rms(miss)}
    crps = scoringrules.crps_ensemble(truth, members, m_axis=0, estimator="fair")
    spread = float(np.sqrt(members.var(axis=0, ddof=1).mean()))
    return {"crps": float(crps.mean()), "bias": float(miss.mean()), "spread": spread, "error": _rms(miss - miss.mean())}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
