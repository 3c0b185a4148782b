"""GeM-ResNet: the descriptor network.

    photo (B, 3, H, W) -> ResNet trunk (B, C, h, w) -> GeM (B, C) -> L2 -> whitening (B, D) -> L2

Sources: ResNet, He et al. 2016, with torchvision's bottleneck (stride on the 3x3 convolution); GeM
pooling and the whitening layer, Radenovic et al. 2018, "Fine-tuning CNN image retrieval with no
human annotation", Eq. 3 and section 3.3. The trunk is one `Sequential` of torchvision's children,
so parameters have the names of the published files: `features.0` conv1, `features.1` bn1,
`features.4` to `features.7` layer1 to layer4, `pool.p`, `whiten.*`.
"""

from __future__ import annotations

import torch
from torch import nn

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
PLANES = (64, 128, 256, 512)
EXPANSION = 4
TRUNK_DIM = PLANES[-1] * EXPANSION


def l2n(x: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Rows of x (B, D) divided by (norm + eps).

    The published nets add eps to the norm instead of clamping it.
    """
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + eps)


class GeM(nn.Module):
    """Generalised-mean pooling over all positions: (B, C, h, w) -> (B, C).

    Its exponent p is learned. p = 1 is the average, p -> infinity the maximum. Activations are
    clamped from below at eps, so that the power is defined.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6):
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), p))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # A plain mean over positions: avg_pool with a data-dependent kernel would be frozen at
        # export.
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1.0 / self.p)


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3 (carries the stride), 1x1 expand, plus the shortcut."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1):
        super().__init__()
        outplanes = planes * EXPANSION
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outplanes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outplanes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inplanes != outplanes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


def resnet_trunk(architecture: str) -> nn.Sequential:
    """Convolutional part of a bottleneck ResNet.

    It maps (B, 3, H, W) to (B, 2048, ceil(H/32), ceil(W/32)), all values >= 0.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inplanes = 64
    for depth, planes, stride in zip(BLOCKS[architecture], PLANES, (1, 2, 2, 2)):
        blocks = []
        for i in range(depth):
            blocks.append(Bottleneck(inplanes, planes, stride if i == 0 else 1))
            inplanes = planes * EXPANSION
        layers.append(nn.Sequential(*blocks))
    return nn.Sequential(*layers)


class SecondOrderAttention(nn.Module):
    """Adds to each position what it has in common with all others: (B, C, h, w) -> (B, C, h, w).

    SOLAR, Ng et al. 2020, Eq. 2 to 4: A = softmax(mid^-1/2 f^T g), out = x + v(A h). `v` is
    initialised to zero, so that a new block is the identity. The map is (h w) x (h w): memory grows
    with the fourth power of the photo's side.
    """

    def __init__(self, channels: int, mid: int):
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(channels, mid, 1), nn.BatchNorm2d(mid), nn.ReLU())
        self.g = nn.Sequential(nn.Conv2d(channels, mid, 1), nn.BatchNorm2d(mid), nn.ReLU())
        self.h = nn.Conv2d(channels, mid, 1)
        self.v = nn.Conv2d(mid, channels, 1)
        nn.init.zeros_(self.v.weight)
        nn.init.zeros_(self.v.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f, g, h = (branch(x).flatten(2) for branch in (self.f, self.g, self.h))  # (B, mid, N)
        attention = torch.softmax(
            f.transpose(1, 2) @ g * f.shape[1] ** -0.5, dim=2
        )  # (B, N, N), rows sum to 1
        mixed = h @ attention.transpose(1, 2)  # (B, mid, N)
        return x + self.v(mixed.unflatten(2, x.shape[2:]))


class GeMResNet(nn.Module):
    """The descriptor network.

    Maps normalised RGB, float32 (B, 3, H, W) with arbitrary H and W of at least 32, to unit
    descriptors float32 (B, D).

    Args:
        architecture: name in BLOCKS.
        output_dim: D of the whitening layer. None for no such layer and D = 2048.
        attention: whether to add SOLAR's second-order blocks after layer3 and layer4 ("soa4",
            "soa5").
    """

    def __init__(
        self, architecture: str = "resnet101", output_dim: int | None = 512, attention: bool = False
    ):
        super().__init__()
        self.architecture = architecture
        self.features = resnet_trunk(architecture)
        self.soa4 = SecondOrderAttention(TRUNK_DIM // 2, TRUNK_DIM // 8) if attention else None
        self.soa5 = SecondOrderAttention(TRUNK_DIM, TRUNK_DIM // 2) if attention else None
        self.pool = GeM()
        self.whiten = None if output_dim is None else nn.Linear(TRUNK_DIM, output_dim)

    @property
    def output_dim(self) -> int:
        return TRUNK_DIM if self.whiten is None else self.whiten.out_features

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Feature maps before pooling: (B, 3, H, W) -> (B, 2048, h, w)."""
        if self.soa4 is None:
            return self.features(x)
        x = self.soa4(self.features[:-1](x))
        return self.soa5(self.features[-1](x))

    def head(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (B, 2048, h, w) -> unit descriptors (B, D)."""
        y = l2n(self.pool(maps))  # (B, 2048)
        return y if self.whiten is None else l2n(self.whiten(y))  # (B, D)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.maps(x))
