"""What was found of a storm as one table, for those who go on elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr


def long_table(storm: xr.DataTree, times: np.ndarray) -> pd.DataFrame:
    """A line for each source, member and time of a `study` that has the storm: where it is, and its numbers.

    Winds in m/s, pressure in Pa, distances in km, positions in degrees; profiles are left out.
    """
    parts = []
    for source in storm.children:
        group = storm[source].to_dataset()
        flat = group[[name for name in group.data_vars if "radius" not in group[name].dims]]
        flat = flat.assign_coords(time=times) if "time" not in flat.coords else flat
        frame = flat.to_dataframe().reset_index()
        frame.insert(0, "source", source)
        parts.append(frame)
    table = pd.concat(parts, ignore_index=True)
    first = [name for name in ("source", "ensemble", "time") if name in table]
    wanted = first + [name for name in table.columns if name not in (*first, "track", "vortex", "radius")]
    return table[wanted].dropna(subset=["row"]).reset_index(drop=True)
