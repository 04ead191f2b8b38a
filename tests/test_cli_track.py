"""`labkit track` in the terminal."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from vortices import Vortex, fields

from labkit.cli import main
from labkit.data.public import fetch, present

HOURS = 3


@pytest.fixture(scope="module")
def tree_file(tmp_path_factory):
    """A tree with a storm in truth and two members, over 20 to 26 north."""

    def wind(dy, vmax):
        drawn = [fields(Vortex(-40 + 20.0 * h, dy, vmax=vmax, rmw=40), shape=(80, 80), dx=5.0) for h in range(HOURS)]
        return xr.concat(drawn, "time")[["u10", "v10"]].drop_vars(["x", "y"])

    like = fields(Vortex(), shape=(80, 80), dx=5.0)
    lat = 23 + np.repeat(like.y.values[:, None] / 111.2, 80, 1)
    lon = 121 + np.repeat(like.x.values[None] / 102.4, 80, 0)
    times = np.datetime64("2021-09-11T00", "ns") + np.arange(HOURS) * np.timedelta64(1, "h")
    root = xr.Dataset(
        coords={"time": times, "y": like.y, "x": like.x, "lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    )
    members = xr.concat([wind(5, 36), wind(-5, 40)], "ensemble")
    tree = xr.DataTree.from_dict({"/": root, "/truth": wind(0, 38), "/prediction": members})
    path = tmp_path_factory.mktemp("track") / "storm.nc"
    tree.to_netcdf(path)
    return path


def test_it_prints_a_line_for_each_time_and_writes_what_was_found(tree_file, tmp_path, capsys):
    csv, netcdf = tmp_path / "storm.csv", tmp_path / "storm.nc"
    assert main(["track", str(tree_file), "--csv", str(csv), "--netcdf", str(netcdf)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "truth m/s" in lines[0] and "members with" in lines[0]
    assert [line.split()[:3] for line in lines[1:]] == [["2021-09-11", f"0{h}:00", "38.0"] for h in range(HOURS)]
    table = pd.read_csv(csv)
    assert sorted(table.source.unique()) == ["mean", "prediction", "truth"]
    truth = table[table.source == "truth"]
    np.testing.assert_allclose(truth.x, [-40, -20, 0], atol=1)
    np.testing.assert_allclose(truth.lat, 23, atol=0.02)
    with xr.open_datatree(netcdf) as again:
        assert again["prediction"].tangential.sizes["radius"] > 20


def test_a_best_track_is_followed_and_its_averaging_is_named(tree_file, tmp_path, capsys):
    lines = [
        f"WP, 19, 20210911{h:02d},   , BEST,   0, 230N, {1206 + 2 * h}E,  75,  970, TY,  34, NEQ,  99,  99,  99,  99"
        for h in range(HOURS)
    ]
    best = tmp_path / "bwp192021.dat"
    best.write_text("\n".join(lines) + "\n")
    assert main(["track", str(tree_file), "--best-track", str(best), "--storm", "WP192021"]) == 0
    said = capsys.readouterr().out
    assert "truth off km" in said and "best track m/s" in said
    assert "1-minute means" in said and "38.6" in said  # 75 kt
    assert main(["track", str(tree_file), "--best-track", str(best)]) == 0  # the only one
    assert "1-minute means" in capsys.readouterr().out
    other = "WP, 20, 2021091100,   , BEST,   0, 230N, 1206E,  75,  970, TY,  34, NEQ,  99,  99,  99,  99"
    best.write_text("\n".join([*lines, other]) + "\n")
    assert main(["track", str(tree_file), "--best-track", str(best)]) == 2
    assert "2 storms in bwp192021.dat, expected one storm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--storm", "SOUDELOR"], "--storm without a file"),
        (["--agency", "tokyo"], "--agency without a file"),
        (["--case", "morakot-2009", "--best-track", "b.dat"], "one of the two"),
        (["--csv", "absent/storm.csv"], "make it first"),
        (["--netcdf", "absent/storm.nc"], "make it first"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(tree_file, asked, said, capsys, monkeypatch):
    monkeypatch.setattr("labkit.verify.cyclones.study", lambda *args, **options: pytest.fail("it worked already"))
    assert main(["track", str(tree_file), *asked]) == 2
    assert said in capsys.readouterr().err


def test_a_storm_of_another_time_is_refused(tree_file, tmp_path, capsys):
    best = tmp_path / "bwp011999.dat"
    best.write_text("WP, 01, 1999010100,   , BEST,   0, 230N, 1206E,  75,  970, TY\n")
    assert main(["track", str(tree_file), "--best-track", str(best), "--storm", "WP011999"]) == 1
    said = capsys.readouterr().err
    assert "1999-01-01" in said and "choose the storm of these times" in said


def test_files_that_are_no_storm_are_refused_in_a_sentence(tmp_path, capsys):
    (tmp_path / "broken.nc").write_bytes(b"nothing")
    assert main(["track", str(tmp_path / "broken.nc")]) == 1
    assert main(["track", str(tmp_path / "absent.nc")]) == 1
    said = capsys.readouterr().err
    assert said.count("labkit: ") == 2 and "Traceback" not in said


@pytest.mark.skipif(not present("wrf_katrina_10km"), reason="needs the data set wrf_katrina_10km: set LABKIT_DATA")
def test_model_output_is_tracked_through_its_moving_nest(capsys):
    assert main(["track", str(fetch("wrf_katrina_10km") / "ci_test_file.nc")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert [line.split()[2] for line in lines[1:]] == ["44.2", "47.3", "45.1", "43.6"]


def test_a_storm_of_another_place_is_refused(tree_file, tmp_path, capsys):
    lines = [f"WP, 19, 20210911{h:02d},   , BEST,   0, 430N, 1506E,  75,  970, TY" for h in range(HOURS)]
    best = tmp_path / "bwp192021.dat"
    best.write_text("\n".join(lines) + "\n")
    assert main(["track", str(tree_file), "--best-track", str(best)]) == 1
    said = capsys.readouterr()
    assert "storm of this place" in said.err and "21 to 25 N" in said.err and not said.out


def test_a_file_that_does_not_tell_its_spacing_is_said_to(tree_file, tmp_path, capsys):
    bare = tmp_path / "bare.nc"
    with xr.open_datatree(tree_file) as tree:
        nodes = {name: group.to_dataset(inherit=False) for name, group in tree.children.items()}
        xr.DataTree.from_dict({"/": tree.to_dataset()[["time"]], **nodes}).to_netcdf(bare)
    main(["track", str(bare)])
    assert "a cell is taken for 1 km" in capsys.readouterr().err
    main(["track", str(tree_file)])
    assert "a cell is taken" not in capsys.readouterr().err


def rewritten(tree_file, path, *, times=None, calm=False):
    """The tree at other times, or with a tenth of its wind."""
    with xr.open_datatree(tree_file) as tree:
        nodes = {name: group.to_dataset(inherit=False).load() for name, group in tree.children.items()}
        root = tree.to_dataset().load()
    nodes = {name: group * 0.1 for name, group in nodes.items()} if calm else nodes
    root = root if times is None else root.assign_coords(time=np.asarray(times))
    xr.DataTree.from_dict({"/": root, **nodes}).to_netcdf(path)
    return str(path)


def test_fields_without_a_storm_are_no_mistake(tree_file, tmp_path, capsys):
    calm = rewritten(tree_file, tmp_path / "calm.nc", calm=True)
    assert main(["track", calm, "--csv", str(tmp_path / "storm.csv")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("No storm: no cyclone in truth") and said.out.count("\n") == 1
    assert not (tmp_path / "storm.csv").exists()
    best = tmp_path / "bwp192021.dat"
    best.write_text("WP, 19, 2021091100,   , BEST,   0, 270N, 1206E,  75,  970, TY\n")
    assert main(["track", str(tree_file), "--best-track", str(best)]) == 0
    assert "No storm: none within 200 km of the track" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (["2021091100f00", "2021091100f01", "2021091100f02"], None),
        (["2021-09-11T00:00", "2021-09-11T01:00", "2021-09-11T02:00"], None),
        ([0, 1, 2], "how far apart"),
        (["one", "two", "three"], "how far apart"),
    ],
)
def test_undated_fields_are_followed_where_the_hours_between_are_known(tree_file, tmp_path, capsys, times, said):
    odd = rewritten(tree_file, tmp_path / "odd.nc", times=times)
    code = main(["track", odd])
    shown = capsys.readouterr()
    if said:
        assert code == 1 and said in shown.err and "give the fields dates" in shown.err
    else:
        assert code == 0 and [line.split()[:3] for line in shown.out.splitlines()[1:]] == [
            ["2021-09-11", f"0{h}:00", "38.0"] for h in range(HOURS)
        ]
    best = tmp_path / "bwp192021.dat"
    best.write_text("WP, 19, 2021091100,   , BEST,   0, 230N, 1206E,  75,  970, TY\n")
    assert main(["track", odd, "--best-track", str(best)]) == (1 if said else 0)
    assert ("give the fields" in capsys.readouterr().err) == bool(said)


def test_rows_of_a_best_track_that_cannot_be_read_are_said(tree_file, tmp_path, capsys):
    lines = [f"WP, 19, 20210911{h:02d},   , BEST,   0, 230N, {1206 + 2 * h}E,  75,  970, TY" for h in range(HOURS)]
    best = tmp_path / "bwp192021.dat"
    best.write_text("\n".join([*lines, "WP, 19, 2021091103,   , BEST,   0, 0, 0,  75,  970, TY"]) + "\n")
    assert main(["track", str(tree_file), "--best-track", str(best)]) == 0
    assert "bwp192021.dat: 1 row that cannot be read left out: line 4" in capsys.readouterr().err


def test_tracks_of_a_model_have_winds_of_an_unknown_averaging(tree_file, tmp_path, capsys):
    nodes = [f"\t1\t1\t{120.6 + 0.2 * h}\t23.0\t9.7e+04\t38.0\t2021\t9\t11\t{h}" for h in range(HOURS)]
    best = tmp_path / "nodes.txt"
    best.write_text("\n".join(["start\t3\t2021\t9\t11\t0", *nodes]) + "\n")
    assert main(["track", str(tree_file), "--best-track", str(best), "--columns", "lon,lat,slp,wind"]) == 0
    said = capsys.readouterr()
    assert (
        "winds averaged over an unknown time" in said.out and "38.0" in said.out and "Columns are taken" not in said.err
    )
