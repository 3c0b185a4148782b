"""Where a network learns, and in how many digits: in bfloat16 where the processor has it."""

from __future__ import annotations

import torch

# As `torch.cpu.get_capabilities` calls the instructions, of x86 and of ARM.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def training_device() -> torch.device:
    """The first GPU, set up for images of one size, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True  # the fastest algorithm of each convolution, tried once
    return torch.device("cuda", 0)


def trunk_type(device: str = "cpu") -> torch.dtype:
    """The type of maps and products: bfloat16, or float32 on a processor that would imitate it.

    Imitated, a step takes about twelve times as long as in float32.

    Args:
        device: "cpu", or the type of another device, which is taken to have bfloat16.
    """
    if device != "cpu":
        return torch.bfloat16
    found = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(found.get(name) for name in BFLOAT16) else torch.float32


def autocast(device: str = "cpu") -> torch.autocast:
    """A context in which what allows it is computed in `trunk_type`, and the rest in float32."""
    enabled = trunk_type(device) != torch.float32
    return torch.autocast(device, torch.bfloat16, enabled=enabled)
