"""Units and averaging periods of winds: the one place that converts them."""

from __future__ import annotations

from labkit.errors import DataError

KNOT = 1852 / 3600  # m/s
TO_TEN_MINUTES = {1: 0.93, 10: 1.0}  # at sea; Harper, Kepert & Ginger (2010), WMO/TD-No. 1555


def averaging_factor(given_min: int, wanted_min: int) -> float:
    """What a maximum of means over `given_min` minutes is multiplied by to become one of means over `wanted_min`.

    1 and 10 minutes are known, by the factor 0.93 for winds at sea that Harper et al. (2010) recommend; DataError for
    any other.
    """
    if not {given_min, wanted_min} <= set(TO_TEN_MINUTES):
        found = f"from {given_min} to {wanted_min} minutes"
        raise DataError("averaging of wind", found=found, expected="1 or 10 minutes", todo="keep the wind's own")
    return TO_TEN_MINUTES[given_min] / TO_TEN_MINUTES[wanted_min]
