"""The explorer without its views: selection, runs, cases, sentences, code, files."""

from __future__ import annotations

import re
from io import BytesIO

import explorer_parts as parts
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic_tree import vortex

from apps.explorer import export, sentences
from apps.explorer.app import Explorer
from apps.explorer.code import call_of, code_of, figure_of
from apps.explorer.state import URL_NAMES, ExplorerState
from apps.parts.files import file_name
from apps.parts.models import is_run_folder, run_folders
from apps.parts.presets import find_presets
from apps.parts.runs import FieldStore, Run
from labkit.errors import DataError
from labkit.store.trees import open_tree
from labkit.verify.verdicts import judge

EXTENT = (-128.0, -128.0, 128.0, 128.0)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return parts.library(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run(library) -> Run:
    return library.run("sample")


@pytest.fixture
def state(run) -> ExplorerState:
    state = ExplorerState()
    state.param.run.objects = [run.id]
    state.run = run.id
    state.load(variables=run.variables, n_times=len(run.times), n_members=run.n_members, extent=run.extent)
    state.set_threshold_bounds(0.0, 40.0, 17.2)
    return state


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time", 6),
        ("time", -1),
        ("time", "2"),
        ("member", 5),
        ("variable", "<script>"),
        ("run", "../../etc/passwd"),
        ("percentile", 0),
        ("threshold", 41.0),
        ("threshold", float("nan")),
        ("box", (1.0, 2.0)),
        ("point", (float("nan"), 0.0)),
        ("point", (1e9, 0.0)),
        ("box", (0.0, 0.0, -10.0, 10.0)),
    ],
)
def test_values_that_a_run_cannot_have_are_refused(state, name, value):
    before = getattr(state, name)
    with pytest.raises(ValueError):
        setattr(state, name, value)
    assert getattr(state, name) == before


def test_every_name_in_the_address_is_a_bounded_parameter(state):
    assert set(URL_NAMES) <= set(state.param) and len(set(URL_NAMES.values())) == len(URL_NAMES)


def test_another_run_keeps_what_it_has_too_and_bounds_the_rest(state):
    state.param.update(variable="t2m", time=5, member=4, point=(100.0, 0.0), box=(0.0, 0.0, 50.0, 50.0))
    state.load(variables=["t2m", "tp"], n_times=2, n_members=3, extent=(-50.0, -50.0, 50.0, 50.0))
    assert (state.variable, state.time, state.member, state.box) == ("t2m", 1, 2, None)
    assert state.point == (0.0, 0.0), "a point outside the new grid becomes its centre"
    with pytest.raises(ValueError):
        state.variable = "wind_speed"


def test_a_click_outside_is_brought_to_the_edge_and_gives_up_the_box(state):
    state.select_box(60, 40, -20, -30)
    assert state.box == (-20.0, -30.0, 60.0, 40.0)
    state.select_point(500, -500)
    assert state.point == (128.0, -128.0) and state.box is None
    state.select_box(10, 10, 10, 50)
    assert state.box is None, "a box without an area is no box"


def test_fields_come_from_their_source_time_and_member(run):
    tree = run.tree
    np.testing.assert_array_equal(run.field("prediction", "t2m", 3, 2), tree["prediction"]["t2m"][2, 3])
    np.testing.assert_array_equal(run.field("oracle", "v10", 3, 2), tree["oracle"]["v10"][2, 3])
    np.testing.assert_array_equal(run.field("truth", "u10", 1), tree["truth"]["u10"][1])
    np.testing.assert_allclose(run.field("mean", "t2m", 1), tree["prediction"]["t2m"][:, 1].mean("ensemble"), rtol=1e-6)
    wind = tree["prediction"].isel(ensemble=4, time=2)
    np.testing.assert_allclose(run.field("prediction", "wind_speed", 2, 4), np.hypot(wind.u10, wind.v10), rtol=1e-6)
    assert run.variables[0] == "wind_speed" and run.sources("t2m")[0] == "interpolation"


def test_series_at_a_place_are_the_members_through_time(run):
    place = run.place((28.0, -92.0))
    values = run.series("prediction", "t2m", place, "mean")
    picked = run.tree["prediction"]["t2m"].sel(x=28.0, y=-92.0)
    np.testing.assert_allclose(values, picked, rtol=1e-6)
    box = run.place((0, 0), (-30.0, -30.0, 30.0, 30.0))
    largest = run.tree["truth"]["t2m"].sel(x=slice(-30, 30), y=slice(-30, 30)).max(("x", "y"))
    np.testing.assert_allclose(run.series("truth", "t2m", box, "maximum"), largest)


