"""Tropical cyclones on regional grids: centres, tracks, structure and what an ensemble says of them.

    found = find(fields, count=2, limits=WEAK)      # centres of each member and time
    tracks = join(found, count=1)               # joined in time, member by member
    storm = nearest(tracks, best_track)         # of each member's tracks the one of this storm
    intensity(fields, storm), profiles(fields, storm, radius_km)
    study(tree)                                 # all of it, for every source of an output tree

Works on 10 m wind alone; sea-level pressure is used where it is given.
"""

from labkit.verify.cyclones.detection import WEAK, find
from labkit.verify.cyclones.ensembles import cone, mean_track, strike_probability
from labkit.verify.cyclones.structure import intensity, profiles
from labkit.verify.cyclones.study import study
from labkit.verify.cyclones.tracks import along_and_across, join, nearest, track_error
from labkit.verify.cyclones.vortex_search import Limits

__all__ = [
    "WEAK",
    "Limits",
    "along_and_across",
    "cone",
    "find",
    "intensity",
    "join",
    "mean_track",
    "nearest",
    "profiles",
    "strike_probability",
    "study",
    "track_error",
]
