"""The terminal's verbs of scales: `labkit spectra` and `labkit patch-size`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from labkit.cli.told import add_told, told, warn

SPECTRA_HELP = """\
Which scales are there, and how far do fields know of themselves?

  labkit spectra ensemble.nc                               an output tree
  labkit spectra ensemble.nc --residual --direction x --csv spectra.csv
  labkit spectra runs/nano --residual                      what a run's regression leaves of its validation part
  labkit spectra idealised start=2000-01-01 end=2000-02-01 step_h=7      a data set: truth and interpolated input

For each variable: the wavelength below which model, regression and coarse input are not resolved (20 % of the truth's
variance lacking or too much; "unsure" where it seems so but the times are too few to tell), and the truth's
decorrelation lengths with 95 % intervals, of fields that are taken to have one mean everywhere and always; without a
truth the members' lengths. The CSV has the spectra.
"""
PATCH_HELP = """\
Which patch should a diffusion model be trained with? The smallest beyond whose edge a cell tells less than 5 % of the
variance in its middle, for every variable and by the upper end of the 95 % interval: of the residual (the truth less
the regression), or of a data set, which has no regression, of what the interpolated input leaves. Fields are taken to
have one mean everywhere and always. Where the domain is too small or the times are too few to tell, that is said and
the whole domain taken. CorrDiff's rule, the first zero of the autocorrelation, is said beside.

  labkit patch-size ensemble.nc                            an output tree with a regression
  labkit patch-size runs/nano                              a run: what its regression leaves of its validation part
  labkit patch-size ensemble.nc --raw --multiple 16        the fields themselves, for a network of five levels
  labkit patch-size mini --probe                           the data of a preset; what a patch costs on this machine
  labkit patch-size radar region=[256,512,320,576] --preset radar --probe

