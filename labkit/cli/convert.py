"""The terminal's verb of other formats: `labkit convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

CONVERT_HELP = """\
Make an output tree of a forecast in another format, which every verb and app then opens.

  labkit convert storm.grib storm.nc                       GRIB 1 or 2, members and times as they come
  labkit convert gep01.grb2 gep02.grb2 gec00.grb2 gefs.nc  members in files of their own
  labkit convert run.grib2 run.nc 'variables=[t2m,tp]' 'box=[118,20,124,26]'
  labkit convert old.grib new.nc 'accumulated={tp: 6}'     where the file does not say within which time rain fell
  labkit convert wrfout_d01_2020-06-01_00:00:00 wrf.nc     WRF output, winds turned to east and north
  labkit convert nowcast.nc tree.nc                        NetCDF without groups, such as pySTEPS writes

Options are those of the reader: of GRIB variables, box, accumulated, base and lagged (several bases for one time), of
WRF levels_hpa, of NetCDF variables, box, group, dims and accumulated.
"""


def add_convert(add) -> None:
    """Add the verb by `add(name, summary, help, function)`, which gives a parser."""
    verb = add("convert", "GRIB, wrfout or NetCDF to an output tree", CONVERT_HELP, _convert)
    verb.add_argument("words", nargs="+", metavar="FILE", help="files to read, the .nc to write, and key=value")


def _convert(options: argparse.Namespace) -> None:
    from labkit.config import apply_overrides
    from labkit.data.opening import convert
    from labkit.errors import ConfigError

    said = [word for word in options.words if "=" in word and not Path(word).exists()]
    *paths, output = [word for word in options.words if word not in said] or [""]
    if not paths:
        raise ConfigError(
            "files", found=output or "none", expected="one to read and one to write", todo="name both, the .nc last"
        )
    path = convert(paths, output, **apply_overrides({}, said))
    print(f"written: {path}   next: labkit score {path}")
