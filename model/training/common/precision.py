"""Training device and precision: bfloat16 if the hardware supports it, else float32."""

from __future__ import annotations

import torch

# Names of the instructions in `torch.cpu.get_capabilities`, for x86 and ARM.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def training_device() -> torch.device:
    """The first GPU, configured for images of a fixed size, or else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True  # benchmarks the algorithms of each convolution once
    return torch.device("cuda", 0)


def trunk_type(device: str = "cpu") -> torch.dtype:
    """Data type of maps and products: bfloat16, or float32 on processors that only emulate it.

    Emulated, a step takes about twelve times as long as in float32.

    Args:
        device: "cpu", or the type of another device, which is assumed to support bfloat16.
    """
    if device != "cpu":
        return torch.bfloat16
    found = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(found.get(name) for name in BFLOAT16) else torch.float32


def autocast(device: str = "cpu") -> torch.autocast:
    """A context in which suitable operations use `trunk_type`, and the others float32."""
    enabled = trunk_type(device) != torch.float32
    return torch.autocast(device, torch.bfloat16, enabled=enabled)
