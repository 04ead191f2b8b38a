"""Configuration: YAML presets, validated; overrides as `key.sub=value`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from labkit.border import parse_yaml, read_yaml
from labkit.errors import ConfigError
from labkit.sampling import Schedule

Positive = Annotated[int, Field(gt=0, lt=2**53)]
Size = Annotated[int, Field(gt=0, le=4096)]  # of a network: beyond lie slips of the finger that no memory holds
Steps = Annotated[int, Field(ge=2, le=10_000)]
DEEPEST = 8  # sections within sections
_RANGE = re.compile(r"-?\d*(:-?\d*){1,2}")
Solver = Literal["euler", "heun", "stochastic_heun", "dpmpp_2m"]


class Strict(BaseModel):
    """A section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    options: dict[str, Any] = {}
    train: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    test: dict[str, Any] = {}
    input_channels: tuple[str, ...] | None = None
    target_channels: tuple[str, ...] | None = None
    crop: tuple[Positive, Positive] | None = None
    statistics_samples: Positive = 2_000
    statistics_file: str | None = None
    cache_mb: float = 512.0  # of samples kept in memory
    mean_cache_mb: float = 320.0  # of the regression's means, in the diffusion stage


# What says something to one reader only.
OF_READER = ("options", "train", "validation", "test", "input_channels", "target_channels", "statistics_file")


class PatchConfig(Strict):
    """Patched diffusion: trained on random patches, drawn over the whole domain by patches fused at every step."""

    shape: tuple[Positive, Positive]  # fine cells (y, x), whole coarse cells
    overlap: int = Field(8, ge=0)  # cells that neighbours share at least when drawing
    boundary: int = Field(0, ge=0)  # outer cells of a patch that count nothing
    context: bool = True  # also tell the network the whole domain's coarse input, resized to the patch
    regression: Literal["whole", "patches"] = "whole"  # what the regression is trained on


class CorrDiffConfig(Strict):
    """A whole CorrDiff: data, regression, residual diffusion, and how to draw from it."""

    recipe: Literal["corrdiff"] = "corrdiff"
    preset: str = ""
    data: DataConfig
    patch: PatchConfig | None = None
    regression_network: NetworkConfig = NetworkConfig()
    diffusion_network: NetworkConfig = NetworkConfig()
    regression: StageConfig = StageConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
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


def presets() -> list[str]:
    """Names of the presets that ship with the lab."""
    folder = resources.files("labkit.recipes.corrdiff") / "presets"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_preset(name: str, overrides: Sequence[str] = ()) -> CorrDiffConfig:
    """The preset with `key.sub=value` overrides, validated; ConfigError names the path of what does not fit."""
    if name not in presets():
        raise ConfigError("preset", found=repr(name), expected=", ".join(presets()), todo="choose one of these")
    text = (resources.files("labkit.recipes.corrdiff") / "presets" / f"{name}.yaml").read_text("utf-8")
    return configured(yaml.safe_load(text) | {"preset": name}, overrides)


def load_file(path: str | Path, overrides: Sequence[str] = ()) -> CorrDiffConfig:
    """The configuration in a YAML file with overrides; otherwise as `load_preset`."""
    what = f"configuration {Path(path).name}"
    values = read_yaml(path, what)
    if not isinstance(values, dict):
        todo = "begin with what labkit train --show prints"
        raise ConfigError(what, found=type(values).__name__, expected="sections by name", todo=todo)
    return configured(values, overrides)


def configured(values: dict, overrides: Sequence[str]) -> CorrDiffConfig:
    """The values with overrides, validated. Where these name another reader, what was said to the old one is dropped:
    its options, parts, channels and statistics."""
    changed, data = apply_overrides(values, overrides), values.get("data")
    reader = changed["data"].get("reader") if isinstance(changed.get("data"), dict) else None
    if isinstance(data, dict) and data.get("reader") not in (None, reader):
        kept = {key: value for key, value in data.items() if key not in OF_READER}
        changed = apply_overrides(values | {"data": kept}, overrides)
    return validate(changed)


def apply_overrides(values: dict, overrides: Sequence[str]) -> dict:
    """A copy of nested `values` with each `key.sub=value` set; values are read as YAML without aliases."""
    result = _copied(values)
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise ConfigError(
                "override", found=repr(text), expected="key.sub=value", todo="write it with an equals sign"
            )
        *parents, last = path.strip().split(".")
        if len(parents) > DEEPEST:
            raise ConfigError(f"override {path[:40]}", found="a long path", expected="a short one", todo="check it")
        section = result
        for depth, parent in enumerate(parents, 1):
            if not isinstance(section.setdefault(parent, {}), dict):
                found = f"a value at {'.'.join(parents[:depth])}"
                raise ConfigError(f"override {path}", found=found, expected="a section", todo="check the path")
            section = section[parent]
        section[last] = _parsed(text, value)
    return result


def _copied(values):
    """Sections of their own: what a preset writes once for two networks is two when one of them is changed."""
    if isinstance(values, dict):
        return {key: _copied(value) for key, value in values.items()}
    return [_copied(value) for value in values] if isinstance(values, list) else values


def validate(values: dict) -> CorrDiffConfig:
    """The configuration, or a ConfigError that names the first path that does not fit."""
    try:
        return CorrDiffConfig.model_validate(values)
    except RecursionError as error:
        found, todo = "sections nested too deep", "check the file"
        raise ConfigError("configuration", found=found, expected="a few levels", todo=todo) from error
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        raise ConfigError(
            f"configuration at {path}",
            found="an unknown key" if unknown else repr(first.get("input"))[:200],
            expected=_expected(path, unknown, first["msg"]),
            todo="correct it (labkit train --show prints the whole configuration)",
        ) from error


def _expected(path: str, unknown: bool, message: str) -> str:
    if not unknown:
        return message[0].lower() + message[1:]
    model: Any = CorrDiffConfig
    for part in path.split(".")[:-1]:
        annotation = model.model_fields[part].annotation
        model = next(kind for kind in (*get_args(annotation), annotation) if kind is not type(None))
    return "one of " + ", ".join(model.model_fields)


def _parsed(text: str, value: str):
    """The value as YAML reads it, but as text dates, which is what the readers take and JSON holds, and ranges such as
    4:8, of which YAML makes four minutes and eight seconds."""
    if _RANGE.fullmatch(value):
        return value
    parsed = parse_yaml(value, f"override {text[:80]!r}")
    return value if isinstance(parsed, date) else parsed
