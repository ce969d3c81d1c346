"""The PyTorch side of the comparison: the same networks, the same step.

    python peer.py WORKLOAD VARIANT THREADS

prints one JSON line that says what it is, then for each line `train N` or `paint B N` on its standard input does N steps,
or paints B pictures N times, and prints {"seconds": .., "peak_mb": ..}. compare.py drives it.
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


class Workload:
    """Networks that train and paint at one precision."""

    def cast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)


class Dcgan(Workload):
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



class Block(nn.Module):
    """Pre-norm Transformer block."""

    def __init__(self, n, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)
        self.qkv, self.out = nn.Linear(n, 3 * n), nn.Linear(n, n)
        self.up, self.down = nn.Linear(n, 2 * n), nn.Linear(2 * n, n)

    def forward(self, x, mask):
        b, t, n = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, n // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(b, t, n))
        return x + self.down(F.relu(self.up(self.norm2(x))))


class Text(nn.Module):
    def __init__(self, vocabulary=2048, n=128, sentence=128, layers=2, heads=4, longest=48):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, n), nn.Parameter(torch.randn(longest, n) * 0.1)
        self.blocks = nn.ModuleList(Block(n, heads) for _ in range(layers))
        self.norm, self.project = nn.LayerNorm(n), nn.Linear(n, sentence, bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        mask = torch.zeros(ids.shape[0], 1, 1, ids.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        return self.project(self.norm(x).mean(1)).float()


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
        if last:
            self.g, self.d = (m.to(memory_format=torch.channels_last) for m in (self.g, self.d))
        self.adam_g = torch.optim.Adam(self.g.parameters(), 2e-3, (0.0, 0.99), fused=True)
        both = list(self.d.parameters()) + list(self.text.parameters())
        self.adam_d = torch.optim.Adam(both, 2e-3, (0.0, 0.99), fused=True)
        self.average = [p.detach().clone() for p in [*self.g.parameters(), *self.text.parameters()]]
        self.real = torch.rand(BATCH, 3, 64, 64) * 2 - 1
        if last:
            self.real = self.real.contiguous(memory_format=torch.channels_last)
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
        self.adam_d.zero_grad()
        loss.backward()
        self.adam_d.step()
        for p in self.d.parameters():
            p.requires_grad_(False)
        with self.cast():
            features = self.d.trunk(fake)
            logit = self.d.logit(features, fixed)
            embedding = self.d.embedding(features)
        loss = F.softplus(real_logit.detach() - logit).mean()
        loss = loss + info_nce(embedding, F.normalize(fixed), self.d.log_scale.exp())
        self.adam_g.zero_grad()
        loss.backward()
        self.adam_g.step()
        for p in self.d.parameters():
            p.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [*self.g.parameters(), *self.text.parameters()], 0.01)

    def inputs(self, n):
        return torch.randn(n, 32), self.ids[:n]


WORKLOADS = {"dcgan-64": Dcgan, "brush-64": Brush}


def main():
    workload, variant, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    parts = variant.split("-")
    dtype = torch.bfloat16 if parts[0] == "bf16" else torch.float32
    model = WORKLOADS[workload](dtype, "last" in parts)
    if "compile" in parts:
        model.compile()
    print(json.dumps({"name": "PyTorch " + variant, "about": torch.__version__}), flush=True)
    for line in sys.stdin:
        words = line.split()
        start = time.perf_counter()
        if words[0] == "train":
            model.g.train()
            for _ in range(int(words[1])):
                model.step()
        else:
            model.g.eval()
            inputs = model.inputs(int(words[1]))
            with torch.no_grad(), model.cast():
                for _ in range(int(words[2])):
                    model.paint(*inputs).float().numpy()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
