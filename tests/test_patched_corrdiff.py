"""A CorrDiff of patches: each told of its own place in training and drawing alike, and one that goes on and loads."""

import numpy as np
import pytest
import torch
from tiny_corrdiff import diffusion_loss, tiny_config, untrained

from labkit import recipes
from labkit.data import batches
from labkit.data.batches import Batches
from labkit.errors import ConfigError
from labkit.recipes import corrdiff
from labkit.recipes.drawing import draw_cases
from labkit.recipes.model import default_batch
from labkit.sampling import Schedule

PATCH = "patch={shape: [8, 12], overlap: 4}"
IN_PATCHES = "patch={shape: [8, 12], overlap: 4, regression: patches, context: false}"
SCHEDULE = Schedule(solver="heun", num_steps=3, sigma_min=0.02, sigma_max=40.0)
WIDE = "data.options={shape: [16, 24], factor: 4, dx_km: 16}"


def patched_model(*overrides):
    return untrained(WIDE, *(overrides or (PATCH,)))


def stream(model, pairs, **options):
    return Batches(pairs, model.statistics, batch_size=6, seed=0, crop=(8, 12), whole_input=True, **options)


def members(model, pairs, times=(0, 1), seeds=(3, 4), batch_size=5, **options):
    drawn = draw_cases(model, pairs, list(times), list(seeds), schedule=SCHEDULE, batch_size=batch_size, **options)
    return {(t, k): fields for t, k, fields in drawn}


class Spy(torch.nn.Module):
    """Stands in for the grid's embedding and the network: keeps what it was given, entry by entry."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, x, noise=None, *, position=None):
        told = self.network.grid(len(x), x.shape[-2:], position)
        self.seen.append((x.clone(), told.clone(), position.clone()))
        return self.network(x, noise, position=position)


def spied(model):
    """The model with an embedding that holds every cell's row and column, and a spy for its diffusion network."""
    grid = model.diffusion.network.grid
    rows, columns = np.meshgrid(np.arange(16.0), np.arange(24.0), indexing="ij")
    grid.grid = torch.from_numpy(np.stack([rows, columns, rows, columns]).astype(np.float32))
    model.diffusion.network = Spy(model.diffusion.network)
    return model.diffusion.network


def check_pairing(model, spy, fields_of):
    """Every entry's embedding, position and conditions are cut at one place: that of its own patch."""
    places = 0
    for x, told, position in spy.seen:
        for entry, (y, x0) in enumerate(position.tolist()):
            rows, columns = np.meshgrid(np.arange(y, y + 8.0), np.arange(x0, x0 + 12.0), indexing="ij")
            np.testing.assert_array_equal(told[entry, 0], rows)
            np.testing.assert_array_equal(told[entry, 1], columns)
            orography = x[entry, fields_of["orography"]]
            np.testing.assert_array_equal(orography, fields_of["whole"][y : y + 8, x0 : x0 + 12])
        places += len({tuple(corner) for corner in position.tolist()})
    assert places > len(spy.seen)  # batches of several places, or nothing was proved


def orography(model, pairs):
    """Where the first invariant stands among the diffusion network's channels, and its values on the whole domain."""
    whole = batches.load(pairs, [0], model.statistics).invariant[0, 0]
    return {"orography": len(model.channels.target) + len(model.channels.input), "whole": whole}


def test_training_pairs_every_patch_with_its_own_place():
    model = patched_model()
    pairs, spy = model.pairs("train"), spied(model)
    loss = diffusion_loss(model, corrdiff._whole_invariant(model, pairs))
    with stream(model, pairs) as source:
        for _ in range(3):
            loss(model.diffusion, next(source), torch.Generator().manual_seed(0))
    check_pairing(model, spy, orography(model, pairs))


def test_drawing_pairs_every_patch_with_its_own_place():
    model = patched_model()
    pairs, spy = model.pairs("test"), spied(model)
    members(model, pairs)
    check_pairing(model, spy, orography(model, pairs))
    assert max(len(x) for x, _, _ in spy.seen) == 5  # never more patches than asked for


def test_few_members_need_no_full_batch():
    """Of patches as many as these members have, and never more than the device would take."""
    model = patched_model()
    patches = len(model.patching.grid((16, 24)))
    assert default_batch(model, (16, 24), members=2) == 2 * patches > 2
    assert default_batch(model, (16, 24), members=10_000) == default_batch(model, (16, 24))


