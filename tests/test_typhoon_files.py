"""What is taken along from the typhoon explorer: figures, the code that draws them, the table."""

import io
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import storm_parts as parts

from apps.storms.app import TyphoonExplorer, extension
from apps.storms.code import call_of, code_of, figure_of
from apps.storms.export import known_storm
from labkit.verify.cyclones import study

TIME, MEMBER = 1, 2


@pytest.fixture(scope="module", autouse=True)
def _extension():
    extension()


@pytest.fixture(scope="module")
def tree():
    return parts.storm_tree()


@pytest.fixture(scope="module")
def found(library):
    return study(library.run("storm").tree)


@pytest.fixture(scope="module")
def library(tmp_path_factory, tree):
    return parts.library(tmp_path_factory.mktemp("storms"), {"storm": tree})


@pytest.fixture
def explorer(library):
    return TyphoonExplorer(library, time=TIME, member=MEMBER)


def test_every_tab_has_its_figure(explorer):
    names = {}
    tabs = [view.tab for view in TyphoonExplorer.tabs_of]
    for tab in tabs:
        explorer.state.tab = tab
        names[tab] = call_of(explorer.session.run, explorer.state)[0]
    assert len(set(names.values())) == len(tabs) - 1 and names["about"] == names["track"]
    explorer.state.param.update(tab="intensity", measure="relation")
    assert call_of(explorer.session.run, explorer.state)[0] == "wind_pressure_figure"


@pytest.mark.parametrize(
    ("tab", "measure"),
    [("track", "rmw"), ("maps", "rmw"), ("structure", "rmw"), ("intensity", "rmw"), ("intensity", "relation")],
)
def test_the_code_shown_runs_and_draws_the_same_figure(explorer, library, tab, measure, tmp_path, monkeypatch):
    explorer.state.param.update(tab=tab, within=20.0, measure=measure, profile="msl", frame="earth")
    run = explorer.session.run
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code_of(run, explorer.state, library.path(run.id)), names)  # what a user would do with it
    theirs, mine = (tmp_path / "storm.png").read_bytes(), BytesIO()
    figure_of(run, explorer.state, lambda: known_storm(explorer.session)).savefig(mine, format="png", dpi=150)
    assert len(theirs) > 10_000 and theirs == mine.getvalue()


def test_the_code_quotes_what_it_names(explorer, tmp_path):
    code = code_of(explorer.session.run, explorer.state, tmp_path / "a'); import os; os._exit(3) #.nc")
    compile(code, "shown", "exec")
    assert '"' in code.split("open_tree(")[1]


def test_the_table_has_a_line_for_each_source_member_and_time(explorer, found):
    text = explorer.take("csv").read()
    assert text.startswith("# winds m/s")
    table = pd.read_csv(io.StringIO(text), comment="#", parse_dates=["time"])
    assert list(table.columns[:3]) == ["source", "ensemble", "time"]
    assert len(table) == parts.HOURS * (4 + 2 * parts.MEMBERS)
    one = table[(table.source == "prediction") & (table.ensemble == 1)].set_index("time")
    np.testing.assert_allclose(one.max_wind, found["prediction"].max_wind[1])
    np.testing.assert_allclose(one.lat, found["prediction"].lat[1])
    assert list(one.index) == list(pd.to_datetime(parts.TIMES))
    assert explorer.take("png").read(8) == b"\x89PNG\r\n\x1a\n"
