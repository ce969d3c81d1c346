"""Writes squeezenet1_0.safetensors for `shenbi evaluate --features`, from torchvision's weights (ImageNet, BSD-3-Clause).

torchvision's weights want RGB from 0 to 1, less a mean, divided by a deviation; the file's want RGB from 0 to 255 less
(123, 117, 104), as the first SqueezeNet's in Caffe. The first convolution has no padding, so it takes up the difference
exactly.

Run: pip install torch torchvision safetensors && python squeezenet1_0.py
"""
import torch
from safetensors.torch import save_file


def with_bytes_as_input(weight, bias):
    """The first convolution for the other input."""
    mean, deviation = (255 * torch.tensor(rgb).reshape(1, 3, 1, 1) for rgb in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    weight = weight / deviation
    return weight, bias + (weight * (torch.tensor([123.0, 117.0, 104.0]).reshape(1, 3, 1, 1) - mean)).sum((1, 2, 3))


if __name__ == "__main__":
    from torchvision.models import squeezenet1_0

    named = dict(squeezenet1_0(weights="IMAGENET1K_V1").state_dict())
    first = "features.0.weight", "features.0.bias"
    named.update(zip(first, with_bytes_as_input(*(named[name] for name in first))))
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, "squeezenet1_0.safetensors")
