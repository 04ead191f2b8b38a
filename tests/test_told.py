"""What a person says of a file in the terminal reaches every verb that opens trees, and what nobody says is told."""

from pathlib import Path

import numpy as np
import pytest
from test_grid import NX, NY, X_KM, Y_KM, tree_file

from apps.__main__ import make_parser, panel_arguments
from apps.parts.library import open_library
from apps.parts.told import files_and_told, opening_of
from labkit.cli import main
from labkit.grid import spacing_km
from labkit.store.trees import open_tree, units_assumed

CELSIUS = {(group, "t2m"): (1, -273.15, "") for group in ("input", "truth", "prediction")}
VERBS = [["score"], ["spectra", "--direction", "x"], ["patch-size", "--raw"], ["track"]]


@pytest.mark.parametrize("verb", VERBS, ids=lambda words: words[0])
def test_every_verb_asks_for_units_says_what_is_taken_for_granted_and_listens(tmp_path, capsys, verb):
    path = str(tree_file(tmp_path / "bare.nc", units=CELSIUS, place=False))
    assert main([*verb, path]) == 1
    assert "units of t2m in input of bare.nc: found none" in capsys.readouterr().err
    main([*verb, path, "--units", "t2m=degC"])
    said = capsys.readouterr().err
    assert "note: The file tells neither x and y nor lat and lon" in said and "--spacing-km" in said
    assert "note: The file has no units: taken for 10u m s-1" in said
    main([*verb, path, "--units", "t2m=degC", "--units", "10u=kt", "--spacing-km", "2,3"])
    assert "note: The file" not in capsys.readouterr().err


def test_scores_are_in_our_units_whatever_is_told(tmp_path, capsys):
    kelvin = {key: (1, 0, "") for key in CELSIUS}
    tables = []
    for name, units, words in (("k.nc", kelvin, []), ("c.nc", CELSIUS, ["--units", "t2m=degC"])):
        csv = tmp_path / f"{name}.csv"
        assert main(["score", str(tree_file(tmp_path / name, units=units)), "--csv", str(csv), *words]) == 0
        tables.append(csv.read_text())
    rows = [[row.split(",") for row in table.splitlines() if ",t2m," in row] for table in tables]
    assert rows[0] and "K" in rows[0][0]
    for first, second in zip(*rows, strict=True):
        for a, b in zip(first, second, strict=True):
            assert a == b or np.isclose(float(a), float(b), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "words", [["--units", "t2m"], ["--units", "=K"], ["--spacing-km", "two"], ["--spacing-km", "-1"]]
)
def test_what_is_said_wrongly_is_refused(tmp_path, capsys, words):
    with pytest.raises(SystemExit) as stop:
        main(["score", "any.nc", *words])
    assert stop.value.code == 2 and "expected" in capsys.readouterr().err


def test_wavelengths_follow_the_spacing_told(tmp_path, capsys):
    path = str(tree_file(tmp_path / "bare.nc", axes={"y": (Y_KM * 1000, ""), "x": (X_KM * 1000, "")}, place=False))
    found = []
    for km in ("1", "4"):
        csv = tmp_path / f"{km}.csv"
        assert main(["spectra", path, "--direction", "x", "--spacing-km", km, "--csv", str(csv)]) == 0
        found.append(np.array([float(row.split(",")[2]) for row in csv.read_text().splitlines()[1:]]))
    np.testing.assert_allclose(found[0], 4 * found[1])
    assert min(found[1]) == pytest.approx(1 / (NX * 4)) and NY < NX
    assert main(["spectra", "idealised", "--spacing-km", "2"]) == 2
    assert "an output tree" in capsys.readouterr().err


def test_explorers_take_the_same_words_and_their_code_says_them(tmp_path):
    path = tree_file(tmp_path / "bare.nc", units=CELSIUS, place=False)
    silent = open_library([str(path)])
    assert any("units of t2m" in problem for problem in silent.problems())
    library = open_library([str(path), "--units=t2m=degC", "--spacing-km=2,3"])
    run = library.run("bare")
    assert not library.problems() and spacing_km(run.tree) == (2.0, 3.0) and "10u m s-1" in units_assumed(run.tree)
    text = opening_of(library.path("bare"), run.told)
    again = eval(text, {"open_tree": open_tree})
    np.testing.assert_array_equal(again["truth/t2m"], run.tree["truth/t2m"])
    bundled = next(id for id in library.options().values() if id != "bare")
    assert library.run(bundled).told == {} and library.run(bundled).caution == ""


def test_the_serving_verb_hands_the_words_on():
    options = make_parser().parse_args(["explore", "a.nc", "--units", "t2m=degC", "--spacing-km", "2,3"])
    words = panel_arguments(options)
    assert words[words.index("--args") + 1 :] == ["a.nc", "--units=t2m=degC", "--spacing-km=2.0,3.0"]
    assert files_and_told(words[words.index("--args") + 1 :]) == (
        [Path("a.nc")],
        {"units": {"t2m": "degC"}, "spacing_km": (2.0, 3.0)},
    )
