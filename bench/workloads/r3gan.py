"""R3GAN (2501.05441) at 64x64, the small networks of ours: groups of 32 channels, two blocks a stage."""

import torch
import torch.nn.functional as F
from torch import nn

from .common import BATCH, Workload

NOISE, WIDTHS = 64, (256, 256, 160, 96, 32)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.expand, self.shrink = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, c, 1, bias=False)
        self.mix = nn.Conv2d(2 * c, 2 * c, 3, 1, 1, groups=2 * c // 32)

    def forward(self, x):
        return x + self.shrink(F.leaky_relu(self.mix(F.leaky_relu(self.expand(x), 0.2)), 0.2))


def blocks(c):
    return nn.Sequential(Block(c), Block(c))


def change(a, b):
    return nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity()


BINOMIAL = torch.outer(*2 * (torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8,))


def halve(x):
    """[1, 3, 3, 1] each way, in f32: the fastest of what was tried (in bf16 PyTorch's depthwise filters take 13 times as
    long, and averages of averages 5 to 30 times)."""
    c = x.shape[1]
    with torch.autocast("cpu", enabled=False):
        return F.conv2d(x.float(), BINOMIAL.expand(c, 1, 4, 4), stride=2, padding=1, groups=c).to(x.dtype)


class Generator(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.last = last
        self.first, self.maps = nn.Linear(NOISE, WIDTHS[0], bias=False), nn.Parameter(torch.randn(WIDTHS[0], 4, 4))
        self.stages = nn.ModuleList(blocks(c) for c in WIDTHS)
        self.changes = nn.ModuleList(change(a, b) for a, b in zip(WIDTHS, WIDTHS[1:]))
        self.picture = nn.Conv2d(WIDTHS[-1], 3, 1, bias=False)

    def forward(self, noise):
        x = self.first(noise)[:, :, None, None] * self.maps
        if self.last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.stages[0](x)
        for change, stage in zip(self.changes, self.stages[1:]):
            x = stage(F.interpolate(change(x), scale_factor=2, mode="bilinear"))
        return self.picture(x)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        widths = WIDTHS[::-1]
        self.extract = nn.Conv2d(3, widths[0], 1, bias=False)
        self.stages = nn.ModuleList(blocks(c) for c in widths)
        self.changes = nn.ModuleList(change(a, b) for a, b in zip(widths, widths[1:]))
        self.maps = nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        self.last = nn.Linear(widths[-1], 1, bias=False)

    def forward(self, x):
        x = self.stages[0](self.extract(x))
        for change, stage in zip(self.changes, self.stages[1:]):
            x = stage(change(halve(x)))
        return self.last(self.maps(x).flatten(1)).flatten().float()


class R3gan(Workload):
    """One generation, D (relativistic; R1 and R2 every fourth step, by create_graph), G, the average."""

    def __init__(self, dtype, last):
        self.dtype, self.last, self.steps = dtype, last, 0
        self.g, self.d = Generator(last), Discriminator()
        self.layout()
        self.optimizers((1e-3, 1e-3), (0.0, 0.9))
        self.average = [p.detach().clone() for p in self.g.parameters()]
        self.real = self.pictures()
        self.paint = self.g
        self.plain = self.d

    def compile(self):
        # Penalties differentiate twice, which compiled graphs cannot: they keep the plain network.
        self.g, self.d = torch.compile(self.g), torch.compile(self.d)
        self.paint = self.g

    def penalty(self, x):
        x = x.detach().requires_grad_()
        with self.cast():
            logit = self.plain(x)
        (grad,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
        return grad.float().square().sum([1, 2, 3]).mean() * 0.25 * 4

    def step(self):
        with self.cast():
            fake = self.g(torch.randn(BATCH, NOISE)).float()
            real_logit, fake_logit = self.d(self.real), self.d(fake.detach())
        loss = F.softplus(fake_logit - real_logit).mean()
        if self.steps % 4 == 0:
            loss = loss + self.penalty(self.real) + self.penalty(fake)
        self.steps += 1
        self.descend(self.adam_d, loss)
        self.judge(False)
        with self.cast():
            g_loss = F.softplus(real_logit.detach() - self.d(fake)).mean()
        self.descend(self.adam_g, g_loss)
        self.judge(True)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.g.parameters()), 0.01)

    def inputs(self, n):
        return (torch.randn(n, NOISE),)
