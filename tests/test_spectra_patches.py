"""The spectra explorer on data sets, and the patch tab: what is lost, what it costs, measured without blocking."""

import io
import threading
import time

import explorer_parts as parts
import numpy as np
import pandas as pd
import panel as pn
import pytest
from browser import headline, until, visit
from playwright.sync_api import expect
from synthetic_tree import write_tree

from apps.parts.queue import DrawQueue
from apps.spectra import export
from apps.spectra.app import SpectraExplorer, extension
from apps.spectra.code import code_of, opening
from apps.spectra.data_sets import DataSet, SpectraLibrary, is_hrrr_mini, known_data_sets
from apps.spectra.patch_view import MOST_BOXES, patch_boxes
from labkit.data.catalogue import open_pairs
from labkit.data.field_tree import tree_of
from labkit.errors import Cancelled, LabError
from labkit.recipes import probe as measuring
from labkit.recipes.probe import Probe
from labkit.store.registry import Registry
from labkit.verify.patch_size import remaining
from labkit.verify.scales import reach_data, spectra_data

pytest_plugins = ["browser"]
DATA = {"name": "idealised", "start": "2000-01-01", "end": "2000-01-02", "step_h": 7, "shape": [32, 32], "factor": 4}


@pytest.fixture(scope="module", autouse=True)
def _extension():
    extension()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    file = write_tree(tmp_path_factory.mktemp("patches") / "sample.nc", parts.small_tree())
    return SpectraLibrary(Registry([file], bundled=False), data_sets={"data-idealised": DataSet("Data: ideal", DATA)})


@pytest.fixture
def on_data(library):
    return SpectraExplorer(library, run="data-idealised", variable="t2m")


@pytest.fixture(scope="module")
def tree():
    return tree_of(open_pairs(DATA))


class FakeProbe:
    """In place of the measurement: notes what it was asked, waits for the gate, and says figures that are known."""

    def __init__(self) -> None:
        self.gate, self.asked, self.fault = threading.Event(), [], None

    def __call__(self, config, *, progress, cancel, **asked):
        self.asked.append((config.preset, asked))
        progress(0.5)
        while not self.gate.wait(0.02):
            if cancel():
                raise Cancelled("measuring was cancelled")
        if self.fault:
            raise self.fault
        return Probe(asked["patch"], 4, 0.5, 0.1, 100.0, 20.0, 10.0, 4.0, 5.0, "a machine", "fp32")


@pytest.fixture
def fake(monkeypatch):
    made = FakeProbe()
    monkeypatch.setattr(measuring, "probe", made)
    yield made
    made.gate.set()


def wait(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_data_sets_stand_beside_the_runs(library):
    assert list(library.options().values()) == ["sample", "data-idealised"]
    bare = SpectraLibrary(Registry([], bundled=False), data_sets={"data-idealised": DataSet("Data: ideal", DATA)})
    assert list(bare.options()) == ["Data: ideal"]
    with pytest.raises(LabError, match="no readable output tree"):
        SpectraLibrary(Registry([], bundled=False), data_sets={}).options()
    with pytest.raises(ValueError, match="run"):
        SpectraExplorer(library).state.run = "data-secret"


def test_only_what_is_on_this_machine_is_offered(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "none")
    assert list(known_data_sets()) == ["data-idealised"]
    assert list(known_data_sets([tmp_path / "mini.nc"])) == ["data-idealised", "data-hrrr-mini-1"]
    (tmp_path / "text.nc").write_text("no NetCDF")
    assert not is_hrrr_mini(tmp_path / "text.nc") and not is_hrrr_mini(tmp_path / "absent.nc")


def test_spectra_of_a_data_set_are_the_librarys(on_data, tree):
    shown = on_data.views["spectra"].densities
    expected = spectra_data(tree, "t2m").spectra
    for source in ("truth", "interpolation"):
        np.testing.assert_allclose(shown.lines[source].data["y"], expected[source], rtol=1e-5)
    assert len(shown.lines["prediction"].data["x"]) == 0
    named = {item.label.value for item in shown.upper.legend[0].items if item.visible}
    assert {"Truth", "Coarse input"} <= named and not named & {"Model", "Regression", "Oracle"}
    assert on_data.state.param.quantity.objects == ["raw", "detail"]
    assert "the coarse input" in on_data.headline.object
    on_data.state.quantity = "detail"
    np.testing.assert_allclose(
        shown.lines["truth"].data["y"], spectra_data(tree, "t2m", quantity="detail").spectra["truth"], rtol=1e-5
    )


@pytest.mark.parametrize("tab", ["spectra", "correlation", "patch", "about"])
def test_the_code_that_is_shown_opens_the_data_set(on_data, library, tab, tmp_path, monkeypatch):
    on_data.state.param.update(tab=tab, quantity="detail")
    run = on_data.session.run
    assert "went wrong" not in on_data.headline.object and "failed" not in on_data.headline.object
    text = code_of(run, on_data.state, opening(library, run))
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "shown", "exec"), {})
    assert (tmp_path / "spectra.png").stat().st_size > 10_000
    assert export.png(run, on_data.state).read(4) == b"\x89PNG"


def test_bars_are_the_correlation_that_is_left(on_data, tree):
    on_data.state.param.update(tab="patch", quantity="detail", height=8, width=16)
    view, names = on_data.views["patch"], list(tree["truth"].data_vars)
    reach = reach_data(tree, names, quantity="detail")
    left = remaining(reach, (8, 16), shape=(32, 32)).half
    for direction in "yx":
        values = np.asarray(view.left.bars[direction].data["value"])
        np.testing.assert_allclose(values, left.sel(direction=direction), rtol=1e-4, atol=1e-5)
    share = float(left.sel(variable="u10", direction="x")) ** 2
    assert f"{share:.0%} of the variance" in view.left.bars["x"].data["text"][names.index("u10")]
    assert "residual of bilinear interpolation; the regression" in view.text.object
    assert "below the 50,000 advised" in view.text.object
    on_data.state.param.update(height=32, width=32)
    assert set(view.left.bars["y"].data["text"]) == {"nothing lies beyond"}


