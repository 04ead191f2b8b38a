"""Every sentence that judges, on ensembles whose verdict is known: calibrated, too narrow, too wide, biased, dry."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from apps.explorer.calibration_jobs import asked_of, sentence, work_out
from apps.explorer.products import choice_of, make
from apps.explorer.sentences import maps_sentence, point_sentence, probability_sentence
from apps.explorer.state import ExplorerState
from apps.parts.runs import FieldStore, Run
from labkit.verify.clusters import clusters
from labkit.verify.verdicts import judge, tail_shares

# What the members are to the truth's own law: spread by this factor, and so much added; and what may be said of them.
# Rain cut at zero falls less often where the spread is less: it is too low then as well.
KINDS = {
    "calibrated": (1.0, 0.0, {"about right"}),
    "narrow": (0.4, 0.0, {"too narrow", "too narrow, and too low", "biased: the members are too low"}),
    "wide": (2.5, 0.0, {"too wide", "too wide, and too high", "biased: the members are too high"}),
    "low": (1.0, -1.0, {"biased: the members are too low"}),
    "high": (1.0, 1.0, {"biased: the members are too high"}),
}
DRY = {"wet": None, "half dry": 0.0, "95 % dry": 1.645 * np.sqrt(2)}
TRIALS = 40
EXPLICIT = ("calibrated", "narrow", "wide")


def ensemble(rng, kind: str, dry: str, *, n=12, times=TRIALS, cells=28, smooth=0.0):
    """Truth (time, y, x) and members (member, time, y, x) of a predictable part and an error; dry below a threshold."""
    factor, bias, _ = KINDS[kind]
    fields = rng.standard_normal((n + 2, times, cells, cells))
    if smooth:
        fields = gaussian_filter(fields, (0, 0, smooth, smooth), mode="wrap") * np.sqrt(4 * np.pi) * smooth
    known, own, others = fields[0], fields[1], fields[2:]
    truth, members = known + own, known + factor * others + bias
    return (truth, members) if DRY[dry] is None else tuple(np.maximum(f - DRY[dry], 0) for f in (truth, members))


def run_of(truth: np.ndarray, members: np.ndarray, variable: str = "reflectivity") -> Run:
    axis = np.arange(truth.shape[-1], dtype=float)
    times = np.datetime64("2021-09-12T00", "ns") + np.arange(len(truth)) * np.timedelta64(1, "h")
    place = {name: (("y", "x"), np.full(truth.shape[1:], np.nan)) for name in ("lat", "lon")}
    coords = {"time": times, "ensemble": np.arange(len(members)), "y": axis, "x": axis, **place}
    dims = ("time", "y", "x")
    groups = {"truth": (dims, truth), "prediction": (("ensemble", *dims), members)}
    nodes = {f"/{k}": xr.Dataset({variable: (d, v.astype(np.float32))}) for k, (d, v) in groups.items()}
    return Run("a", "a", xr.DataTree.from_dict({"/": xr.Dataset(coords=coords), **nodes}), FieldStore())


def state_of(run: Run, **chosen) -> ExplorerState:
    state = ExplorerState()
    state.load(variables=run.variables, n_times=len(run.times), n_members=run.n_members, extent=run.extent)
    state.set_threshold_bounds(-5.0, 60.0, 0.5)
    state.param.update(**chosen)
    return state


def wrong(words: Counter, allowed: set[str], *, unknown: bool = True) -> float:
    """Share of verdicts that are neither right nor, where it may be so, that it cannot be told."""
    good = sum(count for word, count in words.items() if word in allowed or (unknown and word == "cannot tell"))
    return round(1 - good / words.total(), 9)


@pytest.mark.parametrize("dry", DRY)
@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_of_one_time_is_right(rng, kind, dry):
    truth, members = ensemble(rng, kind, dry)
    words = Counter(judge([(members[:, t], truth[t])]).words for t in range(TRIALS))
    assert wrong(words, KINDS[kind][2]) <= 0.05, words
    if dry != "95 % dry":
        assert wrong(words, KINDS[kind][2], unknown=False) <= 0.1, ("it can be told here", words)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("times", [1, 3, 9])
@pytest.mark.parametrize("smooth", [0.0, 1.5, 6.0])
def test_a_calibrated_ensemble_is_never_judged_wrongly(n, times, smooth):
    """Few members, few times, fields that are one lump: what cannot be told is not told."""
    words = Counter()
    for dry in DRY:
        rng = np.random.default_rng([n, times, int(10 * smooth)])
        truth, members = ensemble(rng, "calibrated", dry, n=n, times=40 * times, cells=20, smooth=smooth)
        cases = [(members[:, t], truth[t]) for t in range(40 * times)]
        words += Counter(judge(cases[k * times : (k + 1) * times]).words for k in range(40))
    assert wrong(words, {"about right"}) <= 0.05, words


@pytest.mark.parametrize("kind", ["narrow", "wide", "low", "high"])
@pytest.mark.parametrize("dry", DRY)
def test_what_is_wrong_is_never_called_right(kind, dry):
    words = Counter()
    for smooth, n, times in ((1.5, 4, 2), (1.5, 12, 8), (6.0, 12, 1)):
        truth, members = ensemble(np.random.default_rng(n), kind, dry, n=n, times=15 * times, cells=20, smooth=smooth)
        cases = [(members[:, t], truth[t]) for t in range(15 * times)]
        words += Counter(judge(cases[k * times : (k + 1) * times]).words for k in range(15))
    assert words["about right"] / words.total() <= 0.05, words
    opposite = {"narrow": "too wide", "wide": "too narrow", "low": "too high", "high": "too low"}[kind]
    assert sum(count for word, count in words.items() if opposite in word) / words.total() <= 0.05, words


def test_an_error_that_lasts_is_fewer_cases(rng):
    """The members' noise is drawn anew each hour, the truth's error is a red series: hours in a row make no bias."""
    words = Counter()
    for _ in range(40):
        error = rng.standard_normal(32)
        for t in range(1, 32):
            error[t] = 0.8 * error[t - 1] + 0.6 * error[t]
        members = rng.standard_normal((12, 32, 12, 12)) + rng.standard_normal((12, 32, 1, 1))
        truth = rng.standard_normal((32, 12, 12)) + error[:, None, None]
        words[judge([(members[:, t], truth[t]) for t in range(32)]).words] += 1
    assert wrong(words, {"about right"}) <= 0.05, words


def test_ties_are_shared_in_closed_form():
    """Two of three lowest are one half each; a cell where all are equal counts 1 / (n + 1) at both ends."""
    truth = np.array([[0.0, 0.0, 3.0]])
    members = np.array([[[0.0, 0.0, 1.0]], [[2.0, 0.0, 2.0]]])
    below, above = tail_shares(members, truth)
    np.testing.assert_allclose(below, [1 / 2, 1 / 3, 0])
    np.testing.assert_allclose(above, [0, 1 / 3, 1])
    verdict = judge([(members, truth)])
    assert (verdict.below, verdict.above) == pytest.approx((5 / 18, 4 / 9)) and verdict.ties


def test_what_nobody_can_judge_is_not_judged():
    dry = np.zeros((5, 8, 8))
    assert judge([(dry, dry[0])]).words == "cannot tell", "all are dry"
    assert judge([(dry[:1], dry[0] + 1)]).words == "cannot tell", "one member"
    nothing = judge([(dry, dry[0] * np.nan)])
    assert nothing.words == "cannot tell" and np.isnan(nothing.inside)
    lost = np.where(np.arange(5)[:, None, None] == 2, np.nan, dry)
    assert np.isnan(judge([(lost, dry[0])]).inside), "a member that is lost is no member that is right"


@pytest.mark.parametrize("dry", DRY)
@pytest.mark.parametrize("kind", KINDS)
def test_the_sentences_of_maps_and_envelope_say_it(rng, kind, dry):
    run = run_of(*ensemble(rng, kind, dry, times=20))
    state = state_of(run, product="envelope")
    for say in (lambda: maps_sentence(run, state), lambda: make(run, choice_of(state)).sentence):
        words = Counter()
        for state.time in range(20):
            said = say().removesuffix(").").split("(")[-1]
            words["cannot tell" if "cannot tell" in said else said] += 1
            assert ("ties by lot" in say()) == (dry != "wet")
        assert wrong(words, KINDS[kind][2]) <= 0.05, words


@pytest.mark.parametrize("dry", ["wet", "95 % dry"])
@pytest.mark.parametrize("kind", EXPLICIT)
def test_the_sentences_of_the_calibration_tab_say_it(rng, kind, dry):
    """Ranks: the verdict. Reliability and PIT: as many bins beyond chance as chance makes, and more where it is not."""
    off = {"reliability": [], "distributions": []}
    for _ in range(3):
        run = run_of(*ensemble(rng, kind, dry, n=7, times=12, cells=24))
        state = state_of(run, threshold=0.5)
        for state.diagnostic in ("ranks", "reliability", "distributions"):
            said = sentence(run, asked := asked_of(run, state), work_out(run, asked))
            if state.diagnostic == "ranks":
                assert any(word in said for word in KINDS[kind][2] | {"cannot tell"}), said
                assert ("ties by lot" in said) == (dry != "wet")
            else:
                beyond, bins = (int(part.split()[-1 if k == 0 else 0]) for k, part in enumerate(_counted(said)))
                off[state.diagnostic].append(beyond / bins)
    for name, shares in off.items():  # where nearly all is dry, nearly all bins are as they should be, and said to be
        assert np.mean(shares) <= 0.15 if kind == "calibrated" else dry != "wet" or np.mean(shares) >= 0.3, (
            name,
            shares,
        )


def _counted(said: str) -> list[str]:
    """`... in 3` and `17 bins ...` of the part that counts bins."""
    return said.split(" bins")[0].split(" of ")[-2:]


@pytest.mark.parametrize("kind", ["one kind", "skewed", "two kinds"])
@pytest.mark.parametrize(("dry", "n"), [("wet", 6), ("wet", 20), ("half dry", 6), ("95 % dry", 20)])
def test_clusters_are_distinct_only_where_there_are_some(rng, kind, dry, n):
    """One law, also with one leading pattern or skewed amounts, has no clusters, whatever they are cut into."""
    distinct, amount = 0, {"two kinds": 8.0 * (np.arange(n) % 2)}
    for _ in range(20):
        amount |= {"one kind": rng.standard_normal(n), "skewed": rng.gamma(2.0, 1, n)}
        pattern = np.sin(np.linspace(0, np.pi, 24))[:, None] * np.ones(24)
        fields = rng.standard_normal((n, 24, 24)) + amount[kind][:, None, None] * pattern
        fields = fields if DRY[dry] is None else np.maximum(fields - DRY[dry], 0)
        found = clusters(xr.DataArray(fields, dims=("ensemble", "y", "x")), number=2)
        distinct += found.silhouette > found.chance
    assert distinct >= 18 if kind == "two kinds" else distinct <= 1, distinct


def test_ties_are_named_where_members_are_counted():
    """In a dry place no member is below the truth, and none above: all are as dry."""
    run = run_of(np.zeros((2, 8, 8)), np.zeros((5, 2, 8, 8)))
    state = state_of(run, product="extremes", by="maximum")
    assert "0 of 5 members are below it and 5 equal to it" in point_sentence(run, state)
    assert "more than 0 and as much as 5 of 5 members" in make(run, choice_of(state)).sentence
    assert "cannot tell" in maps_sentence(run, state)
    state.product = "clusters"
    assert "cannot be told apart" in make(run, choice_of(state)).sentence


def test_probabilities_are_of_the_cells_that_both_know():
    truth, members = np.zeros((1, 4, 4)), np.zeros((3, 1, 4, 4))
    truth[0, :, :2], members[:, 0, :, :2] = np.nan, 9.0
    run = run_of(truth, members)
    assert "0.0% of the area in the members on average, 0.0% in the truth" in probability_sentence(run, state_of(run))
