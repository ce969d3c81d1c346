"""DCGAN (1511.06434) at 64x64."""

import torch
import torch.nn.functional as F
from torch import nn

from .common import BATCH, Workload


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


class Dcgan(Workload):
    """Radford et al.'s networks, the non-saturating loss, one D step and one G step."""

    def __init__(self, dtype, last):
        self.dtype, self.last = dtype, last
        self.g, self.d = DcganGenerator(), DcganDiscriminator()
        self.layout()
        self.optimizers((2e-4, 2e-4), (0.5, 0.999))
        self.real, self.noise = self.pictures(), torch.randn(BATCH, 100)
        self.paint = self.g

    def compile(self):
        self.d, self.g = torch.compile(self.d), torch.compile(self.g)
        self.paint = self.g

    def step(self):
        with self.cast():
            fake = self.g(self.noise)
            d_loss = F.softplus(-self.d(self.real).float()).mean() + F.softplus(self.d(fake.detach()).float()).mean()
        self.descend(self.adam_d, d_loss)
        self.judge(False)
        with self.cast():
            g_loss = F.softplus(-self.d(fake).float()).mean()
        self.descend(self.adam_g, g_loss)
        self.judge(True)

    def inputs(self, n):
        return (torch.randn(n, 100),)