--probe takes a few training steps and evaluations of the preset's diffusion network, and says from them what training
and a member of the whole domain take.
"""
LEGEND = """\
model, regression, input: the wavelength [km] at which it stops to be resolved ("-" nowhere, "?" where
the times are too few to tell); lengths with 95 % intervals ("-" beyond half the domain, or too few times)"""
RESOLVED = {"prediction": "model", "regression": "regression", "interpolation": "input"}
LENGTHS = {"e_folding": "1/e [km]", "integral_scale": "integral [km]", "zero_crossing": "zero [km]"}
ASIDES = {
    "residual": "residuals of the regression",
    "detail": "residual of bilinear interpolation; the regression's own will be shorter",
    "raw": "the fields themselves; what a regression leaves of them reaches less far",
}


def add_verbs(add) -> None:
    """Add the verbs by `add(name, summary, help, function)`, which gives a parser."""
    spectra = add("spectra", "which scales there are", SPECTRA_HELP, _spectra)
    _add_subject(spectra)
    spectra.add_argument("--residual", action="store_true", help="of what the regression, or interpolation, leaves")
    spectra.add_argument("--direction", choices=["radial", "x", "y"], default="radial")
    spectra.add_argument("--csv", type=Path, help="also write the spectra as CSV")

    patch = add("patch-size", "which patch to train with", PATCH_HELP, _patch_size)
    _add_subject(patch)
    patch.add_argument("--raw", action="store_true", help="from the fields, not the residuals")
    patch.add_argument("--preset", help="whose network is meant (default: the run's, else nano)")
    patch.add_argument("--multiple", type=int, help="cells that a side is a multiple of (default: the network's)")
    patch.add_argument("--probe", action="store_true", help="measure what the patch costs on this machine")
    patch.add_argument("--batch", type=int, help="patches at once in that measurement (default: as many as suit)")


def _add_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT", help="output tree, run folder, data set or preset")
    parser.add_argument("options", nargs="*", metavar="key=value", help="options of a data set, overrides of a preset")
    add_told(parser)


def _spectra(options) -> None:
    from labkit.recipes.scale_source import open_scale_source
    from labkit.verify.patch_size import trend_sentence
    from labkit.verify.reach import TREND
    from labkit.verify.scales import finest_quantity, scale_tables

    subject = open_scale_source(options.what, options.options, **told(options))
    warn(subject.tree)
    names = _variables(subject.tree)
    quantity = "raw"
    if options.residual:
        quantity = finest_quantity(subject.tree, names[0]) if subject.kind == "data" else "residual"
    table, spectra = scale_tables(subject.tree, quantity=quantity, direction=options.direction)
    _say_what(subject, dict.fromkeys(names, quantity), table.judge)
    print(_shown(table).to_string())
    print(LEGEND)
    for name, share in table.trend[table.trend > TREND].items():
        print(trend_sentence(name, share, "along y or x"))
    if options.csv is not None:
        spectra.to_csv(options.csv)


def _patch_size(options) -> None:
    from labkit.grid import spacing_km
    from labkit.recipes import load_preset
    from labkit.recipes.probe import network_multiple
    from labkit.recipes.scale_source import open_scale_source
    from labkit.verify.patch_size import configuration, recommend_patch
    from labkit.verify.scales import reach_data

    subject = open_scale_source(options.what, options.options, **told(options))
    warn(subject.tree)
    config = load_preset(options.preset) if options.preset else subject.config or load_preset("nano")
    quantities = _quantities(subject, raw=options.raw)
    reach = reach_data(subject.tree, list(quantities), quantity=quantities)
    multiple = options.multiple or network_multiple(config)
    multiples = tuple(math.lcm(multiple, factor) for factor in subject.factor)
    grid = {"spacing_km": spacing_km(subject.tree), "shape": subject.shape}
    advice = recommend_patch(reach, **grid, multiple=multiples, align=subject.factor)
    _say_what(subject, quantities, reach.judge.to_series())
    _print_advice(advice, reach, subject, grid["spacing_km"])
    if options.probe:
        _print_probe(subject, config, advice, options.batch)
    for name, lines in configuration(advice.patch, advice.overlap).items():
        print(f"\n# {name}\n{lines}")


def _quantities(subject, *, raw: bool) -> dict[str, str]:
    """What is looked at of each variable: of a tree the residuals, or nothing; of data what comes nearest to them."""
    from labkit.verify.scales import finest_quantity

    names = _variables(subject.tree)
    if raw or subject.kind != "data":
        return dict.fromkeys(names, "raw" if raw else "residual")
    return {name: finest_quantity(subject.tree, name) for name in names}


def _shown(table):
    """The table of `scale_tables` as text, not wider than a terminal: resolutions [km] and lengths with intervals."""
    import pandas as pd

    lines = {}
    for name, line in table.iterrows():
        shown = {}
        for source, title in RESOLVED.items():
            if f"{source}_resolution" in table:
                unsure = line.get(f"{source}_unsure", math.nan)
                at = line[f"{source}_resolution"]
                shown[title] = f"{_number(unsure)}?" if math.isnan(at) and unsure > 0 else _number(at)
        for length, title in LENGTHS.items():
            at, low, high = (_number(line[f"{length}{bound}"]) for bound in ("", "_low", "_high"))
            shown[title] = f"{at} ({low}–{high})" if at != "-" else at
        lines[name] = shown | {"trend": f"{line.trend:.2f}"}
    return pd.DataFrame.from_dict(lines, orient="index").fillna("-")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _variables(tree) -> list[str]:
    judged = tree["prediction"].data_vars if "prediction" in tree.children else tree["truth"].data_vars
    return [str(name) for name in judged if name in tree["truth"].data_vars]


def _say_what(subject, quantities: dict[str, str], judge) -> None:
    some = "" if subject.shown == subject.available else f" of {subject.available:,}"
    print(f"fields     {subject.shown}{some} times on {' x '.join(map(str, subject.shape))} cells")
    for quantity in dict.fromkeys(quantities.values()):
        mine = [name for name, what in quantities.items() if what == quantity]
        print(f"of         {', '.join(mine)}: {ASIDES[quantity]}")
    if untold := list(judge.index[judge == "prediction"]):
        print(f"no truth of {', '.join(untold)} in this file: the members are looked at, and compared with nothing")


def _print_advice(advice, reach, subject, spacing_km: tuple[float, float]) -> None:
    from labkit.verify.patch_size import cover_cost, data_warnings, remaining, told_sentence

    (height, width), (dy, dx) = advice.patch, spacing_km
    cost = cover_cost(subject.shape, advice.patch, advice.overlap, align=subject.factor)
    print(f"patch      {height} x {width} cells, {height * dy:.0f} x {width * dx:.0f} km, {advice.overlap} shared")
    print(f"cost       {cost.patches} patches cover the domain, {cost.waste:.2f} times its cells")
    left = remaining(reach, advice.patch, shape=subject.shape)
    cut = [d for d in ("y", "x") if left.cut.sel(direction=d)]
    each = [(str(name), d) for name in left["variable"].values for d in cut]
    warnings = list(advice.warnings)
    if subject.pairs is not None:
        known = {"coarsening": subject.factor, "inferred": subject.inferred, "samples": len(subject.pairs)}
        warnings += data_warnings(**known, patch=advice.patch, shape=subject.shape)
    said = {
        "missed": [f"{name} along {d}: {told_sentence(left.sel(variable=name, direction=d))}" for name, d in each]
        or ["nothing, the patch is the domain"],
        "because": advice.reasons,
        "warning": warnings,
    }
    for title, sentences in said.items():
        for sentence in sentences:
            print(f"{title:11}{sentence}")


def _print_probe(subject, config, advice, batch_size: int | None) -> None:
    from labkit.recipes.probe import cost_sentences, probe

    place = {"shape": subject.shape, "factor": subject.factor}
    found = probe(config, channels=subject.channels, patch=advice.patch, batch_size=batch_size, **place)
    print(f"network    {config.preset or config.recipe}")
    for sentence in cost_sentences(found, config, overlap=advice.overlap, **place):
        print(f"probe      {sentence}")
