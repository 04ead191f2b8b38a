"""The table of files in docs/files.md: each row's file is made here and its command run."""

import gzip
import shlex
from pathlib import Path

import numpy as np
import pytest
import test_grib_kinds as kinds
import xarray as xr
from test_files import fields
from test_files_times import by_step
from test_intervals import HOURLY, M, netcdf
from test_opening import nowcast
from test_pairing import lambert
from test_radar import random_image, write_pgm
from test_wrf import constant, wrfout
from tiny_grib import grib, rain
from tiny_radar import h5py, scene, write_knmi, write_odim, write_tiff

from labkit.cli import main
from labkit.data.grib import open_grib
from labkit.data.radar import open_radar
from labkit.errors import LabError

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "files.md").read_text()


def rows(head):
    """The cells of the table whose first heading is `head`."""
    lines = TEXT.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |")) + 2
    table = [line for line in lines[start:] if line.startswith("|")]
    until = next((i for i, line in enumerate(lines[start:]) if not line.startswith("|")), len(table))
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[start : start + until]]


def saved(dataset, path, **options):
    dataset.to_netcdf(path, **options)
    return path


def two_bases(folder):
    late = kinds.t2m(6) | {"date": "2020-09-01T06"}
    return grib(
        folder / "lagged.grb2", kinds.t2m(12), kinds.t2m(6, 1), late, kinds.t2m(12, 2) | late | {"stepRange": "12"}
    )


def on_map(folder):
    return kinds.write(folder / "hrrr.grb2", kinds.lambert(250.0 + np.arange(12.0).reshape(3, 4)))


def moved_pole(folder):
    handle = kinds.field(kinds.codes, **kinds.T2M, values=280.0)
    for key, value in ({"gridType": "rotated_ll"} | kinds.GRIDS["rotated_ll"]).items():
        kinds.codes.codes_set(handle, key, value)
    kinds.codes.codes_set_values(handle, 280.0 + np.arange(30.0))
    return kinds.write(folder / "cosmo.grb2", handle)


def members(folder):
    keys = {"productDefinitionTemplateNumber": 1}
    return [grib(folder / f"{k}.grb2", kinds.t2m(6, k, **keys, perturbationNumber=k)) for k in range(3)]


def mrms(folder):
    lat, lon = 30 - 0.01 * np.arange(32), 262 + 0.01 * np.arange(24)
    keys = {"centre": 161, "discipline": 209, "parameterCategory": 6, "parameterNumber": 1}
    files = [
        {"values": np.ones((32, 24)), "lat": lat, "lon": lon, "date": f"2020-06-01T12:0{k}", **keys} for k in (0, 2)
    ]
    (folder / "mrms").mkdir()
    for k, one in enumerate(files):
        grib(folder / "mrms" / f"{k}.grib2", one)
    return folder / "mrms"


def frames(write):
    def made(folder):
        (folder / "radar").mkdir()
        for minute in ("00", "05"):
            write(folder / "radar", scene(), f"2020060112{minute}")
        return folder / "radar"

    return made


def moving(folder):
    return saved(wrfout(corners=[(0, 0), (2, 1)]), folder / "nest")


def volume(folder):
    with h5py().File(folder / "volume.h5", "w") as file:
        file.create_group("what").attrs["object"] = np.bytes_("PVOL")
    return folder / "volume.h5"


def zipped(folder):
    raw = write_odim(folder, scene()).read_bytes()
    (folder / "packed.h5.gz").write_bytes(gzip.compress(raw))
    return folder / "packed.h5.gz"


def cut(folder):
    path = grib(folder / "cut.grb2", kinds.t2m(6))
    path.write_bytes(path.read_bytes()[:-20])
    return path


