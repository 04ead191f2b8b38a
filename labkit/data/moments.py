"""Streaming mean and variance of channels, and the transforms applied before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch


class Moments(NamedTuple):
    """Number of values, mean, sum of squared deviations, the smallest and the largest, each (channel,) float64."""

    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    least: np.ndarray
    most: np.ndarray


def moments(block: np.ndarray, transforms: Sequence[str]) -> Moments:
    """Moments of a block (time, channel, y, x) per channel, without NaN."""
    rows = [_channel_moments(block[:, c], transform) for c, transform in enumerate(transforms)]
    return Moments(*np.array(rows, np.float64).reshape(-1, len(Moments._fields)).T)


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two sets (Chan, Golub and LeVeque 1983): no cancellation however large the mean."""
    count = a.count + b.count
    share = b.count / np.maximum(count, 1)
    with np.errstate(invalid="ignore"):
        delta = b.mean - a.mean
        deviation = a.deviation + b.deviation + delta**2 * a.count * share
        extremes = np.minimum(a.least, b.least), np.maximum(a.most, b.most)
        return Moments(count, a.mean + delta * share, deviation, *extremes)


def _channel_moments(values: np.ndarray, transform: str) -> tuple[float, ...]:
    values = values.astype(np.float64).ravel()
    values = values[~np.isnan(values)]
    if not values.size:
        return 0.0, 0.0, 0.0, np.inf, -np.inf
    if transform == "log1p":
        values = log1p(values)
    with np.errstate(invalid="ignore"):  # infinite values end as a non-finite deviation, reported by channel
        mean = values.mean()
        return values.size, mean, np.square(values - mean).sum(), values.min(), values.max()


def log1p(values):
    """sign(v) log(1 + |v|): log1p that also takes the slightly negative values a model may draw, and inverts."""
    if isinstance(values, torch.Tensor):
        return values.sign() * values.abs().log1p()
    return np.sign(values) * np.log1p(np.abs(values))


def expm1(values):
    """Inverse of `log1p`."""
    if isinstance(values, torch.Tensor):
        return values.sign() * values.abs().expm1()
    return np.sign(values) * np.expm1(np.abs(values))
