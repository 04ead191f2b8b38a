"""What the calibration tab shows: which diagnostic of what, worked out and said in words; no user interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pandas as pd
import xarray as xr

from apps.explorer.sentences import by_lot, verdict_text
from apps.explorer.state import DIAGNOSTICS, ExplorerState
from apps.parts.labels import time_label
from apps.parts.runs import Run
from labkit.plots.colours import SOURCE_LABELS
from labkit.store.sound import NEVER_WRITTEN
from labkit.verify.bootstrap import FEWEST
from labkit.verify.verdicts import Verdict, judge

MAX_VALUES = 60_000_000
FEW_TIMES = 4

WITH_THRESHOLD = ("reliability", "neighbourhoods")


@dataclass(frozen=True)
class Asked:
    """A diagnostic of a variable; `options` are keyword arguments of its functions in labkit, `times` among them."""

    diagnostic: str
    variable: str
    times: tuple[int, ...]
    options: tuple[tuple[str, object], ...] = ()

    @property
    def arguments(self) -> dict[str, object]:
        return {"times": list(self.times)} | dict(self.options)


@dataclass(frozen=True)
class Calibration:
    """Ranks and spread: `data` of `calibration_data`, and the score table of all variables."""

    data: dict[str, dict[str, xr.Dataset]]
    table: pd.DataFrame
    times: tuple[int, ...]
    reliability_index: float
    verdict: Verdict

    def row(self, source: str, variable: str) -> pd.Series:
        chosen = self.table[(self.table.source == source) & (self.table.variable == variable)]
        return chosen.iloc[0]


def asked_of(run: Run, state: ExplorerState) -> Asked:
    options: dict[str, object] = {}
    if state.diagnostic in WITH_THRESHOLD:
        options["threshold"] = state.threshold
    if state.diagnostic == "strata":
        options["by"] = state.strata
    return Asked(state.diagnostic, state.variable, times_of(run, state.scope, state.time), tuple(options.items()))


def times_of(run: Run, scope: str, time: int) -> tuple[int, ...]:
    """The times that a scope means: one, or all; of a very large run evenly spread ones, so that it takes seconds."""
    if scope == "case":
        return (time,)
    values = run.n_members * len(run.x) * len(run.y) * max(len(run.variables), 1)
    count = int(np.clip(MAX_VALUES // values, 1, len(run.times)))
    return tuple(int(t) for t in np.unique(np.linspace(0, len(run.times) - 1, count).astype(int)))


def module_of(diagnostic: str, room: str) -> str:
    """The module of a diagnostic in "plots", which draws it, or in "verify", which works it out."""
    return f"labkit.{room}.{DIAGNOSTICS[diagnostic][1]}"


def function_of(diagnostic: str, kind: str) -> str:
    """Name of the "data", "table" or "figure" function of a diagnostic in its module."""
    return f"{DIAGNOSTICS[diagnostic][2]}_{kind}"


def work_out(run: Run, asked: Asked):
    """The result of a diagnostic; LabError where the run does not have what it takes."""
    if asked.diagnostic == "ranks":
        return calibrate(run, asked.variable, asked.times)
    data = getattr(import_module(module_of(asked.diagnostic, "verify")), function_of(asked.diagnostic, "data"))
    return data(run.tree, asked.variable, **asked.arguments)


def table_of(run: Run, asked: Asked) -> pd.DataFrame:
    """The numbers of the diagnostic's pictures, worked out anew."""
    module = import_module(module_of(asked.diagnostic, "verify"))
    data, table = (getattr(module, function_of(asked.diagnostic, kind)) for kind in ("data", "table"))
    return table(data(run.tree, asked.variable, **asked.arguments))


def calibrate(run: Run, variable: str, times: tuple[int, ...]) -> Calibration:
    """Calibration over the given times of a run."""
    from labkit.verify.calibration import calibration_data, reliability_index
    from labkit.verify.scores import score_table, score_tree
    from labkit.verify.selection import judged

    tree = run.full_tree()
    chosen = xr.DataTree.from_dict(
        {"/": tree.to_dataset(inherit=False).isel(time=list(times))}
        | {
            f"/{name}": tree[name].to_dataset(inherit=False).isel(time=list(times))
            for name in tree.children
            if name != "input"
        }
    )
    data = calibration_data(chosen, variable)
    unevenness = float(reliability_index(data["prediction"]["ranks"]))
    truth, fields = judged(chosen, variable, ("prediction",))
    members = fields["prediction"].transpose("time", "ensemble", "y", "x").values
    verdict = judge(list(zip(members, truth.transpose("time", "y", "x").values, strict=True)))
    return Calibration(data, score_table(score_tree(chosen)), times, unevenness, verdict)


