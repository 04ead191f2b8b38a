"""What a patch costs: counts that a counting network confirms, memory that grows with the batch, refusals in words."""

import math

import psutil
import pytest
import torch
from tiny_corrdiff import tiny_config, untrained

from labkit.diffusion.patches import PatchGrid
from labkit.errors import Cancelled, ConfigError, LabError
from labkit.recipes import load_preset, open_part, probing
from labkit.recipes.drawing import draw_cases
from labkit.recipes.probe import Probe, drawn_entries, network_multiple, on_patches, probe
from labkit.sampling import Schedule

NANO = {"channels": (14, 4, 4), "patch": (32, 32), "shape": (64, 64), "factor": (8, 8), "steps": 1}
MEASURED = {"train_step_s": 0.4, "draw_step_s": 0.1, "train_mb": 100.0, "draw_mb": 20.0, "train_patch_mb": 10.0}
LOOKS = {"draw_patch_mb": 4.0, "network_mb": 5.0, "device": "CPU", "precision": "fp32"}
KNOWN = Probe(patch=(32, 32), batch_size=4, **MEASURED, **LOOKS)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Threads that wait for each other are slow on a machine that others use too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def measured():
    """Probes of nano by batch size, the larger one by its own choice, and the shares that were told meanwhile."""
    told, config = [], load_preset("nano", ["device=cpu"])
    few, usual = probe(config, batch_size=4, **NANO), probe(config, **NANO, progress=told.append)
    return few, usual, told


@pytest.mark.parametrize(
    ("patch", "overlap", "members", "batch_size", "solver"),
    [
        ((16, 16), 0, 3, 2, "heun"),
        ((16, 16), 0, 1, 4, "dpmpp_2m"),
        ((8, 8), 0, 3, 4, "dpmpp_2m"),
        ((8, 8), 4, 2, 7, "dpmpp_2m"),
        ((8, 8), 4, 1, 16, "heun"),
        ((8, 16), 4, 5, 16, "dpmpp_2m"),
        ((12, 8), 4, 1, 1, "dpmpp_2m"),
    ],
)
def test_as_many_patches_are_drawn_as_are_counted(patch, overlap, members, batch_size, solver):
    """Every patch that the network is given while members of a 16 x 16 domain are drawn, copies too."""
    whole = patch == (16, 16)
    given = f"patch={{shape: {list(patch)}, overlap: {overlap}, regression: patches}}"
    model, drawn = untrained(*([] if whole else [given])), []
    denoise = model.diffusion.denoise
    model.diffusion.denoise = lambda x, *others, **named: drawn.append(len(x)) or denoise(x, *others, **named)
    schedule = Schedule(solver=solver, num_steps=3)
    pairs = open_part(model.config, "test")
    list(draw_cases(model, pairs, [0], range(members), schedule=schedule, batch_size=batch_size))
    counted = {"overlap": overlap, "factor": pairs.factor, "members": members, "schedule": schedule}
    assert sum(drawn) == drawn_entries((16, 16), patch, batch_size=batch_size, **counted)


def test_patches_begin_at_coarse_cells():
    grid = PatchGrid.of((64, 64), (16, 32), overlap=4, align=(8, 8))
    counted = {"overlap": 4, "factor": (8, 8), "members": 1, "schedule": Schedule(solver="euler", num_steps=3)}
    assert drawn_entries((64, 64), (16, 32), batch_size=1, **counted) == 3 * len(grid) == 3 * 7 * 3


def test_a_drawing_and_a_batch_follow_from_the_steps():
    assert KNOWN.samples_per_s == pytest.approx(10)
    assert KNOWN.drawing_s(40) == pytest.approx(1.0)  # ten batches of four
    assert KNOWN.training_mb(4) == 105 and KNOWN.training_mb(6) == 125
    assert KNOWN.drawing_mb(14) == 65


def test_memory_grows_with_the_batch_along_a_line(measured):
    few, many, _ = measured
    assert 4 < many.batch_size <= 16  # nano's own, or what can be measured in time
    for kind in ("train", "draw"):
        small, large = (getattr(m, f"{kind}_mb") for m in (few, many))
        assert 0 < small < large
    assert many.train_mb > many.draw_mb  # activations are kept for the gradients
    assert few.training_mb(many.batch_size) == pytest.approx(many.training_mb(many.batch_size), rel=0.3)


def test_every_figure_is_there(measured):
    found, _, told = measured
    assert told == sorted(told) and told[0] < 0.2 < 0.5 < told[-1]
    assert found.patch == (32, 32) and found.batch_size == 4
    assert found.device.startswith("CPU, threads: 1") and found.precision in ("bf16", "fp32")
    assert 0 < found.draw_step_s < found.train_step_s < 60
    assert 4 < found.network_mb < 6  # 1.3 million parameters of 4 bytes


def test_what_does_not_fit_the_memory_is_refused():
    with pytest.raises(LabError, match="memory for patches of 256 x 256 cells: found too little for a batch of 16"):
        large = NANO | {"patch": (256, 256), "shape": (512, 512)}
        probe(load_preset("nano", ["device=cpu"]), **large, batch_size=16, room_mb=100)


def test_what_takes_too_long_or_is_not_wanted_any_more_is_ended():
    config = load_preset("nano", ["device=cpu"])
    with pytest.raises(LabError, match="no result within"):
        probe(config, **NANO, limit_s=0.2)
    with pytest.raises(Cancelled):
        probe(config, **NANO, cancel=lambda: True)
    left = [child for child in psutil.Process().children() if "labkit.recipes.probing" in child.cmdline()]
    assert not left


def test_patches_that_the_network_or_the_domain_refuse():
    config = load_preset("nano", ["device=cpu"])
    with pytest.raises(ConfigError, match="found 32 cells, expected 1 to 16"):
        probe(config, **NANO | {"shape": (16, 64)})
    ask = NANO | {"config": config.model_dump(mode="json"), "patch": (20, 32), "factor": (4, 4)}
    with pytest.raises(LabError, match=r"network grid: found \(20, 32\), expected both sides a multiple of 8"):
        probing.build(ask)


def test_the_multiple_is_the_networks_own():
    for name in ("nano", "mini", "radar"):
        model = load_preset(name)
        assert network_multiple(model) == {"nano": 8, "mini": 4, "radar": 8}[name]
    model = untrained()
    assert network_multiple(model.config) == model.diffusion.network.multiple


def test_the_configuration_on_patches_is_one_on_whole_domains_where_the_patch_is_one():
    config = tiny_config("data.crop=[8, 8]")
    assert on_patches(config, (16, 16), (16, 16)).patch is None
    patched = on_patches(config, (8, 8), (16, 16))
    assert patched.patch.shape == (8, 8) and patched.patch.context and patched.data.crop is None


def test_memory_is_unknown_rather_than_wrong(monkeypatch):
    monkeypatch.setattr(probing, "Path", lambda path: __import__("pathlib").Path("/no/such/file"))
    assert math.isnan(probing.peak_mb(False)) and math.isnan(probing.peak_mb(False, reset=True))
