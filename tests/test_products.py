"""Products of an ensemble against closed forms and laws."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

from labkit.errors import DataError
from labkit.verify import products
from labkit.verify.clusters import clusters, principal_components, silhouette

DX, DY = 2.0, 3.0


def members_of(values: np.ndarray, dims=("ensemble", "y", "x")) -> xr.DataArray:
    array = xr.DataArray(values, dims=dims, name="tp", attrs={"units": "mm h-1"})
    coords = {"y": np.arange(array.sizes["y"]) * DY, "x": np.arange(array.sizes["x"]) * DX}
    if "ensemble" in dims:
        coords["ensemble"] = np.arange(array.sizes["ensemble"]) + 10
    return array.assign_coords(coords)


@pytest.fixture
def rain(rng) -> xr.DataArray:
    """Skewed and intermittent (ensemble 5, time 3, y 12, x 17), float32."""
    return members_of(
        np.maximum(rng.gamma(0.5, 4.0, (5, 3, 12, 17)) - 1, 0).astype(np.float32), ("ensemble", "time", "y", "x")
    )


EVERY = {
    "maximum": products.maximum,
    "minimum": products.minimum,
    "percentile": lambda m: products.percentile(m, 70),
    "exceedance": lambda m: products.exceedance_probability(m, 1.0),
    "neighbourhood": lambda m: products.neighbourhood_probability(m, 1.0, radius_km=5),
    "neighbourhood maximum": lambda m: products.neighbourhood_maximum_probability(m, 1.0, radius_km=5),
    "matched": products.probability_matched_mean,
    "locally matched": lambda m: products.local_probability_matched_mean(m, patch_km=9, halo_km=4),
    "area": lambda m: products.severity(m, by="area", threshold=1.0),
    "extremes": lambda m: products.extreme_members(m, by="mean"),
}


@pytest.mark.parametrize("product", EVERY)
def test_neither_chunks_nor_the_order_of_dimensions_change_anything(rain, product):
    make, chunks = EVERY[product], {"ensemble": 2, "time": 1, "y": 5, "x": 6}
    expected = make(rain)
    assert "ensemble" not in expected.dims or product == "area"
    for other in (rain.transpose("x", "time", "ensemble", "y"), rain.chunk(chunks)):
        xr.testing.assert_allclose(make(other).transpose(*expected.dims).compute(), expected, rtol=1e-6)
    one = make(rain.isel(time=1))
    np.testing.assert_allclose(one, expected.isel(time=1).transpose(*one.dims), rtol=1e-6)


@pytest.mark.parametrize("product", [name for name in EVERY if name != "extremes"])
def test_lazy_stays_lazy(rain, product):
    def refuse(*args, **options):
        raise AssertionError("computed too early")

    with dask.config.set(scheduler=refuse):
        assert EVERY[product](rain.chunk({"time": 1})).chunks is not None


@pytest.mark.parametrize("product", [name for name in EVERY if name not in ("area", "extremes")])
def test_a_cell_that_one_member_lacks_is_missing_and_changes_no_pool(rain, product):
    holed = rain.where((rain.ensemble != 12) | (rain.x != 4) | (rain.y != 9))
    expected = np.zeros((3, 12, 17), bool)
    expected[:, 3, 2] = True
    np.testing.assert_array_equal(EVERY[product](holed).isnull().transpose("time", "y", "x"), expected)


def test_percentiles_of_those_known_are_those_of_the_other_members_alone(rng):
    values = rng.standard_normal((7, 4, 3))
    values[2:5, 1], values[:, 2] = np.nan, np.nan
    found = products.known_percentiles(values, (5, 50, 95))
    np.testing.assert_allclose(found[:, 0], np.percentile(values[:, 0], (5, 50, 95), axis=0))
    np.testing.assert_allclose(found[:, 1], np.percentile(values[[0, 1, 5, 6], 1], (5, 50, 95), axis=0))
    assert np.isnan(found[:, 2]).all() and np.isfinite(found[:, 3]).all()


def test_the_envelope_holds_every_member(rain):
    low, high = products.minimum(rain), products.maximum(rain)
    assert ((low <= rain) & (rain <= high)).all() and (
        (rain == high).any("ensemble") & (rain == low).any("ensemble")
    ).all()
    xr.testing.assert_allclose(products.percentile(rain, 0), low)
    xr.testing.assert_allclose(products.percentile(rain, 100), high)
    np.testing.assert_allclose(products.percentile(rain, 50), np.median(rain, axis=0))
    with pytest.raises(DataError, match="0 to 100"):
        products.percentile(rain, 101)


def test_the_matched_mean_has_the_members_amounts_and_the_means_pattern(rain):
    field, matched = rain.isel(time=0), products.probability_matched_mean(rain.isel(time=0))
    pooled = np.sort(field.values.ravel())
    cells, n = matched.size, field.sizes["ensemble"]
    for amount in np.quantile(pooled, [0.3, 0.5, 0.9, 0.99, 1]):
        assert abs((matched <= amount).mean() - (pooled <= amount).mean()) <= 1 / cells, "one distribution"
    assert matched.dtype == np.float32 and matched.attrs == field.attrs
    np.testing.assert_allclose(matched.mean(), field.mean(), rtol=1e-6)
    assert (np.diff(matched.values.ravel()[np.argsort(field.mean("ensemble").values.ravel())]) >= 0).all()
    assert matched.max() > 1.5 * field.mean("ensemble").max(), "peaks are not averaged away"
    assert matched.max() == pytest.approx(pooled[-n:].mean(), rel=1e-6)


def test_the_matched_mean_of_one_member_or_of_equal_members_is_that_member(rain):
    field = rain.isel(time=0)
    np.testing.assert_allclose(products.probability_matched_mean(field.isel(ensemble=[2])), field[2])
    same = xr.concat([field[2]] * 4, "ensemble")
    np.testing.assert_allclose(products.probability_matched_mean(same), field[2], rtol=1e-6)


def test_a_patch_that_is_the_domain_is_matched_as_a_whole(rain):
    whole = products.probability_matched_mean(rain)
    for patch, halo in ((1000, 0), (1000, 50), (6, 1000)):
        local = products.local_probability_matched_mean(rain, patch_km=patch, halo_km=halo)
        np.testing.assert_allclose(local, whole, rtol=1e-6)


def test_each_patch_has_the_amounts_of_its_own_members(rng):
    """Heavy rain in the west and drizzle in the east: matched as a whole, the east would get the west's amounts."""
    values = rng.gamma(1.0, 1.0, (6, 8, 20))
    values[..., :10] *= 100
    field = members_of(values)
    local = products.local_probability_matched_mean(field, patch_km=20, halo_km=0)
    for part in (slice(0, 10), slice(10, 20)):
        pooled = np.sort(values[..., part].ravel()).reshape(-1, 6).mean(1)
        np.testing.assert_allclose(np.sort(local.values[:, part].ravel()), pooled)
    assert local[:, 10:].max() < 15 < local[:, :10].max()
    with pytest.raises(DataError, match="at least a cell"):
        products.local_probability_matched_mean(field, patch_km=0.5)


