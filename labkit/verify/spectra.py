"""Power spectral densities of fields on a regular grid, in physical units: cycles/km, and units^2 km.

Any grid: not square, dx unlike dy, odd sizes; lazy where the input is, float32 where the input is. Cells must not be
missing (see `labkit.verify.autocorrelation` for fields with gaps): a NaN makes its field's spectrum NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from scipy import fft

from labkit.errors import ConfigError, DataError
from labkit.verify.slabs import in_slabs, whole

DIRECTIONS = ("x", "y", "radial")
WINDOWS = (None, "hann", "dct")
DETRENDS = (None, "mean", "plane")


def power_spectrum(
    field: xr.DataArray,
    *,
    dim: str = "x",
    spacing_km: tuple[float, float],
    window: str | None = None,
    detrend: str | None = "mean",
) -> xr.DataArray:
    """One-sided power spectral density along x, along y, or by radial wavenumber, averaged over nothing else.

    The field (..., y, x) becomes (..., y, wavenumber) for dim "x", (..., x, wavenumber) for "y" and (..., wavenumber)
    for "radial"; `wavelength` (km) and `width` (cycles/km, of what a value stands for) are coordinates beside
    `wavenumber` (cycles/km). Units^2 km: `sum(psd * width)` is the variance. spacing_km: (dy, dx).

    window: None, for which that sum is exact along x or y (Parseval); "hann", divided by its mean square, so that the
    sum is right in expectation; "dct", the cosine transform (Denis et al. 2002), exact again and with wavelengths up to
    twice the domain.
    detrend: "mean", "plane" (for one direction: a straight line) or None is taken off first. None leaves the mean to
    the wave of no wavenumber, which is not returned, but spreads it over the first ones under a window.
    Radial: the mean of 2 pi k times the two-dimensional density over the waves of an annulus, at the mean of their k
    (a sum over a width, as in Errico 1985, scatters by how many waves the first annuli happen to hold). White noise is
    2 pi k dx dy from the first annulus on, and a power law of k^-5/3 within 7 %, 1 % from the second. The sum is then
    the variance of the waves inside the circle that the grid resolves in every direction, exact for white noise, within
    a tenth for a steep spectrum; where it must be exact, take the spectra along x or y.
    """
    _choose("direction", dim, DIRECTIONS)
    _choose("window", window, WINDOWS)
    _choose("detrending", detrend, DETRENDS)
    core = ["y", "x"] if dim == "radial" else [dim]
    shape = [field.sizes[name] for name in core]
    if min(shape) < 2:
        cells, todo = " x ".join(map(str, shape)), "look at a larger domain, or along its longer side (direction)"
        raise DataError("spectrum", found=f"{cells} cells", expected="2 or more along each", todo=todo)
    spacing = [spacing_km[name == "x"] for name in core]
    if dim == "radial":
        rings = annuli(shape, spacing, cosine=window == "dct")
        wavenumber, width = rings.wavenumber, rings.width
        function, options = _radial_density, {"rings": rings}
    else:
        wavenumber = np.arange(1, shape[0] if window == "dct" else shape[0] // 2 + 1)
        wavenumber = wavenumber / ((2 if window == "dct" else 1) * shape[0] * spacing[0])
        width = np.full(len(wavenumber), wavenumber[0])
        function, options = _line_density, {"spacing": spacing[0]}
    function = partial(function, window=window, detrend=detrend, **options)
    density = xr.apply_ufunc(
        partial(in_slabs, function, core=len(core)),
        whole(field, core),
        input_core_dims=[core],
        output_core_dims=[["wavenumber"]],
        exclude_dims=set(core),
        dask="parallelized",
        output_dtypes=[np.float32 if field.dtype == np.float32 else np.float64],
        dask_gufunc_kwargs={"output_sizes": {"wavenumber": len(wavenumber)}},
    )
    return on_waves(density, wavenumber, width)


def on_waves(values: xr.DataArray, wavenumber: np.ndarray, width: np.ndarray) -> xr.DataArray:
    """Values (..., wavenumber) with the coordinates of a spectrum."""
    beside = {"wavelength": 1 / wavenumber, "width": width}
    return values.assign_coords(wavenumber=wavenumber, **{name: ("wavenumber", a) for name, a in beside.items()})


def mean_spectrum(field: xr.DataArray, *, over: Sequence[str] | None = None, **options) -> xr.DataArray:
    """`power_spectrum` averaged over `over` (all that is left by default, but the wavenumber); options as there."""
    spectrum = power_spectrum(field, **options)
    names = [d for d in spectrum.dims if d != "wavenumber"] if over is None else [d for d in over if d in spectrum.dims]
    return spectrum.mean(names)


def spectral_ratio(members: xr.DataArray, reference: xr.DataArray, **options) -> xr.DataArray:
    """`mean_spectrum` of `members` over that of `reference`, by wavenumber (cycles/km); 1 is right."""
    return mean_spectrum(members, **options) / mean_spectrum(reference, **options)


def coherence(
    first: xr.DataArray, second: xr.DataArray, *, over: Sequence[str], spacing_km: tuple[float, float]
) -> xr.DataArray:
    """Squared coherence of two fields by radial wavenumber, 0 to 1: |<A B*>|^2 / (<|A|^2> <|B|^2>), means over the
    waves of an annulus and over the dimensions `over`. For n independent waves of strangers it is 1/n."""
    rings = annuli((first.sizes["y"], first.sizes["x"]), spacing_km)
    parts = xr.apply_ufunc(
        partial(in_slabs, partial(_cross_sums, rings=rings), core=2),
        first - first.mean(("y", "x")),
        second - second.mean(("y", "x")),
        input_core_dims=[["y", "x"], ["y", "x"]],
        output_core_dims=[["part", "wavenumber"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"part": 4, "wavenumber": len(rings.wavenumber)}, "allow_rechunk": True},
    ).sum(over)
    real, imaginary, power, other = (parts.isel(part=i) for i in range(4))
    squared = (real**2 + imaginary**2) / (power * other)
    return on_waves(squared, rings.wavenumber, rings.width)


@dataclass(frozen=True)
class Annuli:
    """Annuli of wavenumber. bins: number of the annulus of each wave (y, x), -1 outside; k: the waves' wavenumbers
    (cycles/km); weights: how many waves of the plane each stands for; area of the domain (km^2)."""

    bins: np.ndarray
    k: np.ndarray
    weights: np.ndarray
    area: float

    @property
    def wavenumber(self) -> np.ndarray:
        """Mean of k in each annulus."""
        return self.sums(self.k) / self.sums(np.ones_like(self.k))

    @property
    def width(self) -> np.ndarray:
        """Width of each annulus (cycles/km): its share of the plane over its circumference."""
        return self.sums(np.ones_like(self.k)) / (2 * np.pi * self.wavenumber * self.area)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of (..., y, x) over the waves of each annulus, (..., annulus) float64."""
        inside = self.bins.ravel() >= 0
        numbers, count = self.bins.ravel()[inside], self.bins.max() + 1
        flat = (values * self.weights).reshape(-1, self.bins.size)[:, inside]
        rows = [np.bincount(numbers, row, minlength=count) for row in flat]
        return np.array(rows).reshape(*values.shape[:-2], count)

    def density(self, power: np.ndarray) -> np.ndarray:
        """Radial density (..., annulus) of what each wave (..., y, x) has of the variance."""
        return 2 * np.pi * self.area * self.sums(power * self.k) / self.sums(np.ones_like(self.k))


