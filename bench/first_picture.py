"""What `shenbi generate` does, in Python: start, load a saved model, paint one picture, write a PNG."""

import pathlib
import sys

import torch
from PIL import Image

from workloads.brush import Brush

SAVED = pathlib.Path(__file__).parent / "first_picture.pt"


def main():
    if not SAVED.exists():
        brush = Brush(torch.float32, False)
        torch.save({"g": brush.g.state_dict(), "text": brush.text.state_dict()}, SAVED)
    brush = Brush(torch.float32, False)
    saved = torch.load(SAVED, weights_only=True)
    brush.g.load_state_dict(saved["g"])
    brush.text.load_state_dict(saved["text"])
    brush.g.eval()
    with torch.no_grad():
        picture = brush.paint(*brush.inputs(1))[0]
    pixels = ((picture + 1) * 127.5).clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(sys.argv[1])


if __name__ == "__main__":
    main()
