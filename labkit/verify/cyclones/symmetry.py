"""The centre about which a wind is most nearly a vortex of any profile in a uniform flow, by least squares.

Model: z = U + e^(i theta) f(r) (1 + a x + b y), with complex U and a complex f of straight pieces between nodes
(radial and tangential wind of any profile), and a vortex that may be stronger on one side, as over sea beside land. The
centre follows by Gauss-Newton: the field's own change under a small shift is one more column of the fit, so that the
edge of the grid and missing cells do not pull.

All is turned by e^(-i theta) into outward and tangential parts, of which f is the same all around, and many vortices
are fitted at once: what takes the time is arithmetic, not calls.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from labkit.verify.cyclones.filters import batches

NODES = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.1])  # radii of the pieces' ends
WIDTHS = np.diff(NODES)
PIECES = len(WIDTHS)
WINDOW = 2.0  # radii out to which cells count
CELLS = 10.0  # of a radius; finer grids are averaged
ROUNDS = 12
AT_ONCE = 2**15  # cells of a batch: large enough that threads need not wait for each other between calls


def symmetric_centres(
    wind: np.ndarray, known: np.ndarray, spacing: tuple[float, float], field: np.ndarray, row, col, radius_km
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and standard errors (km) of centres (n,) near places row, col (n,) in the fields `field` (n,); NaN
    where the fit finds none within radius_km (n,).

    wind: complex (k, y, x), 0 where not known (k, y, x). The error takes what the model does not explain for noise that
    is new in each cell; eddies of many cells move a centre by more.
    """
    places = zip(field, row, col, radius_km, strict=True)
    cells = [_cells(wind[k], known[k], spacing, *place) for k, *place in places]
    sizes = np.array([len(z) for _, z, _ in cells], int)
    shift, error = np.full(len(cells), np.nan + 0j), np.full(len(cells), np.nan)
    enough = np.flatnonzero(sizes >= 4 * (PIECES + 1))
    for batch in batches(sizes[enough], AT_ONCE):
        part = enough[batch]
        together = _Cells.of([cells[i] for i in part], radius_km[part])
        shift[part], error[part] = _centres(together, 0.02 * min(spacing))
    return row + shift.imag / spacing[0], col + shift.real / spacing[1], error


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells (n, cell) about each of n starts: `x`, `y` (km), the wind along these, the root of their weight (0 for what
    only fills up), how many there are (n,), and the vortex's radius (n,) in km."""

    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    root: np.ndarray
    count: np.ndarray
    radius_km: np.ndarray

    @classmethod
    def of(cls, cells: list[tuple[np.ndarray, np.ndarray, np.ndarray]], radius_km: np.ndarray) -> "_Cells":
        count = np.array([len(z) for _, z, _ in cells])
        place, z = np.ones((2, len(cells), count.max()), complex)
        root = np.zeros(z.shape)
        for k, (own_place, own_z, own_weight) in enumerate(cells):
            place[k, : count[k]], z[k, : count[k]], root[k, : count[k]] = own_place, own_z, np.sqrt(own_weight)
        parts = (np.ascontiguousarray(part) for part in (place.real, place.imag, z.real, z.imag))
        return cls(*parts, root, count, np.asarray(radius_km, float))

    def only(self, which: np.ndarray) -> "_Cells":
        return _Cells(*(getattr(self, part.name)[which] for part in fields(self)))