def test_a_place_without_observations_is_missing_and_not_zero():
    tree = parts.small_tree()
    tree["truth"]["t2m"][:, 16, 16] = np.nan
    run = Run("a", "a", tree, FieldStore())
    one = (slice(16, 17), slice(16, 17))
    assert np.isnan(run.series("truth", "t2m", one, "maximum")).all()
    assert np.isfinite(run.series("truth", "t2m", (slice(16, 18), slice(16, 18)), "mean")).all()


def test_arrays_are_read_once_bounded_and_read_only():
    reads = []
    store = FieldStore(max_bytes=3 * 800)

    def get(key):
        return store.get(key, lambda: reads.append(key) or np.zeros(100))

    for key in (1, 2, 3, 1):
        get(key)
    assert reads == [1, 2, 3] and store.nbytes == 2400
    get(4)
    assert store.nbytes == 2400, "the least recently used is given up"
    get(1)
    assert reads == [1, 2, 3, 4]
    get(2)
    assert reads == [1, 2, 3, 4, 2]
    with pytest.raises(ValueError, match="read-only"):
        get(1)[0] = 1


def test_colour_limits_do_not_change_from_time_to_time(run):
    low, high = run.limits("t2m")
    values = run.tree["truth"]["t2m"].values
    assert low <= np.quantile(values, 0.01) and high >= np.quantile(values, 0.99)
    assert run.limits("u10")[0] == -run.limits("u10")[1]


def test_cases_are_where_the_truth_has_them(run):
    found = {preset.key: preset for preset in find_presets(run)}
    assert set(found) == {"wind", "rain", "cyclone", "front"}
    speed = np.hypot(run.tree["truth"]["u10"], run.tree["truth"]["v10"])
    t, i, j = np.unravel_index(speed.values.argmax(), speed.shape)
    assert (found["wind"].time, found["wind"].point) == (t, (run.x[j], run.y[i]))
    assert found["wind"].found == f"{speed.values.max():.0f} m/s"
    x, y = found["cyclone"].point
    assert found["cyclone"].label == "Typhoon"
    at = vortex(24 * found["cyclone"].time // 6, parts.N * parts.DX_KM)
    assert np.hypot(at[0] - x, at[1] - y) < 25, "at the vortex, not where shear is strong"


def test_a_cyclone_of_the_southern_hemisphere_turns_the_other_way(run):
    mirrored = run.tree.copy()
    for group in ("truth", "prediction"):
        mirrored[group]["v10"] = -mirrored[group]["v10"].isel(y=slice(None, None, -1)).assign_coords(y=run.y)
        mirrored[group]["u10"] = mirrored[group]["u10"].isel(y=slice(None, None, -1)).assign_coords(y=run.y)
    mirrored.coords["lat"] = -mirrored["lat"].isel(y=slice(None, None, -1)).assign_coords(y=run.y)
    south = {p.key: p for p in find_presets(Run("s", "s", mirrored, FieldStore()))}["cyclone"]
    north = {p.key: p for p in find_presets(run)}["cyclone"]
    assert south.time == north.time
    np.testing.assert_allclose((south.point[0], -south.point[1]), north.point, atol=9)


def test_coverage_of_exchangeable_members_is_as_expected(rng):
    draws = rng.normal(size=(10, 200, 200))
    assert judge([(draws[1:], draws[0])]).inside == pytest.approx(8 / 10, abs=0.01)
    truth = np.where(np.arange(200) < 100, np.nan, draws[0])
    assert judge([(draws[1:], truth)]).inside == pytest.approx(8 / 10, abs=0.02)


def test_sentences_say_what_is_there(run, state):
    state.param.update(variable="t2m", time=2, threshold=17.2, point=(28.0, -92.0))
    members = run.tree["prediction"]["t2m"].sel(x=28.0, y=-92.0).isel(time=2).values
    truth = float(run.tree["truth"]["t2m"].sel(x=28.0, y=-92.0).isel(time=2))
    said = sentences.point_sentence(run, state)
    assert f"the truth is {truth:.3g} K" in said and f"{(members < truth).sum()} of 5 members" in said
    assert "x 28, y -92 km" in said and "12 Sep 2021 02:00 UTC" in said
    assert "°N" in said and "°E" in said
    assert "minus the truth" not in sentences.maps_sentence(run, state)


@pytest.mark.parametrize("tab", [view.tab for view in Explorer.tabs_of if view.tab not in ("draw", "about")])
def test_the_code_shown_runs_and_draws_the_same_figure(run, library, state, tab, tmp_path, monkeypatch):
    state.param.update(tab=tab, variable="t2m", time=3, member=2, threshold=20.0)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code_of(run, state, library.path(run.id)), names)  # what a user would do with it
    assert (tmp_path / "explorer.png").stat().st_size > 5000
    mine = figure_of(run, state)
    mine.savefig(BytesIO(), dpi=150)  # as the code did: the layout depends on what was saved before
    buffers = [BytesIO(), BytesIO()]
    for figure, buffer in zip((names["figure"], mine), buffers, strict=True):
        figure.savefig(buffer, format="png", dpi=50)
    assert buffers[0].getvalue() == buffers[1].getvalue()


