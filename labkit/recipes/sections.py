"""Sections of the configuration that recipes share: data, networks, stages of training, drawing, patches."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from labkit.config import Positive, Size, Strict
from labkit.errors import ConfigError
from labkit.sampling import Schedule

Steps = Annotated[int, Field(ge=2, le=10_000)]
Solver = Literal["euler", "heun", "stochastic_heun", "dpmpp_2m"]


class NetworkConfig(Strict):
    """Hyper-parameters of the UNet; see `labkit.models.unet.UNet`."""

    model_channels: Size = 64
    channel_mult: tuple[Size, ...] = Field((1, 2, 2), min_length=1, max_length=16)
    num_blocks: Size = 4
    attn_resolutions: tuple[Positive, ...] = (16,)
    channel_mult_emb: Size = 4
    dropout: float = Field(0.13, ge=0, lt=1)
    grid_embedding: Literal["sinusoidal", "learnable", "none"] = "sinusoidal"
    grid_channels: int = Field(4, ge=0, le=4096)
    patch_embed: Size = 1
    head_channels: int = Field(0, ge=0, le=4096)


class StageConfig(Strict):
    """How one network is trained; all durations count samples, so that they do not depend on the batch."""

    samples: Positive = 2_000_000
    batch_size: Positive = 256
    micro_batch: Positive | None = None  # None: the whole batch at once; halved when memory runs out
    optimiser: Literal["adam", "muon"] = "adam"
    lr: float = Field(2e-4, gt=0)
    warmup_samples: int = Field(0, ge=0)
    decay: Literal["none", "cosine"] = "none"
    clip_norm: float | None = Field(1.0, gt=0)
    ema_halflife_samples: int = Field(500_000, ge=0)  # 0: no average
    validate_every: Positive = 50_000
    checkpoint_every: Positive = 20_000
    log_every: Positive = 1_000


class DiffusionConfig(StageConfig):
    """The residual diffusion stage: the noise levels it learns, ln(sigma / sigma_data) ~ N(mean, std^2)."""

    noise_mean: float = 0.0
    noise_std: float = Field(1.2, gt=0)


class SamplerConfig(Strict):
    """Defaults of drawing; noise levels are in units of the residuals' own standard deviation."""

    solver: Solver = "heun"
    num_steps: Steps = 18
    sigma_min: float = Field(0.002, ge=1e-9)
    sigma_max: float = Field(80.0, le=1e9)
    rho: float = Field(7.0, gt=0)

    @model_validator(mode="after")
    def _levels(self) -> "SamplerConfig":
        _check_levels(**self.model_dump())
        return self


class ValidationConfig(Strict):
    """What is drawn to judge a model while it trains."""

    cases: Positive = 8
    members: int = Field(8, ge=2)
    num_steps: Steps = 12
    solver: Solver = "heun"


def _check_levels(**schedule) -> None:
    try:
        Schedule(**schedule)
    except ConfigError as error:
        raise PydanticCustomError("levels", "{said}", {"said": f"{error.expected} ({error.found})"}) from error


class DataConfig(Strict):
    """Which data set (arguments of `labkit.data.catalogue.open_pairs`), and what `validation` changes in it."""

    reader: str
    options: dict[str, Any] = Field({})
    train: dict[str, Any] = Field({})
    validation: dict[str, Any] = Field({})
    test: dict[str, Any] = Field({})
    input_channels: tuple[str, ...] | None = None
    target_channels: tuple[str, ...] | None = None
    crop: tuple[Positive, Positive] | None = None
    statistics_samples: Positive = 2_000
    statistics_file: str | None = None
    cache_mb: float = 512.0  # of samples kept in memory
    mean_cache_mb: float = 320.0  # of the regression's means, in the diffusion stage


class PatchConfig(Strict):
    """Patched diffusion: trained on random patches, drawn over the whole domain by patches fused at every step."""

    shape: tuple[Positive, Positive]  # fine cells (y, x), whole coarse cells
    overlap: int = Field(8, ge=0)  # cells that neighbours share at least when drawing
    boundary: int = Field(0, ge=0)  # outer cells of a patch that count nothing
    context: bool = True  # also tell the network the whole domain's coarse input, resized to the patch
    regression: Literal["whole", "patches"] = "whole"  # what the regression is trained on


class RecipeConfig(Strict):
    """What every recipe has; its own networks and stages are sections beside these."""

    recipe: str
    preset: str = ""
    data: DataConfig
    patch: PatchConfig | None = None
    sampler: SamplerConfig = SamplerConfig()
    validation: ValidationConfig = ValidationConfig()
    seed: int = Field(0, ge=0, lt=2**53)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    @field_validator("validation")
    @classmethod
    def _validation_levels(cls, validation: ValidationConfig, info: ValidationInfo) -> ValidationConfig:
        if info.data.get("sampler") is not None:
            changes = {"solver": validation.solver, "num_steps": validation.num_steps}
            _check_levels(**info.data["sampler"].model_dump() | changes)
        return validation

    @field_validator("patch")
    @classmethod
    def _crop_or_patch(cls, patch: PatchConfig | None, info: ValidationInfo) -> PatchConfig | None:
        if patch is not None and info.data.get("data") is not None and info.data["data"].crop is not None:
            raise PydanticCustomError("crop_and_patch", "either data.crop or patch, not both")
        return patch
