"""The registry of runs: ids in, trees out, and nothing else."""

import threading

import pytest
from tiny_trees import corrdiff_file

from labkit.errors import DataError
from labkit.store import registry as module
from labkit.store.registry import Registry


def files(tmp_path, *names):
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        corrdiff_file(path)
    return paths


def test_runs_open_by_their_id(tmp_path):
    path = files(tmp_path, "Typhoon Nari.nc")[0]
    registry = Registry([path], bundled=False)
    (entry,) = registry
    assert (entry.id, entry.label, entry.kind, entry.error) == ("typhoon-nari", "Typhoon Nari", "file", "")
    assert entry.bytes == path.stat().st_size and len(registry) == 1 and "typhoon-nari" in registry
    assert "10u" in registry.open("typhoon-nari")["prediction"]


def test_files_of_one_name_get_different_ids_that_do_not_change(tmp_path):
    names = ("a/corrdiff_output.nc", "b/corrdiff_output.nc", "c/b/corrdiff_output.nc")
    paths = files(tmp_path, *names)
    ids = [entry.id for entry in Registry(paths, bundled=False)]
    assert len(set(ids)) == 3 and ids[:2] == ["corrdiff-output", "b-corrdiff-output"]
    assert [entry.id for entry in Registry(paths, bundled=False)] == ids
    assert len(Registry([paths[0], paths[0]], bundled=False)) == 1


@pytest.mark.parametrize("id", ["../secret", "/etc/passwd", "", "run\0", "a.nc", None])
def test_paths_are_no_ids(tmp_path, id):
    registry = Registry(files(tmp_path, "a.nc"), bundled=False)
    with pytest.raises(DataError, match="choose a run on offer"):
        registry.open(id)
    with pytest.raises(DataError, match="choose a run on offer"):
        registry.open(str(tmp_path / "a.nc"))


def test_unreadable_files_are_listed_with_the_reason(tmp_path):
    good = files(tmp_path, "good.nc")[0]
    (tmp_path / "bad.nc").write_bytes(good.read_bytes()[:2000])
    registry = Registry([tmp_path / "bad.nc", good, tmp_path / "absent.nc"], bundled=False)
    errors = {entry.id: entry.error for entry in registry}
    assert "truncated" in errors["bad"] and "no such file" in errors["absent"] and errors["good"] == ""
    with pytest.raises(DataError, match="truncated"):
        registry.open("bad")


def test_folder_offers_the_trees_in_it(tmp_path):
    files(tmp_path, "runs/b.nc", "runs/a.nc")
    (tmp_path / "runs" / "note.txt").write_text("")
    assert [entry.id for entry in Registry([tmp_path / "runs"], bundled=False)] == ["a", "b"]
    (entry,) = Registry([tmp_path], bundled=False)
    assert entry.error


def test_result_drawn_joins_the_list_and_is_refreshed_when_drawn_anew(tmp_path):
    registry = Registry(files(tmp_path, "a.nc"), bundled=False)
    path = tmp_path / "drawn.nc"
    assert registry.add(path, kind="drawn").error
    corrdiff_file(path)
    entry = registry.add(path, kind="drawn", label="8 members, Heun")
    assert (entry.id, entry.kind, entry.error, entry.label) == ("drawn", "drawn", "", "8 members, Heun")
    assert [entry.id for entry in registry] == ["a", "drawn"]


def test_bundled_samples_come_first(tmp_path, monkeypatch):
    sample = files(tmp_path, "island/sample.nc")[0]
    monkeypatch.setattr(module, "bundled_samples", lambda: [sample])
    bundled, other = Registry(files(tmp_path, "mine.nc"))
    assert (bundled.id, bundled.kind, other.id) == ("island", "bundled", "mine")


def test_sessions_may_add_at_the_same_time(tmp_path):
    registry = Registry(bundled=False)
    paths = [tmp_path / f"{k}" / "same.nc" for k in range(12)]
    threads = [threading.Thread(target=registry.add, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({entry.id for entry in registry}) == 12
