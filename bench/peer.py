"""The PyTorch side of the comparison: the same networks, the same step.

    python peer.py WORKLOAD VARIANT

reads a line from stdin, runs that many repetitions and prints their seconds, one JSON list a line; the first answer,
before any line is read, says what it is. compare.py drives it.
VARIANT: f32|bf16, then optionally -last (channels-last), -compile (torch.compile).
"""

import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

BATCH = 32
CLASSIC = {"dcgan-64": 64}


class DcganGenerator(nn.Module):
    def __init__(self, z=100, width=64):
        super().__init__()
        w = [8 * width, 4 * width, 2 * width, width]
        layers = [nn.ConvTranspose2d(z, w[0], 4, 1, 0, bias=False), nn.BatchNorm2d(w[0]), nn.ReLU(True)]
        for a, b in zip(w, w[1:]):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.net = nn.Sequential(*layers)

    def forward(self, z):
        return self.net(z[:, :, None, None])


class DcganDiscriminator(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        w = [width, 2 * width, 4 * width, 8 * width]
        layers = [nn.Conv2d(3, w[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
        for a, b in zip(w, w[1:]):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, True)]
        layers += [nn.Conv2d(w[3], 1, 4, 1, 0, bias=False)]
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return self.net(x).flatten()


class Dcgan:
    """Radford et al.'s networks, the non-saturating loss, one D step and one G step."""

    def __init__(self, dtype, last):
        self.dtype = dtype
        self.g, self.d = DcganGenerator(), DcganDiscriminator()
        if last:
            self.g, self.d = (m.to(memory_format=torch.channels_last) for m in (self.g, self.d))
        adam = lambda m: torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999), fused=True)
        self.adam_g, self.adam_d = adam(self.g), adam(self.d)
        self.real = torch.rand(BATCH, 3, 64, 64) * 2 - 1
        if last:
            self.real = self.real.contiguous(memory_format=torch.channels_last)
        self.noise = torch.randn(BATCH, 100)
        self.paint = self.g

    def cast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def compile(self):
        self.d, self.g = torch.compile(self.d), torch.compile(self.g)
        self.paint = self.g

    def step(self):
        with self.cast():
            fake = self.g(self.noise)
            d_loss = F.softplus(-self.d(self.real).float()).mean() + F.softplus(self.d(fake.detach()).float()).mean()
        self.adam_d.zero_grad()
        d_loss.backward()
        self.adam_d.step()
        for p in self.d.parameters():
            p.requires_grad_(False)
        with self.cast():
            g_loss = F.softplus(-self.d(fake).float()).mean()
        self.adam_g.zero_grad()
        g_loss.backward()
        self.adam_g.step()
        for p in self.d.parameters():
            p.requires_grad_(True)

    def inputs(self, n):
        return (torch.randn(n, 100),)


if __name__ == "__main__":
    workload, variant = sys.argv[1:3]
    torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    parts = variant.split("-")
    model = {"dcgan-64": Dcgan}[workload](torch.bfloat16 if parts[0] == "bf16" else torch.float32, "last" in parts)
    if "compile" in parts:
        model.compile()
    for _ in range(3):
        model.step()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        model.step()
        times.append(time.perf_counter() - start)
    times.sort()
    print(workload, variant, "min %.1f median %.1f ms" % (times[0] * 1e3, times[5] * 1e3), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MB")
