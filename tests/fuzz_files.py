"""Small good files of every format, each with the commands that read it: what the fuzz damages."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import xarray as xr
import yaml
from storm_parts import best_track_table, storm_tree
from synthetic_tree import synthetic_tree, write_tree
from test_files import fields
from test_hrrr_mini import write as write_hrrr_mini
from test_radar import random_image, write_pgm
from test_wrf import wrfout
from tiny_corrdiff import TINY, tiny_config
from tiny_radar import scene, write_knmi, write_odim, write_tiff
from tiny_trees import corrdiff_file

from labkit import recipes

CASES = [
    {"key": "mine", "title": "A case", "kind": "cyclone", "start": "2021-09-12", "end": "2021-09-13"}
    | {"lat": 23.0, "lon": 121.0, "why": "to try it", "storm": "2021001"}
]
SHORT = ["regression.samples=16", "diffusion.samples=16", "validation.cases=1"]
TREE = [["score", "@/%"], ["spectra", "@/%"], ["patch-size", "@/%"], ["track", "@/%"]]
TREE += [["score", "@/%", "--compare", "@/other.nc"], ["score", "@/%", "--by", "season"]]
PAIR = ["files", "input=@/coarse.nc", "target=@/fine.nc"]

Kind = tuple[Path, list[list[str]]]


def good_files(folder: Path) -> dict[str, Kind]:
    """{kind: (path of the good file, commands in which @ is the folder that it lies in)}; a folder for each kind."""
    makers = [_trees, _flat, _pair, _hrrr_mini, _radar, _foreign_radar, _config, _runs, _tracks, _wrf, _grib]
    return {kind: made for make in makers for kind, made in make(folder).items()}


def _made(folder: Path, kind: str) -> Path:
    (folder / kind).mkdir(parents=True)
    return folder / kind


def _small() -> xr.DataTree:
    return synthetic_tree(members=3, times=4, n=32, dx_km=8.0)


def _trees(folder: Path) -> dict[str, Kind]:
    def zarr(path: Path) -> None:
        _small().to_zarr(path, consolidated=False)

    writers = {"tree.nc": lambda path: write_tree(path, _small()), "tree.zarr": zarr, "corrdiff.nc": corrdiff_file}
    made = {}
    for name, write in writers.items():
        here = _made(folder, name)
        write_tree(here / "other.nc", _small())
        write(here / name)
        made[name] = here / name, [[word.replace("%", name) for word in words] for words in TREE]
    return made


def _data(*words: str) -> list[list[str]]:
    """What is asked of a data set: what it is, its statistics, its scales and its patch."""
    return [["data", *words], ["data", *words, "--statistics", "@/s.json"], ["spectra", *words], ["patch-size", *words]]


def _pair(folder: Path) -> dict[str, Kind]:
    made = {}
    for name in ("fine.nc", "coarse.nc"):
        here = _made(folder, name)
        fields(factor=4).to_netcdf(here / "coarse.nc")
        fields().to_netcdf(here / "fine.nc")
        made[name] = here / name, _data(*PAIR)
    return made


def _hrrr_mini(folder: Path) -> dict[str, Kind]:
    here = _made(folder, "hrrr_mini.nc")
    write_hrrr_mini(here / "mini.nc", n=4)
    return {"hrrr_mini.nc": (here / "mini.nc", _data("hrrr_mini", "path=@/mini.nc"))}


def _radar(folder: Path) -> dict[str, Kind]:
    here = _made(folder, "radar.pgm")
    for minute in range(3):
        write_pgm(here, random_image(minute, (40, 40)), time=f"2016092814{minute:02d}")
    return {"radar.pgm": (here / "201609281401.pgm.gz", _data("radar", "folder=@", "factor=4"))}


def _foreign_radar(folder: Path) -> dict[str, Kind]:
    """ODIM and KNMI HDF5, and GeoTIFF, three images each."""
    writers = {"odim.h5": ("h5py", write_odim), "knmi.h5": ("h5py", write_knmi), "radar.tif": ("rasterio", write_tiff)}
    made = {}
    for kind, (package, write) in writers.items():
        if importlib.util.find_spec(package) is not None:
            here = _made(folder, kind)
            paths = [write(here, scene((32, 32), minute), f"2020060112{minute:02d}") for minute in (0, 5, 10)]
            made[kind] = paths[1], _data("radar", "folder=@", "factor=4")
    return made


def _flat(folder: Path) -> dict[str, Kind]:
    """NetCDF without groups, as pySTEPS writes."""
    here = _made(folder, "flat.nc")
    _small()["prediction"].to_dataset().rename(ensemble="ens_number").to_netcdf(here / "flat.nc")
    return {"flat.nc": (here / "flat.nc", [["convert", "@/flat.nc", "@/out.nc"], ["score", "@/flat.nc"]])}


def _config(folder: Path) -> dict[str, Kind]:
    here = _made(folder, "config.yaml")
    values = json.loads(tiny_config().model_dump_json())
    (here / "mine.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return {"config.yaml": (here / "mine.yaml", [["spectra", "@/mine.yaml"], ["patch-size", "@/mine.yaml"]])}


def _runs(folder: Path) -> dict[str, Kind]:
    """A whole run, one that was stopped in its second stage, statistics, and a checkpoint by itself."""
    whole, stopped, statistics = (_made(folder, kind) for kind in ("run", "stopped", "stats.json"))
    recipes.train(tiny_config(*SHORT), whole / "run", quiet=True)
    shutil.copytree(whole / "run", stopped / "run")
    (stopped / "run" / "checkpoints" / "diffusion.safetensors").unlink()
    shutil.copy(whole / "run" / "statistics.json", statistics / "stats.json")
    draw = ["sample", "@/run", "@/out.nc", "--times", "0:2", "--members", "2", "--steps", "2"]
    train = ["train", "corrdiff", *TINY, *SHORT, "--run"]
    return {
        "run": (whole / "run", [draw, ["spectra", "@/run"]]),
        "stopped": (stopped / "run", [[*train, "@/run"]]),
        "stats.json": (statistics / "stats.json", [[*train, "@/new", "data.statistics_file=@/stats.json"]]),
    }


def _tracks(folder: Path) -> dict[str, Kind]:
    """Best tracks and cases, beside a tree that has the storm."""
    made = {}
    for name in ("tracks.csv", "cases.yaml"):
        here = _made(folder, name)
        write_tree(here / "storm.nc", storm_tree())
        (here / "tracks.csv").write_text(best_track_table())
        (here / "cases.yaml").write_text(yaml.safe_dump(CASES))
        best = ["--best-track", "@/tracks.csv", "--agency", "jtwc"]
        case = ["--case", "mine", "--cases", "@/cases.yaml"]
        made[name] = here / name, [["track", "@/storm.nc", *(best if name == "tracks.csv" else case)]]
    return made


def _wrf(folder: Path) -> dict[str, Kind]:
    here = _made(folder, "wrfout")
    wrfout(shape=(24, 24)).to_netcdf(here / "wrfout.nc")
    return {"wrfout": (here / "wrfout.nc", [["convert", "@/wrfout.nc", "@/out.nc"], ["track", "@/wrfout.nc"]])}


def _grib(folder: Path) -> dict[str, Kind]:
    if importlib.util.find_spec("eccodes") is None:
        return {}
    import eccodes

    here = _made(folder, "grib")
    with (here / "fields.grib").open("wb") as file:
        for step in (0, 6):
            message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            eccodes.codes_set(message, "step", step)
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)
    return {"grib": (here / "fields.grib", [["convert", "@/fields.grib", "@/out.nc"], ["score", "@/fields.grib"]])}