def annuli(shape: Sequence[int], spacing: Sequence[float], *, cosine: bool = False) -> Annuli:
    """The annuli of the half plane of `rfft2`, or of the plane of the cosine transform.

    They are one step of the coarser axis wide, centred on its multiples, up to the last that lies in the circle
    resolved along both axes; waves that fit the longer side alone have one of their own before these.
    """
    (ny, nx), (dy, dx) = shape, spacing
    if cosine:
        ky, kx, weights = np.arange(ny) / (2 * ny * dy), np.arange(nx) / (2 * nx * dx), np.ones(nx)
    else:
        ky, kx, weights = np.fft.fftfreq(ny, dy), np.fft.rfftfreq(nx, dx), half_plane_weights(shape)
    step = max(abs(ky[1]), kx[1])
    k = np.hypot(ky[:, None], kx[None, :])
    count = int(np.floor(min(0.5 / dy, 0.5 / dx) / step + 1e-9))
    bins = np.floor(k / step + 0.5 - 1e-9).astype(int)
    there = (bins <= count) & (k > 0)
    return Annuli(np.where(there, bins - bins[there].min(), -1), k, weights, ny * dy * nx * dx)


def power_of(waves: np.ndarray) -> np.ndarray:
    """Squared modulus, without the root that `abs` takes."""
    return waves.real**2 + waves.imag**2