def test_the_code_quotes_what_it_names(run, state, tmp_path):
    code = code_of(run, state, tmp_path / "a'); import os; os._exit(3) #.nc")
    compile(code, "shown", "exec")
    assert '"' in re.search(r"open_tree\((.*)\)", code).group(1)


def test_limits_of_the_colours_are_part_of_the_call(run, state):
    state.param.update(variable="t2m", scale="standard")
    assert call_of(run, state)[1]["limits"] == (268.0, 308.0)
    state.scale = "case"
    assert "limits" not in call_of(run, state)[1]
    state.param.update(scale="run", show="difference")
    assert "limits" not in call_of(run, state)[1]


def test_csv_holds_every_member_at_the_place(run, state):
    state.param.update(variable="u10", point=(28.0, -92.0))
    text = export.csv(run, state)
    assert text.readline() == "# u10 [m s-1] at x 28 km, y -92 km\n"
    table = pd.read_csv(text)
    assert list(table.columns[:4]) == ["time", "truth", "interpolation", "regression"]
    np.testing.assert_allclose(table["prediction_3"], run.tree["prediction"]["u10"].sel(x=28.0, y=-92.0)[3], rtol=1e-5)
    assert len(table) == 6 and pd.to_datetime(table.time).is_monotonic_increasing


def test_netcdf_of_a_case_opens_as_a_tree(run, state, tmp_path):
    state.time = 4
    path = tmp_path / "case.nc"
    path.write_bytes(export.netcdf(run, state).getvalue())
    tree = open_tree(path)
    assert tree["time"].values == run.times[[4]] and tree["prediction"].sizes["ensemble"] == 5
    np.testing.assert_array_equal(tree["oracle"]["t2m"][:, 0], run.tree["oracle"]["t2m"][:, 4])
    np.testing.assert_array_equal(tree["lat"], run.tree["lat"])


def test_png_is_a_picture_and_file_names_are_harmless(run, state):
    assert export.png(run, state).read(8) == b"\x89PNG\r\n\x1a\n"
    assert file_name("a/../b<c>", "wind_speed", "t0", ending="png") == "a----b-c--wind_speed-t0.png"


def test_runs_are_chosen_by_id_and_unreadable_files_are_told(tmp_path):
    (tmp_path / "broken.nc").write_bytes(b"not a file")
    library = parts.library(tmp_path)
    from apps.parts.library import Library
    from labkit.store.registry import Registry

    both = Library(Registry([tmp_path / "broken.nc", tmp_path / "sample.nc"], bundled=False), models=parts.FakeModels())
    assert list(both.options().values()) == ["sample"] and len(both.problems()) == 1
    for id in ("../sample", str(tmp_path / "sample.nc"), "", "broken.nc\x00"):
        with pytest.raises(DataError):
            library.run(id)
    with pytest.raises(DataError, match="no readable output tree"):
        Library(Registry([tmp_path / "broken.nc"], bundled=False)).options()


def test_run_folders_are_known_by_their_files(tmp_path):
    folder = tmp_path / "mine"
    (folder / "checkpoints").mkdir(parents=True)
    assert not is_run_folder(folder)
    (folder / "config.yaml").write_text("a: 1")
    (folder / "checkpoints" / "diffusion.safetensors").write_bytes(b"")
    assert is_run_folder(folder) and folder in run_folders([folder, folder, tmp_path])
    assert run_folders([folder, folder]).count(folder) == 1


def test_a_tree_with_a_falling_y_axis_is_the_same_world(tmp_path):
    tree = parts.small_tree()
    nodes = {"/": tree.to_dataset().isel(y=slice(None, None, -1))}
    nodes |= {f"/{k}": tree[k].to_dataset(inherit=False).isel(y=slice(None, None, -1)) for k in tree.children}
    run = parts.library(tmp_path, trees={"down": xr.DataTree.from_dict(nodes)}).run("down")
    values = run.series("truth", "t2m", run.place((28.0, -92.0)), "mean")
    np.testing.assert_allclose(values, tree["truth"]["t2m"].sel(x=28.0, y=-92.0))
