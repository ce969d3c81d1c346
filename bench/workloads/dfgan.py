"""DF-GAN (2008.05865) at 64x64 with nf 32, in the order of operations of ours: what commutes is computed where pictures
are small. The sentence encoder is fixed and runs in each step."""

import torch
import torch.nn.functional as F
from torch import nn

from .common import BATCH, Text, Workload

NOISE, SENTENCE, WIDTHS = 100, 128, (32, 64, 128, 256, 256)


class Affine(nn.Module):
    def __init__(self, cond, c):
        super().__init__()
        reader = lambda: nn.Sequential(nn.Linear(cond, c), nn.ReLU(), nn.Linear(c, c))
        self.gamma, self.beta = reader(), reader()

    def forward(self, x, cond):
        return F.leaky_relu(x * self.gamma(cond)[:, :, None, None] + self.beta(cond)[:, :, None, None], 0.2)


class UpBlock(nn.Module):
    def __init__(self, cond, a, b):
        super().__init__()
        self.affines = nn.ModuleList(Affine(cond, c) for c in (a, a, b, b))
        self.conv1, self.conv2 = nn.Conv2d(a, b, 3, 1, 1), nn.Conv2d(b, b, 3, 1, 1)
        self.shortcut = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x, cond):
        one, two, three, four = self.affines
        h = self.conv1(F.interpolate(two(one(x, cond), cond), scale_factor=2))
        h = self.conv2(four(three(h, cond), cond))
        return F.interpolate(self.shortcut(x), scale_factor=2) + h


class Generator(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.last = last
        self.start = nn.Linear(NOISE, WIDTHS[-1] * 16)
        pairs = list(zip(WIDTHS[:0:-1], WIDTHS[-2::-1]))
        self.blocks = nn.ModuleList(UpBlock(NOISE + SENTENCE, a, b) for a, b in pairs)
        self.picture = nn.Conv2d(WIDTHS[0], 3, 3, 1, 1)

    def forward(self, noise, sentence):
        x = self.start(noise).view(len(noise), -1, 4, 4)
        if self.last:
            x = x.contiguous(memory_format=torch.channels_last)
        cond = torch.cat([noise, sentence], 1)
        for block in self.blocks:
            x = block(x, cond)
        return torch.tanh(self.picture(F.leaky_relu(x, 0.2)))


class DownBlock(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(a, b, 1) if a != b else nn.Identity()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        h = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)
        return self.shortcut(F.avg_pool2d(x, 2)) + self.gamma * h


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.start = nn.Conv2d(3, WIDTHS[0], 3, 1, 1)
        self.blocks = nn.Sequential(*(DownBlock(a, b) for a, b in zip(WIDTHS, WIDTHS[1:])))
        self.joint = nn.Conv2d(WIDTHS[-1] + SENTENCE, 2 * WIDTHS[0], 3, 1, 1, bias=False)
        self.answer = nn.Conv2d(2 * WIDTHS[0], 1, 4, bias=False)

    def features(self, x):
        return self.blocks(self.start(x))

    def forward(self, features, sentence):
        grid = sentence[:, :, None, None].expand(-1, -1, 4, 4)
        return self.answer(F.leaky_relu(self.joint(torch.cat([features, grid], 1)), 0.2)).flatten().float()


class Dfgan(Workload):
    """One generation, D (hinge, mismatched, MA-GP each step by create_graph), G, the average."""

    def __init__(self, dtype, last):
        self.dtype, self.last = dtype, last
        self.g, self.d, self.text = Generator(last), Discriminator(), Text()
        self.layout()
        self.optimizers((1e-4, 4e-4), (0.0, 0.9))
        self.average = [p.detach().clone() for p in self.g.parameters()]
        self.real, self.ids = self.pictures(), torch.randint(0, 2048, (BATCH, 20))
        self.paint = lambda noise, ids: self.g(noise, F.normalize(self.text(ids)) * 8)

    def compile(self):
        # The penalty differentiates twice, which compiled graphs cannot: D stays plain.
        self.g, self.text = torch.compile(self.g), torch.compile(self.text)

    def step(self):
        noise = torch.randn(BATCH, NOISE)
        with torch.no_grad(), self.cast():
            sentence = F.normalize(self.text(self.ids)) * 8
        with self.cast():
            fake = self.g(noise, sentence).float()
            features = self.d.features(self.real)
            on_real, on_other = self.d(features, sentence), self.d(features, sentence.roll(-1, 0))
            on_fake = self.d(self.d.features(fake.detach()), sentence)
        loss = F.relu(1 - on_real).mean() + (F.relu(1 + on_fake).mean() + F.relu(1 + on_other).mean()) / 2
        x, under = self.real.detach().requires_grad_(), sentence.detach().requires_grad_()
        with self.cast():
            logit = self.d(self.d.features(x), under)
        gradients = torch.autograd.grad(logit.sum(), (x, under), create_graph=True)
        norm = torch.cat([g.float().flatten(1) for g in gradients], 1).square().sum(1)
        self.descend(self.adam_d, loss + 2 * norm.pow(3).mean())
        self.judge(False)
        with self.cast():
            g_loss = -self.d(self.d.features(fake), sentence).mean()
        self.descend(self.adam_g, g_loss)
        self.judge(True)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.g.parameters()), 0.01)

    def inputs(self, n):
        return torch.randn(n, NOISE), self.ids[:n]