def test_a_neighbourhood_without_radius_is_the_cell(rain):
    plain = products.exceedance_probability(rain, 1.0)
    np.testing.assert_array_equal(plain, (rain.values > 1).mean(0))
    for radius in (0, 1.9):
        xr.testing.assert_equal(products.neighbourhood_probability(rain, 1.0, radius_km=radius), plain)
        xr.testing.assert_equal(products.neighbourhood_maximum_probability(rain, 1.0, radius_km=radius), plain)


def test_one_wet_cell_of_one_member_spreads_over_the_disc_about_it():
    values = np.zeros((4, 15, 21))
    values[1, 7, 11] = 9.0
    field = members_of(values)
    y, x = (np.arange(15) - 7)[:, None] * DY, (np.arange(21) - 11) * DX
    inside = np.hypot(y, x) <= 6.0
    assert inside.sum() == 19, "two rows each way and three columns: km, not cells"
    mean = products.neighbourhood_probability(field, 1.0, radius_km=6.0)
    np.testing.assert_allclose(mean, np.where(inside, 1 / (4 * 19), 0))
    most = products.neighbourhood_maximum_probability(field, 1.0, radius_km=6.0)
    np.testing.assert_allclose(most, np.where(inside, 0.25, 0))


def test_neighbourhoods_count_as_a_loop_does_even_at_the_edge_and_round_holes(rain):
    field = rain.isel(time=0).where((rain.x > 8) | (rain.y < 18)).transpose("ensemble", "y", "x")
    mean = products.neighbourhood_probability(field, 1.0, radius_km=7.0)
    most = products.neighbourhood_maximum_probability(field, 1.0, radius_km=7.0)
    y, x = np.meshgrid(field.y, field.x, indexing="ij")
    for i, j in ((0, 0), (5, 3), (11, 16), (6, 8)):
        near = (np.hypot(y - y[i, j], x - x[i, j]) <= 7.0) & np.isfinite(field.values[0])
        above = field.values[:, near] > 1
        assert mean.values[i, j] == pytest.approx(above.mean()) and most.values[i, j] == above.any(1).mean()


