"""Short names of times."""

from __future__ import annotations

import numpy as np

from labkit.variables import plain


def time_label(time: np.datetime64 | object) -> str:
    """`12 Sep 2021 06:00 UTC`; times that are no dates are shown as they are."""
    return _formatted(time, "%-d %b %Y %H:%M UTC")


def short_time(time: np.datetime64 | object) -> str:
    """`12 Sep 06 UTC`."""
    return _formatted(time, "%-d %b %H UTC")


def _formatted(time: np.datetime64 | object, form: str) -> str:
    try:
        return np.datetime64(time, "s").item().strftime(form)
    except (ValueError, TypeError, AttributeError):
        return plain(time)