def half_plane_weights(shape: Sequence[int]) -> np.ndarray:
    """How many waves of the whole plane a wave of `rfft2` stands for: (x,) of 1 and 2."""
    weights = np.full(shape[-1] // 2 + 1, 2.0)
    weights[0] = 1
    if shape[-1] % 2 == 0:
        weights[-1] = 1
    return weights


def _line_density(values: np.ndarray, *, spacing: float, window: str | None, detrend: str | None) -> np.ndarray:
    n = values.shape[-1]
    values = prepared(values, window, detrend, axes=1)
    if window == "dct":
        return 2 * spacing * fft.dct(values, norm="ortho", axis=-1)[..., 1:] ** 2
    spectrum = power_of(fft.rfft(values, axis=-1)[..., 1:]) * (2 * spacing / n)
    if n % 2 == 0:
        spectrum[..., -1] /= 2  # the Nyquist wave is its own mirror image
    return spectrum


def _radial_density(values: np.ndarray, *, rings: Annuli, window: str | None, detrend: str | None) -> np.ndarray:
    cells = values.shape[-2] * values.shape[-1]
    prepared_values = prepared(values, window, detrend, axes=2)
    if window == "dct":
        power = fft.dctn(prepared_values, norm="ortho", axes=(-2, -1)) ** 2 / cells
    else:
        power = power_of(fft.rfft2(prepared_values)) / cells**2
    return rings.density(power).astype(values.dtype)


def _cross_sums(first: np.ndarray, second: np.ndarray, *, rings: Annuli) -> np.ndarray:
    a, b = fft.rfft2(first), fft.rfft2(second)
    cross = a * b.conj()
    parts = (cross.real, cross.imag, power_of(a), power_of(b))
    return np.stack([rings.sums(part) for part in np.broadcast_arrays(*parts)], -2)


def prepared(values: np.ndarray, window: str | None, detrend: str | None, *, axes: int) -> np.ndarray:
    """Detrended and tapered values; the last `axes` axes are the space."""
    last = tuple(range(-axes, 0))
    values = np.asarray(values)
    if detrend is not None:
        values = values - values.mean(last, keepdims=True, dtype=np.float64).astype(values.dtype)
    if detrend == "plane":
        for axis in last:
            values = values - _slope(values, axis, last)
    if window == "hann":
        for axis in last:
            n = values.shape[axis]
            taper = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
            taper /= np.sqrt(np.mean(taper**2))
            values = values * taper.astype(values.dtype).reshape([n] + [1] * (-axis - 1))
    return values


def _slope(values: np.ndarray, axis: int, last: tuple[int, ...]) -> np.ndarray:
    """The straight line along one axis that fits best in the least squares, the same for all of the other axis."""
    n = values.shape[axis]
    ramp = (np.arange(n) - (n - 1) / 2).astype(values.dtype).reshape([n] + [1] * (-axis - 1))
    slope = (values * ramp).mean(last, keepdims=True) / (ramp**2).mean()
    return slope * ramp


def _choose(what: str, found, options: Sequence) -> None:
    if found not in options:
        names = ", ".join(str(option) for option in options)
        raise ConfigError(f"{what} of a spectrum", found=repr(found), expected=names, todo="choose one of these")