MADE = {
    "GRIB, deterministic": lambda f: grib(f / "gfs.grb2", kinds.t2m(6), kinds.t2m(12)),
    "GRIB, ensemble in one file": lambda f: grib(
        f / "eps.grb2",
        *(kinds.t2m(6, k, productDefinitionTemplateNumber=1, perturbationNumber=k) for k in range(3)),
    ),
    "GRIB, a member a file": members,
    "GRIB, rain in buckets": lambda f: grib(f / "gfs.grb2", rain(0, 3, 3.0), rain(0, 6, 6.0), rain(6, 9, 3.0)),
    "GRIB, rain since the base": lambda f: grib(
        f / "ifs.grib", *(rain(0, h, M * h, unit="m", edition=1) for h in (3, 6))
    ),
    "GRIB, mean rate over an interval": lambda f: grib(
        f / "prate.grb2",
        {
            **{"productDefinitionTemplateNumber": 8, "parameterCategory": 1, "parameterNumber": 7, "stepType": "avg"},
            **{"stepRange": "0-6", "values": 1 / 3600},
        },
    ),
    "GRIB, several bases for one time": two_bases,
    "GRIB on a map": on_map,
    "GRIB, moved pole": moved_pole,
    "WRF output": lambda f: saved(wrfout(rain=constant), f / "wrfout_d01"),
    "NetCDF nowcast": lambda f: nowcast(f / "nowcast.nc"),
    "NetCDF by steps from a base": lambda f: saved(by_step(valid=False), f / "steps.nc"),
    "NetCDF of ERA5": lambda f: netcdf(f, np.full(6, M), HOURLY, units="m"),
    "NetCDF pair": lambda f: saved(fields(), f / "fine.nc"),
    "pair of grids that do not nest": lambda f: saved(lambert(), f / "map.nc"),
    "NetCDF pair, rain as amounts": lambda f: netcdf(f, np.ones(6), HOURLY, methods="time: sum (interval: 1 hour)"),
    "HDF5 or NetCDF with groups": lambda f: saved(fields(), f / "grouped.nc", group="a"),
    "radar, PGM": frames(lambda folder, numbers, time: write_pgm(folder, random_image(shape=(32, 24)), time)),
    "radar, ODIM HDF5": frames(write_odim),
    "radar, KNMI HDF5": frames(write_knmi),
    "radar, GeoTIFF": frames(write_tiff),
    "radar, GRIB": mrms,
}
REFUSED = {
    "GRIB given to a verb": MADE["GRIB, deterministic"],
    "GRIB that is cut": cut,
    "GRIB on a reduced or spectral grid": lambda f: kinds.write(
        f / "n.grib", kinds.codes.codes_grib_new_from_samples("reduced_gg_sfc_grib2")
    ),
    "GRIB of several grids": lambda f: grib(
        f / "two.grb2", kinds.t2m(), kinds.level("pl", 850, 0) | {"lat": kinds.LAT[:3], "values": kinds.KELVIN[:3]}
    ),
    "GRIB of several bases for one time": two_bases,
    "GRIB with two fields of one place": lambda f: grib(f / "differ.grb2", kinds.t2m(), kinds.t2m(add=1)),
    "rain of an unknown interval": lambda f: netcdf(f, np.ones(6), HOURLY),
    "rain that is negative": lambda f: grib(f / "wrong.grb2", rain(0, 3, 3.0), rain(0, 6, 2.0)),
    "NetCDF with values that cannot be": lambda f: saved(
        fields().where(fields().lat > fields().lat.min(), -9999.0).transpose("time", "lat", "lon"), f / "marks.nc"
    ),
    "NetCDF whose times are no dates": lambda f: saved(fields().assign_coords(time=np.arange(6)), f / "numbers.nc"),
    "NetCDF of members as a pair": lambda f: saved(fields().expand_dims(number=[0, 1]), f / "members.nc"),
    "WRF output of a nest that moves": moving,
    "NetCDF whose fields are in groups": MADE["HDF5 or NetCDF with groups"],
    "radar as volumes": volume,
    "radar whose numbers have no unit": frames(
        lambda folder, numbers, time: write_tiff(folder, numbers, time, units="")
    ),
    "radar packed by gzip, but for PGM": zipped,
}


def run(command, made, folder):
    paths = made(folder)
    paths = paths if isinstance(paths, list) else [paths]
    for name in ("FILES", "FILE"):
        command = command.replace(name, " ".join(map(str, paths)))
    words = shlex.split(command.replace("tree.nc", str(folder / "tree.nc")))
    assert words[0] == "labkit"
    return main(words[1:])


def test_the_tables_have_a_file_for_every_row():
    assert [kind for kind, *_ in rows("kind")] == list(MADE)
    assert [kind for kind, *_ in rows("refused")] == list(REFUSED)


@pytest.mark.parametrize(("kind", "command"), [(kind, command) for kind, _, command, _ in rows("kind")])
def test_a_file_that_opens(tmp_path, kind, command):
    assert run(command, MADE[kind], tmp_path) == 0
    if (tmp_path / "tree.nc").is_file():
        tree = xr.open_groups(tmp_path / "tree.nc")["/prediction"]
        assert all(field.notnull().any() for field in tree.data_vars.values())
        if "tp" in tree and kind.startswith("GRIB"):
            np.testing.assert_allclose(tree.tp, 1, rtol=1e-4)


@pytest.mark.parametrize(("kind", "command", "sentence"), rows("refused"))
def test_a_file_that_is_refused(tmp_path, capsys, kind, command, sentence):
    assert run(command, REFUSED[kind], tmp_path) in (1, 2)
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said and not (tmp_path / "tree.nc").exists()


DAMAGED = (
    "GRIB, rain in buckets",
    "GRIB, rain since the base",
    "GRIB on a map",
    "radar, ODIM HDF5",
    "radar, KNMI HDF5",
    "radar, GeoTIFF",
)


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_read_or_refused_in_a_sentence(tmp_path, kind):
    """Bytes changed, cut off, zeroed: never another error than the lab's own."""
    made = MADE[kind](tmp_path)
    path = sorted(made.iterdir())[0] if made.is_dir() else made
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(25):
        damaged = np.frombuffer(raw, np.uint8).copy()
        at = rng.integers(len(raw), size=rng.integers(1, 8))
        damaged[at] = rng.integers(256, size=len(at))
        start, length = rng.integers(len(raw)), rng.integers(1, 40)
        damaged[start : start + length] = rng.choice([damaged[start], 0, 255])
        path.write_bytes(damaged[: rng.choice([len(raw), rng.integers(1, len(raw))], p=[0.8, 0.2])].tobytes())
        try:
            opened = open_radar(path, factor=8).target if kind.startswith("radar") else open_grib(path)
            opened.load()
        except LabError as error:
            assert str(error)
