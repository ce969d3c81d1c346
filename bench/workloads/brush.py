"""`brush` at 64x64, size `small`."""

import torch
import torch.nn.functional as F
from torch import nn

from .common import BATCH, Text, Workload


class BrushGenerator(nn.Module):
    def __init__(self, noise=32, sentence=128, widths=(256, 128, 64, 32, 16)):
        super().__init__()
        cond = noise + sentence
        self.start = nn.Linear(cond, widths[0] * 16)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w, affine=False) for w in widths[:-1])
        self.affines = nn.ModuleList(nn.Linear(cond, 2 * w) for w in widths[:-1])
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(widths, widths[1:]))
        self.refine = nn.Conv2d(widths[-1], 3, 3, 1, 1)
        self.last = False

    def forward(self, noise, sentence):
        cond = torch.cat([noise, F.normalize(sentence) * 8], 1)
        x = self.start(cond).view(noise.shape[0], -1, 4, 4)
        if self.last:
            x = x.contiguous(memory_format=torch.channels_last)
        for norm, affine, up in zip(self.norms, self.affines, self.ups):
            gamma, beta = affine(cond)[:, :, None, None].chunk(2, 1)
            x = up(F.relu(norm(x) * (1 + gamma) + beta))
        return torch.tanh(self.refine(F.leaky_relu(x, 0.2)))


class BrushDiscriminator(nn.Module):
    def __init__(self, sentence=128, features=256, widths=(3, 32, 64, 128, 256)):
        super().__init__()
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(widths, widths[1:]))
        self.features, self.real = nn.Linear(widths[-1] * 16, features), nn.Linear(features, 1)
        self.project = nn.Linear(sentence, features, bias=False)
        self.embed = nn.Linear(features, sentence, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def trunk(self, x):
        for down in self.downs:
            x = F.leaky_relu(down(x), 0.2)
        return F.leaky_relu(self.features(x.flatten(1)), 0.2)

    def logit(self, features, sentence):
        return (self.real(features)[:, 0] + (features * self.project(F.normalize(sentence))).mean(1)).float()

    def embedding(self, features):
        return F.normalize(self.embed(features).float())

    def forward(self, x, sentence):
        features = self.trunk(x)
        return self.logit(features, sentence), self.embedding(features), features


def info_nce(a, b, scale):
    logits = a @ b.T * scale
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class Brush(Workload):
    """The step of `shenbi train`: one generation, D (relativistic, mismatched, contrastive; R1 and R2 every 16 steps,
    by create_graph), G, averages."""

    TOKENS = 20

    def __init__(self, dtype, last):
        self.dtype, self.last, self.steps = dtype, last, 0
        self.g, self.d, self.text = BrushGenerator(), BrushDiscriminator(), Text()
        self.g.last = last
        self.plain_trunk = self.d.trunk
        self.layout()
        self.adam_g = torch.optim.Adam(self.g.parameters(), 2e-3, (0.0, 0.99), fused=True)
        both = list(self.d.parameters()) + list(self.text.parameters())
        self.adam_d = torch.optim.Adam(both, 2e-3, (0.0, 0.99), fused=True)
        self.average = [p.detach().clone() for p in [*self.g.parameters(), *self.text.parameters()]]
        self.real = self.pictures()
        self.ids = torch.randint(0, 2048, (BATCH, self.TOKENS))
        self.paint = lambda noise, ids: self.g(noise, self.text(ids))

    def compile(self):
        # Penalties differentiate twice, which compiled graphs cannot: they keep the plain trunk.
        self.g, self.text, self.d.trunk = torch.compile(self.g), torch.compile(self.text), torch.compile(self.d.trunk)

    def penalty(self, x, sentence):
        x = x.detach().requires_grad_()
        with self.cast():
            logit = self.d.logit(self.plain_trunk(x), sentence)
        (grad,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
        return grad.float().square().sum([1, 2, 3]).mean() * 0.5 * 16

    def step(self):
        noise = torch.randn(BATCH, 32)
        with self.cast():
            sentence = self.text(self.ids)
            fixed = sentence.detach()
            fake = self.g(noise, fixed).float()
            features = self.d.trunk(torch.cat([self.real, fake.detach()]))
            on_real, on_fake = features.chunk(2)
            real_logit = self.d.logit(on_real, sentence)
            fake_logit = self.d.logit(on_fake, sentence)
            wrong_logit = self.d.logit(on_real, sentence.roll(-1, 0))
            embedding = self.d.embedding(on_real)
        loss = F.softplus(fake_logit - real_logit).mean() + F.softplus(wrong_logit - real_logit).mean()
        loss = loss + info_nce(embedding, F.normalize(sentence), self.d.log_scale.exp())
        if self.steps % 16 == 0:
            loss = loss + self.penalty(self.real, fixed) + self.penalty(fake, fixed)
        self.steps += 1
        self.descend(self.adam_d, loss)
        self.judge(False)
        with self.cast():
            features = self.d.trunk(fake)
            logit = self.d.logit(features, fixed)
            embedding = self.d.embedding(features)
        loss = F.softplus(real_logit.detach() - logit).mean()
        loss = loss + info_nce(embedding, F.normalize(fixed), self.d.log_scale.exp())
        self.descend(self.adam_g, loss)
        self.judge(True)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [*self.g.parameters(), *self.text.parameters()], 0.01)

    def inputs(self, n):
        return torch.randn(n, 32), self.ids[:n]