def test_probabilities_are_in_their_order_and_keep_their_sum(rain):
    plain, mean, most = (
        f(rain, 1.0, **o)
        for f, o in (
            (products.exceedance_probability, {}),
            (products.neighbourhood_probability, {"radius_km": 8}),
            (products.neighbourhood_maximum_probability, {"radius_km": 8}),
        )
    )
    assert (most >= plain).all() and (most >= mean - 1e-12).all() and (mean.std() < plain.std())
    everywhere = products.neighbourhood_probability(rain, 1.0, radius_km=1e4)
    np.testing.assert_allclose(everywhere, np.broadcast_to(plain.mean(("y", "x")).values[:, None, None], (3, 12, 17)))


def test_a_single_field_gives_the_fraction_of_the_fss(rain):
    truth = rain.isel(ensemble=0, drop=True)
    fraction = products.neighbourhood_probability(truth, 1.0, radius_km=5)
    np.testing.assert_allclose(fraction, products.neighbourhood_probability(rain[[0]], 1.0, radius_km=5))


def test_neighbourhoods_need_an_even_grid_in_km_and_a_radius(rain):
    for bad in (rain.drop_vars("x"), rain.assign_coords(x=rain.x**1.2)):
        with pytest.raises(DataError, match="evenly spaced"):
            products.neighbourhood_probability(bad, 1.0, radius_km=5)
    with pytest.raises(DataError, match="0 km or more"):
        products.disc(-1.0, (1.0, 1.0))
    falling = products.neighbourhood_probability(rain.isel(y=slice(None, None, -1)), 1.0, radius_km=7)
    xr.testing.assert_allclose(falling.sortby("y"), products.neighbourhood_probability(rain, 1.0, radius_km=7))


def test_the_extreme_members_are_members_and_nobody_is_more_extreme(rain):
    for by in products.SEVERITIES:
        values = products.severity(rain, by=by, threshold=2.0)
        chosen = products.extreme_members(rain, by=by, threshold=2.0)
        np.testing.assert_array_equal(chosen.severity.sel(extreme="most"), values.max("ensemble"))
        np.testing.assert_array_equal(chosen.severity.sel(extreme="least"), values.min("ensemble"))
        for time in range(3):
            for which in ("least", "most"):
                field = chosen.isel(time=time).sel(extreme=which)
                xr.testing.assert_equal(
                    field.drop_vars(["extreme", "severity"]),
                    rain.isel(time=time).sel(ensemble=int(field.ensemble)),
                )


