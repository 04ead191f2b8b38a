"""A file that is cut, deleted or replaced while it is open: the page says so, and nothing old is shown as new."""

from __future__ import annotations

import asyncio
import os
import shutil

import explorer_parts as parts
import numpy as np
import panel as pn
import pytest
from synthetic_tree import write_tree

from apps.explorer.app import Explorer
from apps.parts import drawn
from apps.parts.drawn import DrawnFolder, hold, remove_abandoned
from apps.parts.files import file_mark
from apps.parts.models import DrawRequest
from labkit.errors import LabError


@pytest.fixture(scope="module", autouse=True)
def _extension():
    pn.extension(respect_explicit_sizing=True)


def other_tree(**options):
    """Warmer by 30 K, so that what comes of it cannot be taken for the first tree's."""
    tree = parts.small_tree(**options)
    for group in set(tree.children) - {"input"}:
        tree[group]["t2m"] = tree[group]["t2m"] + 30
    return tree


def replaced(path, tree) -> None:
    """As `labkit sample` does it: the new file takes the place of the old one at once."""
    os.replace(write_tree(path.with_name("new.tmp"), tree), path)


def overwritten(path, tree) -> None:
    """As `cp` does it: the same file on the disk with other content, which HDF5 takes for the one it has open."""
    shutil.copyfile(write_tree(path.with_name("new.tmp"), tree), path)


def cut(path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.fixture
def opened(tmp_path):
    library = parts.library(tmp_path, trees={"mine": parts.small_tree(), "other": parts.small_tree(times=3)})
    return Explorer(library, run="mine", variable="t2m"), tmp_path / "mine.nc"


def shown(explorer) -> np.ndarray:
    return explorer.session.run.field("truth", "t2m", explorer.state.time)


@pytest.mark.parametrize("how", [replaced, overwritten])
@pytest.mark.parametrize("tab", ["maps", "members", "products", "point", "calibration"])
def test_of_a_file_that_was_replaced_the_new_one_is_shown_and_named(opened, how, tab):
    explorer, path = opened
    explorer.state.tab = tab
    before, mean = explorer.headline.object, shown(explorer).mean()
    how(path, other_tree())
    explorer.state.time = explorer.state.time + 1
    explorer.state.time = explorer.state.time - 1
    assert shown(explorer).mean() == pytest.approx(mean + 30, abs=0.01)
    assert explorer.notice.visible and "mine: the file was replaced" in explorer.notice.object
    fresh = Explorer(explorer.session.library, run="mine")
    for name in ("variable", "time", "threshold", "point", "tab"):
        setattr(fresh.state, name, getattr(explorer.state, name))
    assert explorer.headline.object == fresh.headline.object
    assert tab in ("maps", "calibration") or explorer.headline.object != before
    assert explorer.session.library.run("mine").id == "mine~1" and explorer.code_text().count(str(path)) == 1


def test_a_file_of_another_shape_fits_the_page_again(opened):
    explorer, path = opened
    explorer.state.param.update(time=5, member=4, tab="members")
    replaced(path, other_tree(times=3, members=2, n=24, oracle=False))
    explorer.look()
    assert (explorer.state.time, explorer.state.member) == (2, 1) and "All 2 members" in explorer.headline.object
    assert explorer.state.param.time.bounds == (0, 2) and explorer.times.player.end == 2
    for tab in explorer.views:
        explorer.state.tab = tab
    explorer.state.run = "other"
    explorer.state.run = "mine"
    assert explorer.session.run.n_members == 2


@pytest.mark.parametrize("how", [cut, os.remove, lambda path: path.write_bytes(b"no tree")])
def test_what_cannot_be_read_any_more_is_said_and_never_guessed(opened, how):
    explorer, path = opened
    known = shown(explorer).copy()
    how(path)
    explorer.state.time = explorer.state.time
    explorer.look()
    assert (
        explorer.notice.visible
        and "mine.nc" in explorer.notice.object
        and "Put the file back" in explorer.notice.object
    )
    np.testing.assert_array_equal(shown(explorer), known, "what had been read stays on the page")
    explorer.state.param.update(variable="u10", tab="point")  # not read yet
    assert "since it was opened" in explorer.notice.object
    assert "file of mine" in asyncio.run(explorer.takeaways.downloads["csv"].callback()).read()
    with pytest.raises(LabError):
        explorer.session.library.compute((explorer.session.run.id, "sum"), lambda: 1).result()
    assert "mine" not in explorer.session.library.options().values(), "and it is offered to nobody else"
    replaced(path, other_tree())
    explorer.look()
    assert "this is the new one" in explorer.notice.object and shown(explorer).mean() > 310


def test_a_run_that_is_gone_before_it_was_looked_at_is_not_chosen(tmp_path):
    explorer = Explorer(parts.library(tmp_path, trees={"a": parts.small_tree(), "b": parts.small_tree()}), run="a")
    (tmp_path / "b.nc").unlink()
    explorer.state.run = "b"
    assert explorer.state.run == "a" and "no such file" in explorer.notice.object


def test_what_was_worked_out_of_a_file_that_changed_meanwhile_is_thrown_away(opened):
    explorer, path = opened
    library, run = explorer.session.library, explorer.session.run
    future = library.compute((run.id, "slow"), lambda: replaced(path, other_tree()))
    with pytest.raises(LabError, match="since it was opened"):
        future.result()
    assert library.result((run.id, "slow")) is None


def test_a_mark_tells_zarr_folders_apart_too(tmp_path):
    first = tmp_path / "a.zarr"
    parts.small_tree().to_zarr(first)
    before = file_mark(first)
    assert file_mark(first) == before
    shutil.rmtree(first)
    assert file_mark(first) == ()
    other_tree().to_zarr(first)
    assert file_mark(first) not in (before, ())


REQUEST = DrawRequest(times=(0,), members=3, seed=0, solver="heun", num_steps=9)


def begun(folder: DrawnFolder, request: DrawRequest):
    """A draw that was cancelled half-way leaves its pieces beside the target."""
    target = folder.begin("nano", request)
    pieces = target.with_name(target.name + ".partial")
    pieces.mkdir(exist_ok=True)
    (pieces / f"{len(list(pieces.iterdir()))}.npy").write_bytes(bytes(1000))
    return target, pieces


def test_cancelled_draws_leave_the_pieces_of_one_at_most_and_go_on_with_them():
    folder = DrawnFolder()
    (target, first), (again, same) = begun(folder, REQUEST), begun(folder, REQUEST)
    assert target == again and first == same and len(list(first.iterdir())) == 2, "the same draw goes on"
    for seed in range(1, 6):
        _, last = begun(folder, DrawRequest(**(vars(REQUEST) | {"seed": seed})))
    assert [path for path in folder.path.iterdir() if path.name != drawn.LOCK] == [last]
    target.write_bytes(b"whole")
    kept = [folder.keep(target, "nano-1.nc")]
    target.write_bytes(b"whole")
    kept.append(folder.keep(target, "nano-2.nc"))
    assert all(path.exists() for path in kept), "drawn anew is another run"


def test_what_a_killed_server_left_is_removed_and_a_living_ones_stays(tmp_path):
    dead, alive = (tmp_path / f"{drawn.PREFIX}{name}" for name in ("dead", "alive"))
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "a.nc.partial").mkdir()
    hold(dead).close()
    mark = hold(alive)
    (tmp_path / "labkit-explorer-of-another-kind").mkdir()
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, "labkit-explorer-of-another-kind"]
    assert not mark.closed
