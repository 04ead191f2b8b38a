"""Down to which wavelength a model is resolved: where its spectrum leaves the truth's, and whether the times can tell.

The long waves of a field are few, so that the ratio of two spectra strays there whatever the model; how sure it is says
`bootstrap.interval` of the two means over time.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

LASTING = 3  # annuli for which a ratio must be outside to have left


def effective_resolution(
    ratio: xr.DataArray, bounds: xr.DataArray | None = None, *, tolerance: float = 0.2
) -> xr.DataArray:
    """Wavelength (km) at which a spectral ratio (..., wavenumber), followed from the long waves, leaves 1 +- tolerance.

    What is back inside within fewer than LASTING annuli has not left: there are few long waves in a field, and their
    ratio strays. A later return does not count: what is lost at 15 km is not made good by noise at 8. Interpolated in
    the logarithm of the wavenumber; the longest wave where the ratio is outside from there on, NaN where it never is.
    bounds: an interval (bound, wavenumber) of the ratio, as of `bootstrap.interval`; with it the ratio has left only
    where LASTING intervals in a row lie outside.
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
