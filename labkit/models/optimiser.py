"""Optimisers: Adam, as published networks use it, or Muon, which needs half the samples or fewer.

Muon (Jordan et al. 2024) replaces the momentum of each weight matrix by the nearest orthogonal matrix, so that every
direction of a layer is learnt at one pace. PyTorch's takes matrices; here the kernels of convolutions are given to it
as matrices (output, rows x columns x input) that share their memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.99)
MUON_RATIO = 4.0  # of its learning rate to Adam's, where its steps are scaled to the size of Adam's
LEAST_OUTPUTS = 8  # layers with fewer outputs, the last one above all, are left to Adam


def make_optimiser(name: str, network: nn.Module, lr: float) -> "torch.optim.Optimizer | MuonAdam":
    """`adam`, or `muon` with Adam for all that is no large matrix."""
    return MuonAdam(network, lr) if name == "muon" else _adam(list(network.parameters()), lr)


class MuonAdam:
    """Muon for the kernels of convolutions and linear layers, Adam for biases, norms and layers of few outputs.

    Used like an optimiser of PyTorch; each group's rate is to be the schedule's times its `ratio`.
    """

    def __init__(self, network: nn.Module, lr: float) -> None:
        parameters = list(network.parameters())
        self.kernels = [p for p in parameters if p.ndim in (2, 4) and len(p) >= LEAST_OUTPUTS]
        known = {id(kernel) for kernel in self.kernels}
        self.adam = _adam([p for p in parameters if id(p) not in known], lr)
        self.matrices = [nn.Parameter(_as_matrix(kernel.detach())) for kernel in self.kernels]
        group = {"params": self.matrices, "ratio": MUON_RATIO}
        self.muon = torch.optim.Muon(
            [group], lr=lr * MUON_RATIO, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )

    @property
    def param_groups(self) -> list[dict]:
        return [*self.adam.param_groups, *self.muon.param_groups]

    @property
    def state(self) -> dict[Tensor, dict]:
        return {**self.adam.state, **self.muon.state}

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        self.adam.zero_grad(set_to_none=set_to_none)
        for kernel in self.kernels:
            kernel.grad = None

    def step(self) -> None:
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad, like=kernel)
        self.adam.step()
        self.muon.step()

    def state_dict(self) -> dict:
        return {"adam": self.adam.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.adam.load_state_dict(state["adam"])
        self.muon.load_state_dict(state["muon"])


def _adam(parameters: list[Tensor], lr: float) -> torch.optim.Adam:
    fused = {"fused": True} if all(p.device.type in ("cuda", "cpu") for p in parameters) else {}
    return torch.optim.Adam(parameters, lr=lr, betas=BETAS, **fused)


def _as_matrix(weight: Tensor, like: Tensor | None = None) -> Tensor:
    """(output, all else) in the order in which `like`, by default the weight itself, lies in memory: a view of it, or
    for a gradient that lies otherwise a copy."""
    laid = weight if like is None else like
    if weight.ndim == 4 and laid.is_contiguous(memory_format=torch.channels_last):
        weight = weight.permute(0, 2, 3, 1)
    return weight.view(len(weight), -1) if like is None else weight.reshape(len(weight), -1)
