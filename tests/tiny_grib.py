"""Small GRIB files of any convention, written with ecCodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

LAT = np.arange(30.0, 19.0, -2.0)  # north to south, as the centres write them
LON = np.arange(0.0, 360.0, 30.0)


def grib(path: Path, *fields: dict) -> Path:
    """A file of one message for each of the fields, dictionaries of `field`'s arguments; needs ecCodes."""
    codes = pytest.importorskip("eccodes", reason='ecCodes is not installed: pip install "labkit[grib]"')
    with path.open("wb") as file:
        for one in fields:
            handle = field(codes, **one)
            codes.codes_write(handle, file)
            codes.codes_release(handle)
    return path


def field(codes, *, values=1.0, edition=2, lat=LAT, lon=LON, date="2020-09-01T00", bits=24, keys=None, **more):
    """The handle of a message on latitudes and longitudes; values (lat, lon) or one for all, NaN in a bitmap.

    `more` are keys in the order in which they are set, after those of the grid and the time; `keys` at last.
    """
    handle = codes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
    ends = {"latitudeOfFirstGridPoint": lat[0], "latitudeOfLastGridPoint": lat[-1]}
    ends |= {"longitudeOfFirstGridPoint": lon[0] % 360, "longitudeOfLastGridPoint": lon[-1] % 360}
    set_keys(codes, handle, {"Ni": len(lon), "Nj": len(lat), **{f"{k}InDegrees": float(v) for k, v in ends.items()}})
    steps = {"iDirectionIncrementInDegrees": abs(lon[1] - lon[0]), "jDirectionIncrementInDegrees": abs(lat[1] - lat[0])}
    rows = {"jScansPositively": int(lat[1] > lat[0])}
    stamp = str(np.datetime64(date, "m"))
    when = {"dataDate": int(stamp[:10].replace("-", "")), "dataTime": int(stamp[11:].replace(":", ""))}
    set_keys(codes, handle, {**{k: float(v) for k, v in steps.items()}, **rows, **when, "bitsPerValue": bits, **more})
    fill(codes, handle, np.broadcast_to(values, (len(lat), len(lon))))
    set_keys(codes, handle, keys or {})
    return handle


def set_keys(codes, handle, keys: dict) -> None:
    for key, value in keys.items():
        codes.codes_set(handle, key, value)


def fill(codes, handle, values) -> None:
    flat = np.asarray(values, float).ravel()
    if np.isnan(flat).any():
        set_keys(codes, handle, {"bitmapPresent": 1, "missingValue": 9999.0})
        flat = np.where(np.isnan(flat), 9999.0, flat)
    codes.codes_set_values(handle, flat)


def rain(start, end, amount, *, edition=2, centre="kwbc", unit="kg", **more) -> dict:
    """The arguments of a field of rain that fell from one hour of the forecast to another, by mass or ("m") depth."""
    if edition == 1:  # table 128 of ECMWF has metres, the common one kg m-2
        table = {"table2Version": 128, "indicatorOfParameter": 228} if unit == "m" else {"table2Version": 2}
        table = table if unit == "m" else table | {"indicatorOfParameter": 61}
        keys = {"centre": "ecmf" if unit == "m" else centre, **table, "timeRangeIndicator": 4}
    else:
        local = {"tablesVersion": 24, "parameterCategory": 1, "parameterNumber": 8 if unit == "kg" else 193}
        keys = {"centre": "ecmf" if unit == "m" else centre, "productDefinitionTemplateNumber": 8}
        keys |= {"paramId": 228} if unit == "m" else {**local, "typeOfStatisticalProcessing": 1}
    keys |= {"stepType": "accum"} if edition == 2 else {}
    return {"edition": edition, "values": amount, **keys, "stepRange": f"{start}-{end}", **more}
