"""The network against plain numpy, and checkpoints key by key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from model import (
    BadCheckpoint,
    GeM,
    GeMResNet,
    build_network,
    l2n,
    load_checkpoint,
)


@pytest.fixture(scope="module")
def network() -> GeMResNet:
    torch.manual_seed(1)
    network = GeMResNet("resnet50", output_dim=64).eval()
    for module in network.modules():  # statistics that would show if they were mixed up
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    return network


def test_gem_is_the_generalised_mean():
    x = torch.rand(2, 3, 4, 5)
    expected = (x.numpy().astype(np.float64) ** 2.5).mean(axis=(2, 3)) ** (1 / 2.5)
    np.testing.assert_allclose(GeM(p=2.5)(x).detach().numpy(), expected, rtol=1e-5)


def test_l2n_adds_epsilon_to_the_norm():
    np.testing.assert_allclose(
        l2n(torch.tensor([[3.0, 4.0]])).numpy(), [[3 / 5.000001, 4 / 5.000001]], rtol=1e-6
    )


def plain_forward(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network once more, without modules: from the state dict and the papers."""

    def bn(x, name):
        w = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *w)

    x = F.relu(bn(F.conv2d(x, state["features.0.weight"], stride=2, padding=3), "features.1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (4, 5, 6, 7):
        for i in range(len({key.split(".")[2] for key in state if f"features.{stage}." in key})):
            block = f"features.{stage}.{i}"
            stride = 2 if stage > 4 and i == 0 else 1
            y = F.relu(bn(F.conv2d(x, state[f"{block}.conv1.weight"]), f"{block}.bn1"))
            y = F.relu(
                bn(
                    F.conv2d(y, state[f"{block}.conv2.weight"], stride=stride, padding=1),
                    f"{block}.bn2",
                )
            )
            y = bn(F.conv2d(y, state[f"{block}.conv3.weight"]), f"{block}.bn3")
            if i == 0:
                x = bn(
                    F.conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride),
                    f"{block}.downsample.1",
                )
            x = F.relu(x + y)
    p = state["pool.p"]
    y = x.clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)
    y = y / (y.norm(dim=1, keepdim=True) + 1e-6)
    y = y @ state["whiten.weight"].T + state["whiten.bias"]
    return y / (y.norm(dim=1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("size", [(64, 64), (97, 130), (224, 50)])
def test_forward_equals_a_plain_restatement(network, size):
    x = torch.randn(2, 3, *size)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(x), plain_forward(network.state_dict(), x), rtol=1e-4, atol=1e-5
        )


def stored(network: GeMResNet) -> dict[str, torch.Tensor]:
    return {
        k: v.clone()
        for k, v in network.state_dict().items()
        if not k.endswith("num_batches_tracked")
    }


def test_checkpoint_round_trip_key_by_key(network, tmp_path):
    meta = {"image_size": "224", "mean": "0.1,0.2,0.3", "training": "none", "licence": "CC0-1.0"}
    save_file(stored(network), tmp_path / "net.safetensors", metadata=meta)
    loaded, provenance = load_checkpoint(tmp_path / "net.safetensors")
    assert loaded.architecture == "resnet50" and loaded.output_dim == 64 and not loaded.training
    for key, value in stored(network).items():
        assert torch.equal(loaded.state_dict()[key], value), key
    assert (provenance.longest_side, provenance.mean, provenance.licence) == (
        224,
        (0.1, 0.2, 0.3),
        "CC0-1.0",
    )


def test_checkpoints_that_do_not_fit_are_refused_by_name(network, tmp_path):
    state = stored(network)
    missing = {k: v for k, v in state.items() if k != "features.6.2.bn2.bias"}
    with pytest.raises(BadCheckpoint, match="features.6.2.bn2.bias"):
        build_network(missing)
    with pytest.raises(BadCheckpoint, match="head.weight"):
        build_network(state | {"head.weight": torch.ones(1)})
    with pytest.raises(BadCheckpoint, match=r"features.0.weight has shape \(64, 3, 5, 5\)"):
        build_network(state | {"features.0.weight": torch.zeros(64, 3, 5, 5)})
    with pytest.raises(BadCheckpoint, match="not finite"):
        build_network(state | {"whiten.bias": torch.full((64,), torch.nan)})
    with pytest.raises(BadCheckpoint, match="exponent"):
        build_network(state | {"pool.p": torch.tensor([0.0])})
    with pytest.raises(BadCheckpoint, match="no ResNet"):
        build_network({"weight": torch.ones(3)})


@pytest.mark.parametrize(
    "meta, sentence",
    [
        ({"image_size": "-5"}, "its image_size is '-5'"),
        ({"image_size": "0"}, "its image_size is '0'"),
        ({"image_size": "many"}, "its image_size is 'many'"),
        ({"image_size": "9" * 5000}, "its image_size is '9"),
        ({"mean": "0.1,0.2"}, "its mean is not three numbers"),
        ({"mean": "0.1,0.2,x"}, "its mean is not three numbers"),
        ({"std": "0.1,0,0.1"}, "its std is not three positive numbers"),
        ({"std": "nan,1,1"}, "its std is not three positive numbers"),
    ],
)
def test_metadata_that_cannot_be_is_refused(tmp_path, meta, sentence):
    save_file({"features.0.weight": torch.ones(1)}, tmp_path / "net.safetensors", metadata=meta)
    with pytest.raises(BadCheckpoint, match=f"net.safetensors: {sentence}"):
        load_checkpoint(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    "value, kind",
    [
        (torch.ones(2, dtype=torch.int8), "int8"),
        (torch.ones(2, dtype=torch.bool), "bool"),
        (torch.ones(2).to(torch.float8_e4m3fn), "float8"),
    ],
)
def test_safetensors_of_other_numbers_are_refused(tmp_path, value, kind):
    save_file({"features.0.weight": value}, tmp_path / "net.safetensors")
    with pytest.raises(BadCheckpoint, match=f"features.0.weight is a tensor of torch.{kind}"):
        load_checkpoint(tmp_path / "net.safetensors")


def test_weights_too_large_for_float32_are_refused(network):
    wide = torch.full((64,), 1e39, dtype=torch.float64)
    with pytest.raises(BadCheckpoint, match="whiten.bias holds values that are not finite"):
        build_network(stored(network) | {"whiten.bias": wide})
    with pytest.raises(BadCheckpoint, match=r"whiten.weight has shape \(10000000000, 0\)"):
        build_network(stored(network) | {"whiten.weight": torch.empty(10**10, 0)})


def test_damaged_file_is_refused(network, tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(stored(network), path)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(BadCheckpoint, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.safetensors")