def _centres(cells: _Cells, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Complex km from the start to the centre (n,), and the standard error of that; NaN where it runs away."""
    shift, error = np.full(len(cells.x), np.nan + 0j), np.full(len(cells.x), np.nan)
    active, centre = np.arange(len(cells.x)), np.zeros(len(cells.x), complex)
    f, _, _ = _solved(cells, *_columns(cells, centre, None))
    for again in range(ROUNDS):
        f, step, error[active] = _solved(cells, *_columns(cells, centre, f))
        longest = 0.4 * cells.radius_km
        step *= longest / np.maximum(np.abs(step), longest)
        centre = centre + step
        within = np.abs(centre) <= cells.radius_km
        shift[active] = np.where(within, centre, np.nan)
        error[active[~within]] = np.nan
        more = within & ((np.abs(step) >= tolerance) | (again == 0))
        if not more.any():
            break
        if not more.all():
            active, centre, f, cells = active[more], centre[more], f[more], cells.only(more)
    return shift, error


def _columns(cells: _Cells, centre: np.ndarray, f: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """What is fitted, times the root of the weight: `hats` (n, node, cell), the share of each node but the first, where
    f is 0, and others (n, 2, column, cell) with outward and tangential parts: a flow along x and y; where f (n, 2,
    node) of a first fit is given also that vortex times x and y, and its change when the centre moves by 1 km along x
    and y; the wind."""
    x, y = cells.x - centre.real[:, None], cells.y - centre.imag[:, None]
    x = np.where((x == 0) & (y == 0), 1e-6, x)  # a direction for the cell at the centre
    r = np.sqrt(x * x + y * y)
    cos, sin, radius = x / r, y / r, cells.radius_km[:, None]
    along = (r / radius)[:, None]
    hats = np.clip((along - NODES[:-1, None]) / WIDTHS[:, None], 0, 1)
    hats[:, :-1] -= hats[:, 1:]
    others = np.empty((len(x), 2, 3 if f is None else 7, x.shape[1]))
    outward, turning = others[:, 0].swapaxes(0, 1), others[:, 1].swapaxes(0, 1)
    outward[0], turning[0], outward[1], turning[1] = cos, -sin, sin, cos
    outward[-1], turning[-1] = cos * cells.u + sin * cells.v, cos * cells.v - sin * cells.u
    if f is not None:
        value = (f @ hats).swapaxes(0, 1)
        bends = np.diff(np.diff(f, prepend=0) / WIDTHS, prepend=0, append=0) / cells.radius_km[:, None, None]
        slope = (bends @ (along >= NODES[:, None]).astype(float)).swapaxes(0, 1)
        spin = value / r
        for part, own in zip((outward, turning), value / radius, strict=True):
            part[2], part[3] = x * own, y * own
        outward[4], outward[5] = -slope[0] * cos - spin[1] * sin, spin[1] * cos - slope[0] * sin
        turning[4], turning[5] = spin[0] * sin - slope[1] * cos, -slope[1] * sin - spin[0] * cos
    hats *= cells.root[:, None]
    others *= cells.root[:, None, None]
    return hats, others


def _solved(cells: _Cells, hats: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares of the last column by all others: f (n, 2, node), the last two others as a step (complex), and the
    standard error of that."""
    gram = _gram(hats, others)
    inner, right, size = gram[:, :-1, :-1], gram[:, :-1, -1], gram.shape[-1] - 1
    inner[:, range(size), range(size)] += 1e-9 * np.trace(inner, axis1=1, axis2=2)[:, None] / size  # 0 without cells
    inverse = np.linalg.inv(inner)
    solved = (inverse @ right[:, :, None])[:, :, 0]
    weight = np.square(cells.root).sum(axis=1) / cells.count
    free = np.maximum(1, 2 * cells.count - size) * weight  # where it tells the centre, the weight is about 1
    noise = np.maximum(0, gram[:, -1, -1] - (solved * right).sum(1)) / free
    variance = noise * (inverse[:, -1, -1] + inverse[:, -2, -2])
    f = solved[:, : 2 * PIECES].reshape(-1, 2, PIECES)
    return f, solved[:, -2] + 1j * solved[:, -1], np.sqrt(variance)


def _gram(hats: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Sums over cells of products of all columns: hats outward, hats tangential (these two share no part), others."""
    both = 2 * PIECES
    count = both + others.shape[2]
    gram = np.zeros((len(hats), count, count))
    own = hats @ hats.swapaxes(1, 2)
    for k, start in enumerate((0, PIECES)):
        part = slice(start, start + PIECES)
        gram[:, part, part] = own
        gram[:, part, both:] = hats @ others[:, k].swapaxes(1, 2)
        gram[:, both:, both:] += others[:, k] @ others[:, k].swapaxes(1, 2)
    gram[:, both:, :both] = gram[:, :both, both:].swapaxes(1, 2)
    return gram


def _cells(wind, known, spacing, row: float, col: float, radius_km: float):
    """Places relative to the start (complex km), winds and weights of the known cells about it; cells much smaller than
    the vortex are averaged in blocks."""
    reach = [int(np.ceil(WINDOW * radius_km / d)) for d in spacing]
    part = tuple(slice(max(0, round(c) - n), round(c) + n + 1) for c, n in zip((row, col), reach, strict=True))
    wind, known = wind[part], known[part]
    y = (np.arange(part[0].start, part[0].start + wind.shape[0]) - row) * spacing[0]
    x = (np.arange(part[1].start, part[1].start + wind.shape[1]) - col) * spacing[1]
    place = x[None, :] + 1j * y[:, None]
    block = tuple(max(1, int(radius_km / CELLS / d)) for d in spacing)
    weight = known.astype(np.float64)
    if block != (1, 1):
        starts = [np.arange(0, n, b) for n, b in zip(wind.shape, block, strict=True)]

        def sums(field: np.ndarray) -> np.ndarray:
            return np.add.reduceat(np.add.reduceat(field, starts[0], axis=0), starts[1], axis=1)

        count = sums(weight)
        some = np.maximum(count, 1)
        place, wind, weight = sums(place * weight) / some, sums(wind * weight) / some, count / (block[0] * block[1])
    taper = np.cos(np.pi / 2 * np.minimum(np.abs(place) / (WINDOW * radius_km), 1)) ** 2
    weight = weight * taper
    good = weight > 0.02
    return place[good], wind[good].astype(np.complex128), weight[good]