def test_training_and_drawing_show_the_network_the_same_of_a_patch():
    """Conditions, mean and context of patches in training are those that drawing cuts out of the whole domain."""
    model = patched_model()
    pairs = model.pairs("train")
    spy = spied(model)
    with stream(model, pairs) as source:
        batch = next(source)
    diffusion_loss(model, corrdiff._whole_invariant(model, pairs))(
        model.diffusion, batch, torch.Generator().manual_seed(0)
    )
    trained = spy.seen.pop()[0][:, 4:]
    whole = batches.load(pairs, batch.index.tolist(), model.statistics)
    cases = [model.prepared(whole[i : i + 1]) for i in range(6)]
    patches = 6 * len(model.patching.grid((16, 24)))
    denoise = model.denoiser(cases, batch_size=patches)
    denoise(torch.zeros(6, 4, 16, 24), 1.0)
    x, _, position = spy.seen.pop()
    at = {(k // len(model.patching.grid((16, 24))), *corner): x[k, 4:] for k, corner in enumerate(position.tolist())}
    same = [(k, corner) for k, corner in enumerate(batch.position.tolist()) if (k, *corner) in at]
    assert len(same) >= 2
    for k, corner in same:
        torch.testing.assert_close(trained[k], at[(k, *corner)], rtol=0, atol=2e-3)  # means are kept in half precision


def test_the_context_is_the_whole_domain_resized():
    model = patched_model()
    coarse = torch.randn(2, len(model.channels.input), 4, 6, generator=torch.Generator().manual_seed(0))
    context = model.patching.resized(coarse)
    assert context.shape == (2, len(model.channels.input), 8, 12)
    torch.testing.assert_close(context.mean((2, 3)), coarse.mean((2, 3)), rtol=0, atol=0.2)
    slope = torch.linspace(0, 1, 6).expand(2, len(model.channels.input), 4, 6)
    assert (model.patching.resized(slope).diff(dim=-1) >= 0).all() and model.patching.resized(slope).diff(
        dim=-2
    ).abs().max() < 1e-6


@pytest.mark.parametrize("setting", [PATCH, IN_PATCHES])
def test_members_are_the_same_whatever_their_company(setting):
    model = patched_model(setting)
    pairs = model.pairs("test")
    together = members(model, pairs)
    assert together[0, 0].shape == (4, 16, 24)
    alone = members(model, pairs, wanted=[(1, 0)])
    np.testing.assert_array_equal(alone[1, 0], together[1, 0])
    other = members(model, pairs, batch_size=16)
    for key, fields in together.items():
        assert np.linalg.norm(other[key] - fields) < 1e-4 * np.linalg.norm(fields)


@pytest.mark.parametrize("setting", [PATCH, IN_PATCHES])
def test_a_patched_run_trains_goes_on_and_loads(tmp_path, setting):
    small = ["regression.samples=16", "diffusion.samples=16"]
    config = tiny_config(WIDE, setting, *small)
    model = recipes.train(config, tmp_path, quiet=True)
    pairs = model.pairs("test")
    expected = members(model, pairs)
    loaded = recipes.load(tmp_path)
    for key, fields in members(loaded, pairs).items():
        np.testing.assert_array_equal(fields, expected[key])
    assert loaded.config.patch == config.patch and "patches" in loaded.describe()
    assert not loaded.any_grid
    with pytest.raises(ConfigError, match="another patch"):
        recipes.train(tiny_config(WIDE, "patch={shape: [8, 8], overlap: 4}", *small), tmp_path, quiet=True)


def test_a_regression_of_patches_is_fused_and_one_of_domains_is_not():
    model = patched_model(IN_PATCHES)
    pairs = model.pairs("test")
    conditions = model.conditions(batches.load(pairs, [0, 1], model.statistics))
    silent = model.regression.unet.exit
    torch.nn.init.zeros_(silent.weight)
    torch.nn.init.zeros_(silent.bias)
    torch.testing.assert_close(model.mean(conditions), model.regression.baseline(conditions), rtol=0, atol=1e-5)


def test_settings_that_contradict_are_refused():
    with pytest.raises(ConfigError, match=r"either data\.crop or patch"):
        tiny_config(PATCH, "data.crop=[8, 8]")
    with pytest.raises(ConfigError, match=r"patch\.overlaps: found an unknown key, expected one of shape, overlap"):
        tiny_config("patch={shape: [8, 8], overlaps: 3}")
    with pytest.raises(ConfigError, match="overlap of patches"):
        patched_model("patch={shape: [8, 12], overlap: 12}")
