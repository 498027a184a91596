"""SAM's image encoder with random weights of a small size: what is exported gives what torch gives."""

import dataclasses

import numpy as np
import pytest
import torch
from published_networks import network_of, random_images
from torch import Tensor
from torch.nn import functional

from pad_ros.errors import InputError, ModelError
from pad_ros.networks.architectures import IMAGENET_DEVIATION, IMAGENET_MEAN
from pad_ros.networks.backbones import exported
from pad_ros.networks.network import find_network
from pad_ros.networks.sam_encoder import SamEncoder

GRID, WIDTH, HEAD, WINDOW, OUT = 4, 16, 8, 3, 6
SIDE = 16 * GRID


def sam_state(seed: int = 0) -> dict[str, Tensor]:
    """Two blocks, with windows and without; names as in the published checkpoint, another network's among them."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (WIDTH, 3, 16, 16), "patch_embed.proj.bias": (WIDTH,),
        "pos_embed": (1, GRID, GRID, WIDTH), "neck.0.weight": (OUT, WIDTH, 1, 1), "neck.2.weight": (OUT, OUT, 3, 3),
    }  # fmt: skip
    for block, size in enumerate((WINDOW, GRID)):
        at = f"blocks.{block}"
        shapes |= {f"{at}.attn.rel_pos_h": (2 * size - 1, HEAD), f"{at}.attn.rel_pos_w": (2 * size - 1, HEAD)}
        for name, o, i in (("attn.qkv", 3 * WIDTH, WIDTH), ("attn.proj", WIDTH, WIDTH),
                           ("mlp.lin1", 4 * WIDTH, WIDTH), ("mlp.lin2", WIDTH, 4 * WIDTH)):  # fmt: skip
            shapes |= {f"{at}.{name}.weight": (o, i), f"{at}.{name}.bias": (o,)}
        shapes |= {f"{at}.{norm}.{part}": (WIDTH,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
    shapes |= {f"neck.{i}.{part}": (OUT,) for i in (1, 3) for part in ("weight", "bias")}
    generator = torch.Generator().manual_seed(seed)
    state = {f"image_encoder.{name}": 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return state | {"mask_decoder.iou_token.weight": torch.zeros(1, 4)}


def attention(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    """[N, S, S, C], place by place."""
    n, size, _, width = x.shape
    qkv = x @ state[f"{at}.qkv.weight"].T + state[f"{at}.qkv.bias"]
    heads = []
    for q, k, v in zip(*(part.split(HEAD, dim=-1) for part in qkv.split(width, dim=-1)), strict=True):
        scores = torch.einsum("nyxc,nvuc->nyxvu", q * HEAD**-0.5, k)
        for y in range(size):
            for other in range(size):
                across = state[f"{at}.rel_pos_h"][y - other + size - 1]
                scores[:, y, :, other, :] += (q[:, y] @ across)[:, :, None]
                along = state[f"{at}.rel_pos_w"][y - other + size - 1]
                scores[:, :, y, :, other] += (q[:, :, y] @ along)[:, :, None]
        weights = scores.reshape(n, size, size, -1).softmax(dim=-1).reshape(n, size, size, size, size)
        heads.append(torch.einsum("nyxvu,nvuc->nyxc", weights, v))
    return torch.cat(heads, dim=-1) @ state[f"{at}.proj.weight"].T + state[f"{at}.proj.bias"]


def reference(image: Tensor) -> Tensor:
    """[1, 3, SIDE, SIDE], normalised -> [1, OUT, GRID, GRID]."""
    state = {k.removeprefix("image_encoder."): v for k, v in sam_state().items()}

    def normed(x: Tensor, at: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{at}.weight"], state[f"{at}.bias"], 1e-6)

    x = functional.conv2d(image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    x = x.permute(0, 2, 3, 1) + state["pos_embed"]
    for block, size in enumerate((WINDOW, GRID)):
        at, y = f"blocks.{block}", normed(x, f"blocks.{block}.norm1")
        full = -(-GRID // size) * size
        padded = torch.zeros(1, full, full, WIDTH)
        padded[:, :GRID, :GRID] = y
        for i in range(0, full, size):
            for j in range(0, full, size):
                part = np.s_[:, i : i + size, j : j + size]
                padded[part] = attention(padded[part].clone(), state, f"{at}.attn")
        x = x + padded[:, :GRID, :GRID]
        y = functional.linear(normed(x, f"{at}.norm2"), state[f"{at}.mlp.lin1.weight"], state[f"{at}.mlp.lin1.bias"])
        x = x + functional.linear(functional.gelu(y), state[f"{at}.mlp.lin2.weight"], state[f"{at}.mlp.lin2.bias"])
    x = normed(functional.conv2d(x.permute(0, 3, 1, 2), state["neck.0.weight"]).permute(0, 2, 3, 1), "neck.1")
    x = functional.conv2d(x.permute(0, 3, 1, 2), state["neck.2.weight"], padding=1)
    return normed(x.permute(0, 2, 3, 1), "neck.3").permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def network():
    return exported(network_of("sam-vit-b", sam_state()))


def test_the_export_gives_what_torch_gives(network):
    photos = random_images(2, SIDE, SIDE)
    (found,) = SamEncoder(network).levels(photos)
    x = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_DEVIATION)[:, None, None]
    assert found.shape == (2, OUT, GRID, GRID)
    for ours, photo in zip(found, x, strict=True):
        np.testing.assert_allclose(ours, reference(photo[None])[0].numpy(), atol=2e-4)


def test_an_image_that_is_not_square_is_filled_up(network):
    (found,) = SamEncoder(network).levels(random_images(1, 24, 48), [3])
    assert found.shape == (1, OUT, 2, 4)


def test_a_bundle_may_bring_it_along(network):
    network.check()
    assert (network.kind, network.file) == ("onnx", "networks/sam-vit-b.onnx")


def test_other_weights_are_refused(network):
    state = sam_state()
    del state["image_encoder.blocks.1.attn.qkv.bias"]
    with pytest.raises(InputError, match=r"not the weights of SAM ViT-B: blocks\.1\.attn\.qkv\.bias is missing"):
        exported(network_of("sam-vit-b", state))
    with pytest.raises(InputError, match="pos_embed"):
        exported(network_of("sam-vit-b", {"a": torch.zeros(1)}))
    with pytest.raises(ModelError, match="damaged"):
        find_network(SamEncoder, "sam_vit_b", (dataclasses.replace(network, content=b"no"),), "cpu")
