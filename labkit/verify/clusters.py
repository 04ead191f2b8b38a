"""Which members resemble each other, and which of them stands for the others: xarray in, xarray out.

The fields may be larger than memory: what is computed of them is one number for each pair of members.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import pearson3, skew

from labkit.errors import DataError
from labkit.verify.common import MEMBER

MOST = 6


def clusters(members: xr.DataArray, *, number: int | None = None, explained: float = 0.9) -> xr.Dataset:
    """Groups of like members: Ward's linkage of their leading principal components.

    members: (ensemble, ...) in any order; all that is not the member is one long vector of it (select one time before,
    or cluster whole developments), in which a NaN of any member leaves that element out. As many components are kept
    as hold the share `explained` of the variance. number: of clusters, 1 to the number of members; by default that of
    2 to 6 with the greatest mean silhouette (Rousseeuw 1987), or 1 where all members are the same.

    Returns `cluster_of` (ensemble), clusters being numbered from 1, the largest first; and by `cluster` its `size` and
    `medoid`, the member with the least sum of distances to the others of its cluster, by its name in "ensemble".
    Attributes: `components` kept, the share `explained` by them, the mean `silhouette`, -1 to 1 (0 for one cluster),
    and `chance`, what members of one kind exceed in one case of fifty, 1 for one cluster (`silhouette_by_chance`).
    """
    n = members.sizes[MEMBER]
    if number is not None and not 1 <= number <= n:
        raise DataError("clusters", found=f"{number}", expected=f"1 to {n}, the members", todo="choose fewer")
    if MEMBER not in members.coords:
        members = members.assign_coords({MEMBER: np.arange(n)})
    points, share = principal_components(members, explained=explained)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    labels, width = _divide(points, distances, number)
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    groups.sort(key=lambda group: (-group.size, group[0]))
    cluster = np.empty(n, int)
    for k, group in enumerate(groups, 1):
        cluster[group] = k
    medoids = [group[distances[np.ix_(group, group)].sum(axis=1).argmin()] for group in groups]
    names = members[MEMBER].values
    return xr.Dataset(
        {"size": ("cluster", [group.size for group in groups]), "medoid": ("cluster", names[medoids])},
        coords={"cluster": np.arange(1, len(groups) + 1)},
        attrs={
            "components": points.shape[1],
            "explained": share,
            "silhouette": width,
            "chance": silhouette_by_chance(points, len(groups)),
        },
    ).merge({"cluster_of": (MEMBER, cluster, {"long_name": "cluster of the member"}), MEMBER: names})


def principal_components(members: xr.DataArray, *, explained: float) -> tuple[np.ndarray, float]:
    """Coordinates (member, component) of the members about their mean along the directions of greatest variance.

    As few components as hold the share `explained` (0 to 1) of it, at least one; also that share. Their distances are
    those of the members, in the unit of the variable times the root of the number of elements.
    """
    known = members.notnull().all(MEMBER)
    # Less one member rather than the mean: what is left is as small, and numbers like 101325 Pa keep their digits.
    departures = (members - members.isel({MEMBER: 0}, drop=True)).where(known, 0.0).astype(np.float64)
    others = departures.drop_vars(MEMBER).rename({MEMBER: "other"})
    products = xr.dot(departures.drop_vars(MEMBER), others).transpose(MEMBER, "other").values
    centre = np.eye(len(products)) - 1 / len(products)
    variance, directions = np.linalg.eigh(centre @ products @ centre)
    variance, directions = np.maximum(variance[::-1], 0), directions[:, ::-1]
    total = variance.sum()
    if total <= 1e-12 * max(np.trace(products), np.finfo(float).tiny):
        return np.zeros((len(products), 1)), 1.0
    shares = np.cumsum(variance) / total
    kept = min(int(np.searchsorted(shares, explained * (1 - 1e-12))) + 1, len(shares))
    return directions[:, :kept] * np.sqrt(variance[:kept]), float(shares[kept - 1])


def silhouette(distances: np.ndarray, labels: np.ndarray) -> float:
    """Mean over points of (b - a) / max(a, b): a their mean distance to their own cluster, b to the nearest other one.

    distances: (point, point). 0 for points alone in their cluster; 0 where there is but one cluster.
    """
    names, own = np.unique(labels, return_inverse=True)
    if names.size < 2:
        return 0.0
    inside = own[:, None] == np.arange(names.size)
    sums, sizes = distances @ inside, inside.sum(axis=0)
    a = np.take_along_axis(sums, own[:, None], 1)[:, 0] / np.maximum(sizes[own] - 1, 1)
    b = np.where(inside, np.inf, sums / sizes).min(axis=1)
    larger = np.maximum(a, b)
    width = np.divide(b - a, larger, out=np.zeros_like(a), where=larger > 0)
    return float(np.where(sizes[own] > 1, width, 0.0).mean())


def silhouette_by_chance(points: np.ndarray, number: int, *, draws: int = 100, level: float = 0.98) -> float:
    """The mean silhouette that so many groups of Ward's keep below with probability `level` where there are none.

    Of draws of as many points (point, component) of one law without clusters, as Liu et al. (2008) do: few members, or
    one leading component, make the groups of any continuum look apart. Their law is Pearson's third, a shifted gamma
    with the variance of each component and twice its skewness: amounts of rain trail off to one side, by more than few
    members show.
    """
    if number < 2 or len(points) <= number:
        return 1.0
    rng, shape = np.random.default_rng(0), (draws, len(points))
    skewness = 2 * skew(points, axis=0)
    laws = [pearson3(g, scale=s) for g, s in zip(skewness, points.std(axis=0, ddof=1), strict=True)]
    drawn = np.stack([law.rvs(shape, random_state=rng) for law in laws], axis=-1)
    widths = []
    for one in drawn:
        distances = np.linalg.norm(one[:, None] - one, axis=-1)
        widths.append(silhouette(distances, fcluster(linkage(one, "ward"), number, "maxclust")))
    return float(np.quantile(widths, level))


def _divide(points: np.ndarray, distances: np.ndarray, number: int | None) -> tuple[np.ndarray, float]:
    """Labels of the points in so many clusters, or in the best number of them, and their mean silhouette."""
    n = len(points)
    if n == 1 or number == 1 or not distances.any():
        return np.ones(n, int), 0.0
    tree = linkage(points, "ward")
    numbers = range(2, min(MOST, n) + 1) if number is None else [number]
    divisions = [fcluster(tree, k, "maxclust") for k in numbers]
    widths = [silhouette(distances, labels) for labels in divisions]
    best = int(np.argmax(widths))
    return divisions[best], widths[best]