def left_out(asked: Asked, result) -> str:
    """What was not compared because not all sources have it, in words; "" where nothing is."""
    holder = {
        "ranks": lambda: result.data["prediction"]["ranks"],
        "reliability": lambda: result["prediction"].curve,
        "neighbourhoods": lambda: result.sources["prediction"],
        "distributions": lambda: result.pit["prediction"],
    }.get(asked.diagnostic, lambda: result)()
    return holder.attrs["left_out"]


def notes(run: Run, asked: Asked, missing: str = "") -> list[str]:
    """What cannot be said of this run, and why. missing: what `left_out` says."""
    unwritten = run.tree.attrs.get(NEVER_WRITTEN)
    found = [f"Never written, so that it takes no part: {unwritten}."] if unwritten else []
    found += [f"Not compared, since not all sources have it: {missing}."] if missing else []
    if run.n_members == 1:
        found.append("One member only: it has no spread, and its probabilities are 0 or 1.")
    if len(asked.times) < FEW_TIMES:
        some = "One time" if len(asked.times) == 1 else f"{len(asked.times)} times"
        found.append(f"{some} only: how sure this is cannot be said, so that there are no intervals over times.")
    elif len(asked.times) < len(run.times):
        found.append(f"Made of {len(asked.times)} of {len(run.times)} times, evenly spread, so that it takes seconds.")
    if not run.has("oracle", asked.variable):
        found.append("No oracle in this run: how good a model could be is not known.")
    return found


def sentence(run: Run, asked: Asked, result) -> str:
    """What is seen, as one plain sentence or two."""
    known = run.describe(asked.variable)
    times = asked.times
    when = time_label(run.times[times[0]]) if len(times) == 1 else f"{len(times)} times"
    start = f"{known.long_name}, {when}: "
    say = {
        "ranks": lambda: _ranks_sentence(run, asked.variable, result),
        "reliability": lambda: _reliability_sentence(
            result, f"{dict(asked.options).get('threshold'):g} {known.units}", by_chance(run, asked)
        ),
        "neighbourhoods": lambda: _fss_sentence(result, known.units),
        "distributions": lambda: _distribution_sentence(result, known.units, by_chance(run, asked)),
        "strata": lambda: _strata_sentence(result, known.units),
        "maps": lambda: _maps_sentence(result),
    }
    return start + say[asked.diagnostic]()


def by_chance(run: Run, asked: Asked) -> float:
    """How often a calibrated ensemble lies beyond a band of 95 %: more often where few times and members make it."""
    return max(0.05, 2 / (run.n_members + 1)) if len(asked.times) < FEWEST else 0.05


def _ranks_sentence(run: Run, variable: str, result: Calibration) -> str:
    verdict, line = result.verdict, result.row("prediction", variable)
    skill = line.get("achieved_skill", np.nan)
    reached = f" It achieves {skill:.0%} of what is possible over the coarse input." if np.isfinite(skill) else ""
    ratio = f"spread / skill is {line.spread_skill:.2f}, " if np.isfinite(line.spread_skill) else ""
    return (
        f"the truth is outside the members in {1 - verdict.inside:.0%} of the cells{by_lot(verdict)}, "
        f"{2 * verdict.expected:.0%} if calibrated ({verdict_text(verdict, run.n_members)}); {ratio}"
        f"reliability index {result.reliability_index:.2f} (0 is flat).{reached}"
    )


