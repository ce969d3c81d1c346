"""Language models at SeqGAN's sizes, SeqGAN's step, and a small Transformer that writes.

Tokens are drawn by one uniform number a row from cumulated probabilities: on a CPU torch.multinomial takes longer.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .common import Block, Workload

VOCABULARY, BATCH, LENGTH = 5000, 64, 20


def draw(logits):
    heights = logits.float().softmax(1).cumsum(1)
    return torch.searchsorted(heights, torch.rand(len(heights), 1) * heights[:, -1:]).squeeze(1).clamp_(max=VOCABULARY - 1)


class LstmLanguage(nn.Module):
    def __init__(self, embedding=32, hidden=32):
        super().__init__()
        self.embed, self.out = nn.Embedding(VOCABULARY, embedding), nn.Linear(hidden, VOCABULARY)
        self.lstm, self.hidden = nn.LSTM(embedding, hidden), hidden

    def forward(self, texts):
        """Logits of each token, from those before; texts: [t, b]."""
        before = torch.cat([torch.zeros_like(texts[:1]), texts[:-1]])
        return self.out(self.lstm(self.embed(before))[0])

    def start(self, b):
        return tuple(torch.zeros(1, b, self.hidden) for _ in range(2))

    def read(self, tokens, state):
        states, state = self.lstm(self.embed(tokens)[None], state)
        return states[0], state

    def go_on(self, tokens, state, steps):
        """What follows these tokens, of which all are read but the last; [t, b]."""
        written = []
        for _ in range(steps):
            states, state = self.read(tokens, state)
            tokens = draw(self.out(states))
            written.append(tokens)
        return torch.stack(written)


class MleLstm(Workload):
    """A step of likelihood."""

    def __init__(self, dtype, last):
        self.dtype = dtype
        self.g = LstmLanguage()
        self.adam = torch.optim.Adam(self.g.parameters(), 2e-3, fused=True)
        self.texts = torch.randint(VOCABULARY, (LENGTH, BATCH))

    def compile(self):
        self.g = torch.compile(self.g)

    def step(self):
        with self.cast():
            loss = F.cross_entropy(self.g(self.texts).flatten(0, 1).float(), self.texts.flatten())
        self.descend(self.adam, loss)


class Judge(nn.Module):
    """SeqGAN's discriminator."""

    windows = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20]
    filters = [100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160]

    def __init__(self, embedding=64):
        super().__init__()
        n = sum(self.filters)
        self.embed = nn.Embedding(VOCABULARY, embedding)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, c, k) for k, c in zip(self.windows, self.filters))
        self.transform, self.gate, self.out = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, 1)

    def forward(self, texts):
        """Logits; texts: [b, t]."""
        x = self.embed(texts).transpose(1, 2)
        x = torch.cat([F.relu(c(x).amax(2)) for c in self.convolutions], 1)
        gate = torch.sigmoid(self.gate(x))
        x = x + gate * (F.relu(self.transform(x)) - x)
        return self.out(F.dropout(x, 0.25, self.training)).flatten().float()


class Seqgan(Workload):
    """One step of G, whose texts are finished 16 times from each place, and five of D (1609.05473)."""

    rollouts, steps_of_d = 16, 5

    def __init__(self, dtype, last):
        self.dtype = dtype
        self.g, self.policy, self.d = LstmLanguage(), LstmLanguage(), Judge()
        self.adam_g = torch.optim.Adam(self.g.parameters(), 1e-2, fused=True)
        self.adam_d = torch.optim.Adam(self.d.parameters(), 1e-4, fused=True)
        self.real = torch.randint(VOCABULARY, (BATCH, LENGTH))

    def compile(self):
        self.d = torch.compile(self.d)

    def write(self):
        with torch.no_grad():
            return self.g.go_on(torch.zeros(BATCH, dtype=torch.long), self.g.start(BATCH), LENGTH)

    def rewards(self, texts):
        """[t, b]"""
        self.d.eval()
        rewards, state, n = [], self.policy.start(BATCH), self.rollouts
        for t in range(LENGTH - 1):
            _, state = self.policy.read(texts[t - 1] if t else torch.zeros_like(texts[0]), state)
            repeated = tuple(part.repeat_interleave(n, 1) for part in state)
            prefix = texts[: t + 1].repeat_interleave(n, 1)
            rest = self.policy.go_on(prefix[-1], repeated, LENGTH - 1 - t)
            logits = self.d(torch.cat([prefix, rest]).t().contiguous())
            rewards.append(torch.sigmoid(logits).view(BATCH, n).mean(1))
        rewards.append(torch.sigmoid(self.d(texts.t().contiguous())))
        self.d.train()
        return torch.stack(rewards)

    def step(self):
        with self.cast():
            texts = self.write()
            with torch.no_grad():
                rewards = self.rewards(texts)
            losses = F.cross_entropy(self.g(texts).flatten(0, 1).float(), texts.flatten(), reduction="none")
            loss = (losses * rewards.flatten()).sum() / BATCH
        self.descend(self.adam_g, loss)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.policy.parameters()), list(self.g.parameters()), 0.2)
        for _ in range(self.steps_of_d):
            with self.cast():
                logits = self.d(torch.cat([self.real, self.write().t()]))
            loss = (F.softplus(-logits[:BATCH]).mean() + F.softplus(logits[BATCH:]).mean()) / 2
            self.descend(self.adam_d, loss)


class Gpt(nn.Module):
    def __init__(self, width=128, layers=4, heads=4, length=40):
        super().__init__()
        self.embed, self.positions = nn.Embedding(VOCABULARY, width), nn.Parameter(torch.randn(length, width) * 0.1)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)
        self.length, self.heads = length, heads


class MleTransformer(Workload):
    """Writing with a cache of keys and values."""

    def __init__(self, dtype, last):
        self.dtype = dtype
        self.g = Gpt()

    def compile(self):
        pass

    def inputs(self, n):
        return (n,)

    def paint(self, n):
        g, tokens, written = self.g, torch.zeros(n, dtype=torch.long), []
        shape = (n, g.heads, g.length, self.g.positions.shape[1] // g.heads)
        kept = [[torch.empty(shape, dtype=self.dtype) for _ in range(2)] for _ in g.blocks]
        for t in range(g.length):
            x = g.embed(tokens)[:, None] + g.positions[t]
            for block, (keys, values) in zip(g.blocks, kept):
                q, k, v = block.qkv(block.norm1(x)).view(n, 1, 3, g.heads, -1).permute(2, 0, 3, 1, 4)
                keys[:, :, t : t + 1], values[:, :, t : t + 1] = k, v
                mixed = F.scaled_dot_product_attention(q.to(self.dtype), keys[:, :, : t + 1], values[:, :, : t + 1])
                x = x + block.out(mixed.transpose(1, 2).reshape(n, 1, -1))
                x = x + block.down(F.relu(block.up(block.norm2(x))))
            tokens = draw(g.out(g.norm(x))[:, 0])
            written.append(tokens)
        return torch.stack(written, 1)