def test_severity_is_of_the_area_the_mean_or_the_maximum():
    values = np.zeros((2, 4, 5))
    values[0, :2] = 3.0  # half of the area
    values[1, 0, 0] = 100.0
    field = members_of(values)
    np.testing.assert_allclose(products.severity(field, by="area", threshold=1.0), [0.5, 0.05])
    np.testing.assert_allclose(products.severity(field, by="mean"), [1.5, 5.0])
    np.testing.assert_allclose(products.severity(field, by="maximum"), [3.0, 100.0])
    assert products.extreme_members(field, by="area", threshold=1.0).sel(extreme="most").ensemble == 10
    assert products.extreme_members(field, by="maximum").sel(extreme="most").ensemble == 11
    for by, threshold in (("area", None), ("colour", 1.0)):
        with pytest.raises(DataError, match="severity"):
            products.severity(field, by=by, threshold=threshold)


def planted(rng, sizes=(6, 3, 2), noise=0.3) -> tuple[xr.DataArray, np.ndarray]:
    """Members about so many different fields far apart, in a random order, and the field of each."""
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    fields = rng.normal(size=(len(sizes), 10, 12))
    return members_of(1e5 + fields[group] + noise * rng.normal(size=(len(group), 10, 12))), group


def test_planted_clusters_are_found_and_their_number_too(rng):
    members, group = planted(rng)
    for found in (clusters(members), clusters(members, number=3)):
        assert found["size"].values.tolist() == [6, 3, 2], "the largest first"
        np.testing.assert_array_equal(found.cluster_of.values, group + 1)
        assert found.silhouette > 0.4


def test_a_medoid_is_the_member_nearest_to_the_others_of_its_cluster(rng):
    members, group = planted(rng)
    found = clusters(members, number=3, explained=1.0)
    flat = members.values.reshape(11, -1)
    for k in (1, 2, 3):
        own = np.flatnonzero(group == k - 1)
        sums = [np.linalg.norm(flat[own] - flat[i], axis=1).sum() for i in own]
        assert int(found.medoid.sel(cluster=k)) == members.ensemble.values[own[np.argmin(sums)]]


def test_clusters_depend_on_neither_chunks_nor_the_order_of_dimensions(rng):
    members, _ = planted(rng, noise=2.0)
    expected = clusters(members)
    for other in (members.chunk({"ensemble": 4, "y": 3}), members.transpose("x", "ensemble", "y")):
        xr.testing.assert_equal(clusters(other), expected)


def test_components_keep_the_distances_between_members(rng):
    members, _ = planted(rng)
    points, share = principal_components(members, explained=1.0)
    flat = members.values.reshape(11, -1)
    expected = np.linalg.norm(flat[:, None] - flat, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points, axis=-1), expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose((points**2).sum(), ((flat - flat.mean(axis=0)) ** 2).sum())
    assert share == pytest.approx(1.0)
    few, share = principal_components(members, explained=0.5)
    assert few.shape[1] < 5 and share >= 0.5
    np.testing.assert_allclose(few, points[:, : few.shape[1]])


def test_missing_cells_of_any_member_are_left_out_of_all(rng):
    members, group = planted(rng)
    holed = members.copy()
    holed[4, 3, 2:6] = np.nan
    np.testing.assert_array_equal(clusters(holed, number=3).cluster_of, group + 1)


def test_members_that_are_alike_are_one_cluster_and_nonsense_is_refused(rain):
    same = xr.concat([rain[0]] * 4, "ensemble")
    for number in (None, 1, 3):
        found = clusters(same, number=number)
        assert found["size"].values.tolist() == [4] and found.silhouette == 0
    assert clusters(rain[[1]])["medoid"].values.tolist() == [11]
    assert clusters(rain, number=5)["size"].values.tolist() == [1] * 5
    with pytest.raises(DataError, match="1 to 5"):
        clusters(rain, number=6)


def test_the_silhouette_in_closed_form():
    """Points 0, 1 and 10, 12 on a line."""
    x = np.array([0.0, 1.0, 10.0, 12.0])
    labels = np.array([1, 1, 2, 2])
    expected = np.mean([1 - 1 / 11, 1 - 1 / 10, 1 - 2 / 9.5, 1 - 2 / 11.5])
    assert silhouette(abs(x[:, None] - x), labels) == pytest.approx(expected)
    assert silhouette(abs(x[:, None] - x), np.ones(4, int)) == 0.0
