"""Down to which wavelength a model is resolved: where its spectrum leaves the truth's, and whether the times can tell.

The long waves of a field are few, so that the ratio of two spectra strays there whatever the model. Intervals of the
ratio come from how it varies from time to time, in each annulus and its neighbours.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from labkit.verify.autocorrelation import slow_cosines

LASTING = 3  # annuli for which a ratio must be outside to have left
NEIGHBOURS = 2  # annuli on either side whose scatter is taken together


def effective_resolution(
    ratio: xr.DataArray, bounds: xr.DataArray | None = None, *, tolerance: float = 0.2
) -> xr.DataArray:
    """Wavelength (km) at which a spectral ratio (..., wavenumber), followed from the long waves, leaves 1 +- tolerance.

    What is back inside within fewer than LASTING annuli has not left: there are few long waves in a field, and their
    ratio strays. A later return does not count: what is lost at 15 km is not made good by noise at 8. Interpolated in
    the logarithm of the wavenumber; the longest wave where the ratio is outside from there on, NaN where it never is.
    bounds: an interval (bound, wavenumber) of the ratio, as of `ratio_interval`; with it the ratio has left only where
    LASTING intervals in a row lie outside.
    """
    far = abs(ratio - 1) - tolerance
    sure = (
        far > 0
        if bounds is None
        else (bounds.sel(bound="low") > 1 + tolerance) | (bounds.sel(bound="high") < 1 - tolerance)
    )
    return xr.apply_ufunc(
        _leaving,
        far,
        sure,
        np.log(ratio.wavenumber),
        kwargs={"to_the_end": bounds is None},
        input_core_dims=[["wavenumber"]] * 3,
        vectorize=True,
        dask="parallelized",
        output_dtypes=[float],
    )


def ratio_interval(members: xr.DataArray, truth: xr.DataArray, *, level: float = 0.95) -> xr.DataArray:
    """Interval (bound "low", "high", wavenumber) of the ratio of two mean spectra, from both at each time (time,
    wavenumber); NaN of one time, which does not say how it varies.

    The logarithm of the ratio varies as the mean over times of M / <M> - T / <T>, which are paired. Its variance is
    that of the slowest 0.4 n^(2/3) cosines of the series (see `labkit.verify.autocorrelation`), the larger of the
    annulus' own and the mean of its neighbours', of which three count as independent (Student's t).
    """
    means, n = [a.mean("time") for a in (members, truth)], truth.sizes["time"]
    ratio = means[0] / means[1]
    if n < 2:
        return xr.concat([ratio * np.nan] * 2, xr.IndexVariable("bound", ["low", "high"]))
    waves = slow_cosines(n, "time")
    departure = (members / means[0] - truth / means[1]).drop_vars("time", errors="ignore") / n
    variance = 2 * (xr.dot(waves, departure, dim="time") ** 2).mean("wave")
    pooled = variance.rolling(wavenumber=2 * NEIGHBOURS + 1, center=True, min_periods=1).mean()
    spread = stats.t.ppf((1 + level) / 2, 3 * waves.sizes["wave"]) * np.sqrt(np.maximum(variance, pooled))
    return xr.concat([ratio * np.exp(-spread), ratio * np.exp(spread)], xr.IndexVariable("bound", ["low", "high"]))


def _leaving(excess: np.ndarray, sure: np.ndarray, log_wavenumber: np.ndarray, *, to_the_end: bool) -> float:
    last = len(sure) if to_the_end else max(len(sure) - LASTING + 1, 1)
    i = next((i for i in range(last) if sure[i : i + LASTING].all()), None)
    if i is None:
        return np.nan
    while i > 0 and excess[i - 1] > 0:  # it left where this departure began, though that was not sure yet
        i -= 1
    if i == 0:
        return float(np.exp(-log_wavenumber[0]))
    share = -excess[i - 1] / (excess[i] - excess[i - 1])
    return float(np.exp(-(log_wavenumber[i - 1] + share * (log_wavenumber[i] - log_wavenumber[i - 1]))))