def test_the_network_decides_which_patches_there_are(on_data):
    on_data.state.param.update(tab="patch", height=12, width=12)
    view = on_data.views["patch"]
    assert "whole multiples of 8 x 8 cells only" in view.text.object
    assert all(side % 8 == 0 for side in view.advice.patch)
    on_data.state.network = "mini"
    assert "multiples" not in view.text.object
    assert "shape: [12, 12]" in view.copy.tags[0]


def test_the_table_of_the_patch_is_taken_along(on_data, tree):
    on_data.state.param.update(tab="patch", height=8, width=8, quantity="raw")
    text = export.csv(on_data.session.run, on_data.state).read()
    assert text.startswith("# all variables, raw, patch 8 x 8 cells, whole domain")
    table = pd.read_csv(io.StringIO(text), comment="#").set_index(["variable", "direction"])
    reach = reach_data(tree, ["v10"], quantity="raw")
    left = remaining(reach, (8, 8), shape=(32, 32)).half.sel(variable="v10", direction="y")
    assert table.middle_to_edge["v10", "y"] == pytest.approx(float(left), rel=1e-4)


def test_of_many_patches_those_in_the_middle_are_drawn(library):
    run = library.run("data-idealised")
    boxes = np.array(patch_boxes(run, (2, 2), 1))
    assert len(boxes) == 25 <= MOST_BOXES
    west, south, east, north = run.extent
    assert abs((boxes[:, 0].min() + boxes[:, 2].max()) / 2 - (west + east) / 2) <= 4
    assert abs((boxes[:, 1].min() + boxes[:, 3].max()) / 2 - (south + north) / 2) <= 4


def test_a_patch_is_measured_when_asked_for(on_data, fake):
    on_data.state.param.update(tab="patch", height=8, width=16, overlap=4, network="mini")
    costs = on_data.views["patch"].costs
    assert "not measured yet" in costs.text.object and not fake.asked
    costs._start(None)
    wait(lambda: costs.job.done == 50)
    costs.poll()
    assert costs.progress.value == 50 and costs.go.disabled and costs.stop.visible
    on_data.state.tab = "spectra"  # the page goes on meanwhile
    fake.gate.set()
    wait(lambda: costs.job.over)
    on_data.state.tab = "patch"
    costs.poll()
    assert fake.asked == [
        ("mini", {"channels": (14, 2, 4), "patch": (8, 16), "shape": (32, 32), "factor": (4, 4)}),
    ]
    assert "training: 8 patches a second" in costs.text.object and not costs.go.disabled
    on_data.state.overlap = 2
    assert "not measured yet" in costs.text.object  # that was another patch's
    on_data.state.overlap = 4
    assert "a machine" in costs.text.object


def test_a_measurement_is_cancelled_or_fails_in_words(on_data, fake):
    on_data.state.tab = "patch"
    costs = on_data.views["patch"].costs
    costs._start(None)
    costs._cancel(None)
    wait(lambda: costs.job.over)
    costs.poll()
    assert costs.job.status == "cancelled" and "ancelled" in costs.text.object and not costs.stop.visible
    fake.fault = LabError("memory for patches", found="<b>little</b>", expected="room", todo="choose a smaller one")
    costs._start(None)
    fake.gate.set()
    wait(lambda: costs.job.over)
    costs.poll()
    assert "choose a smaller one" in costs.text.object and "<b>" not in costs.text.object


def test_a_page_that_is_closed_measures_no_longer(on_data, fake):
    on_data.state.tab = "patch"
    costs = on_data.views["patch"].costs
    costs._start(None)
    on_data._close(None)
    wait(lambda: costs.job.over)
    assert costs.job.status == "cancelled"


def test_a_full_queue_says_so(on_data, fake, monkeypatch):
    monkeypatch.setattr(on_data.session.library, "queue", DrawQueue(max_waiting=0))
    on_data.state.tab = "patch"
    costs = on_data.views["patch"].costs
    on_data.session.library.queue.submit(lambda job: fake.gate.wait(), "another's")
    costs._start(None)
    assert "try again when some are done" in costs.text.object and not costs.running


def session(library):
    explorer = SpectraExplorer(library)
    explorer.share(pn.state.location)
    return explorer.page()


@pytest.mark.browser
def test_a_data_set_is_shared_by_its_address_and_measured_with_a_click(page, serve, library, fake):
    address = serve(lambda: session(library))
    visit(page, f"{address}?run=data-idealised&tab=patch&of=detail&py=8&px=8&net=mini")
    headline(page, "Recommended: patches of")
    page.get_by_role("button", name="Measure on this machine").click()
    expect(page.get_by_text("measuring ...")).to_be_visible()
    page.get_by_role("tab", name="Autocorrelation", exact=True).click()  # nobody waits
    headline(page, "what the interpolated input leaves")
    page.get_by_role("tab", name="Patch size", exact=True).click()
    fake.gate.set()
    expect(page.get_by_text("training: 8 patches a second")).to_be_visible()
    until(page, lambda: len(fake.asked) == 1 and fake.asked[0][0] == "mini")


@pytest.mark.browser
@pytest.mark.parametrize(
    "asked", ["run=..%2F..%2Fetc%2Fpasswd", "net=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "of=residuals"]
)
def test_what_is_not_on_offer_is_refused(page, serve, library, asked):
    visit(page, f"{serve(lambda: session(library))}?{asked}")
    headline(page, "The address asks for something")
