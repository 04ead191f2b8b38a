"""What is on the screen as a file: PNG of the figure, CSV of the storm's numbers."""

from __future__ import annotations

from functools import partial
from io import BytesIO, StringIO

from apps.parts.files import csv_of, png_of
from apps.parts.view import served
from apps.storms.code import figure_of, table_of
from apps.storms.following import Storm, StormSession, follow, key_of
from labkit.errors import LabError


def png(session: StormSession) -> BytesIO:
    """The tab as a figure."""
    return png_of(figure_of(session.run, session.state, lambda: known_storm(session)))


def csv(session: StormSession) -> StringIO:
    """The storm of every source, member and time."""
    what = "winds m/s, pressure Pa, distances km, positions degrees; NaN: not found"
    return csv_of(what, table_of(session.run, known_storm(session)), index=False)


def known_storm(session: StormSession) -> Storm:
    """The storm of the run; LabError where it has none. A served page waits for nothing here: all others would too."""
    run, library = session.run, session.library
    work = partial(follow, run, shelf=session.shelf)
    storm = library.result(key_of(run)) if served() else library.compute(key_of(run), work).result()
    if storm is None:
        what, todo = "storm of this run", "look at its tracks first, and ask again when they are on the page"
        raise LabError(what, found="one that has not been followed yet", expected="its tracks", todo=todo)
    if storm.nothing:
        raise LabError("storm of this run", found="none", expected="a storm", todo="choose another case")
    return storm


WRITERS = {"png": png, "csv": csv}