def _reliability_sentence(data: Mapping, event: str, chance: float) -> str:
    own, rate = data["prediction"], data["prediction"].score("base_rate")
    curve = own.curve
    off, bins = beyond(curve.observed, curve.consistency_low, curve.consistency_high)
    if not 0 < rate < 1:
        return f"the truth is {'always' if rate else 'never'} above {event}, so that there is no skill to be had."
    low, high = (own.score("skill", bound) for bound in ("low", "high"))
    sure = f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""
    oracle = f", the oracle's {data['oracle'].score('skill'):.2f}" if "oracle" in data else ""
    return (
        f"above {event}, in {rate:.2%} of the cells, the Brier skill score is {own.score('skill'):.2f}{sure}{oracle}; "
        f"the observed share is beyond what chance allows in {off} of {bins} bins, {_few(chance * bins)} if "
        f"calibrated. ROC area {own.score('roc_area'):.2f}."
    )


def _fss_sentence(data, unit: str) -> str:
    useful = data.useful_km
    words = {
        name: "at no scale" if np.isnan(at) else f"from {at:.3g} km on"
        for name, at in useful.items()
        if name in ("interpolation", "prediction", "member")
    }
    members = words.pop("member")
    coarse = f"; the coarse input {words['interpolation']}" if "interpolation" in words else ""
    return (
        f"above {data.threshold:g} {unit} the members' probability is useful {words['prediction']}, single members "
        f"{members}{coarse}."
    )


def beyond(values: xr.DataArray, low: xr.DataArray, high: xr.DataArray) -> tuple[int, int]:
    """How many values lie beyond their bounds by more than rounding, of how many that have both."""
    known = values.notnull() & low.notnull() & high.notnull()
    slack = 1e-9 * abs(values)
    outside = known & ((values < low - slack) | (values > high + slack))
    return int(outside.sum()), int(known.sum())


def _few(number: float) -> str:
    return "less than one" if number < 0.95 else f"about {number:.0f}"


def _distribution_sentence(data, unit: str, chance: float) -> str:
    own, pit = data.quantiles["prediction"].isel(level=-1), data.pit["prediction"]
    off, bins = beyond(pit.frequency, pit.low, pit.high)
    level, truth, sure = f"{100 * float(own.level):g} %", float(own.truth), ""
    if np.isfinite(own.member_low):
        extreme = truth < float(own.member_low) or truth > float(own.member_high)
        luck = f" (by chance in {max(float(own.p), 0.05):.0%} of cases)" if extreme else ""
        sure = f", {'beyond' if extreme else 'within'} the range of single members{luck}"
    return (
        f"the {level} quantile is {float(own.pooled):.3g} {unit} in the members together and {truth:.3g} {unit} in the "
        f"truth{sure}; the PIT is beyond what chance allows in {off} of {bins} bins, {_few(chance * bins)} if "
        "calibrated."
    )


def _strata_sentence(data: xr.Dataset, unit: str) -> str:
    own = data.sel(source="prediction", bound="estimate")
    crps, ratio = own.crps.values, own.spread_skill.values
    if not np.isfinite(crps).any():
        return "no stratum has a score."
    worst, best = own.stratum.values[np.nanargmax(crps)], own.stratum.values[np.nanargmin(crps)]
    if len(crps) == 1:
        return f"there is one stratum only, {worst}; choose another split."
    spread = f" Spread / skill goes from {ratio.min():.2f} to {ratio.max():.2f}." if np.isfinite(ratio).all() else ""
    return (
        f"the model's CRPS goes from {np.nanmin(crps):.3g} {unit} ({best}) to {np.nanmax(crps):.3g} {unit} ({worst})."
        f"{spread} "
        "In brackets: how many times have any of it."
    )


def _maps_sentence(data: xr.Dataset) -> str:
    if data.attrs["untold"] > 0.5:
        return "too few times, or too alike, to tell a bias from chance; grey lies over what cannot be told."
    chance = data.attrs["oracle_sure"]
    same = f" (the oracle's, which has none, in {chance:.0%})" if np.isfinite(chance) else " (about 5 % by chance)"
    said = f"the bias is not zero, with 95 %, in {float(data.bias_sure.mean()):.0%} of the cells{same}"
    if not data.attrs["reference"]:
        return f"{said}."
    worse, better = (float((data.excess_sure & sign).mean()) for sign in (data.excess > 0, data.excess < 0))
    other = SOURCE_LABELS[data.attrs["reference"]].lower()
    return f"{said}; its CRPS is larger than the {other}'s in {worse:.0%} and smaller in {better:.0%}."
