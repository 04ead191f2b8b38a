"""Where networks run, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.errors import LabError


@dataclass(frozen=True)
class Hardware:
    """Where and in which precision to compute: `device`, and `autocast` to bf16 or not."""

    device: torch.device
    bf16: bool

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto") -> "Hardware":
        """CUDA where there is one; bf16 where the device multiplies it quickly: recent GPUs, processors with AMX."""
        cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
        if cuda and not torch.cuda.is_available():
            raise LabError("device", found="no CUDA device", expected="one", todo="use device=cpu")
        fast = torch.cuda.is_bf16_supported() if cuda else torch.cpu.get_capabilities().get("amx_bf16", False)
        return cls(torch.device("cuda" if cuda else "cpu"), fast if precision == "auto" else precision == "bf16")

    def autocast(self):
        """Context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
