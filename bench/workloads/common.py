"""What the networks of the comparison share."""

import torch
import torch.nn.functional as F
from torch import nn

BATCH = 32


class Workload:
    """Networks that train and paint at one precision."""

    def cast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def optimizers(self, rates, betas):
        """Fused Adam for G and D."""
        adam = lambda m, rate: torch.optim.Adam(m.parameters(), rate, betas, fused=True)
        self.adam_g, self.adam_d = adam(self.g, rates[0]), adam(self.d, rates[1])

    def descend(self, adam, loss):
        adam.zero_grad()
        loss.backward()
        adam.step()

    def judge(self, learning):
        """Whether D's weights take part in the graph."""
        for p in self.d.parameters():
            p.requires_grad_(learning)

    def pictures(self):
        real = torch.rand(BATCH, 3, 64, 64) * 2 - 1
        return real.contiguous(memory_format=torch.channels_last) if self.last else real

    def layout(self):
        if self.last:
            self.g, self.d = (m.to(memory_format=torch.channels_last) for m in (self.g, self.d))


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
