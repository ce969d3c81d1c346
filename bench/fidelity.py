"""`shenbi evaluate` beside torch-fidelity, pytorch-fid and clean-fid: the same pictures, the same random weights of the
Inception network of 2015 (by formula, from the models' fixtures), one thread each, taking turns.

    python bench/fidelity.py CIFAR.zip [-n 300] [--rounds 2] [--scores 200] [--shenbi target/release/shenbi]

Prints seconds of CPU for a thousand pictures and the peak of memory (features of one folder, with what each program needs
to start), then how far the scores of two folders are from each other. Wants torch torchvision torch-fidelity pytorch-fid
clean-fid pillow. CIFAR.zip: pictures in test/CLASS/NAME.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


def write_weights(path):
    """As pt_inception-2015-12-05.pth has them."""
    import torch

    sys.path.append(str(ROOT / "crates/shenbi-models/tests/fixtures"))
    from formula import state

    fixture = (ROOT / "crates/shenbi-models/tests/fixtures/backbones.safetensors").read_bytes()
    header = json.loads(fixture[8 : 8 + int.from_bytes(fixture[:8], "little")])
    shapes = json.loads(header["__metadata__"]["shapes"])["inception-2015"]
    torch.save(state(shapes) | {"fc.bias": torch.zeros(1008)}, path)


def write_pictures(archive, folders, n):
    """The first n pictures of the first classes in each folder, as PNG."""
    from PIL import Image

    with zipfile.ZipFile(archive) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("test/") and not name.endswith("/"))
        for part, folder in enumerate(folders):
            folder.mkdir()
            for i, name in enumerate(names[part :: len(names) // n][:n]):
                Image.open(BytesIO(archive.read(name))).convert("RGB").save(folder / f"{i:05}.png")


def peer(tool, weights, a, b):
    """One of the others, in this process: the scores of a against b, or the features of a."""
    import numpy as np
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.set_num_threads(1)
    started = time.process_time()
    if tool == "torch-fidelity":
        import torch_fidelity

        # By itself it measures precision and recall on VGG16.
        how = dict(feature_extractor="inception-v3-compat", feature_layer_prc="2048")
        how |= dict(feature_extractor_weights_path=weights, cuda=False, cache=False, verbose=False, save_cpu_ram=True)
        how |= dict(isc=True) if b is None else dict(input2=b, isc=True, fid=True, prc=True)
        found = torch_fidelity.calculate_metrics(input1=a, **how)
    elif tool == "pytorch-fid":
        from pytorch_fid import fid_score, inception

        inception.load_state_dict_from_url = lambda *args, **kwargs: torch.load(weights)
        model = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
        files = [sorted(Path(folder).glob("*.png")) for folder in (a, b) if folder]
        sides = [fid_score.get_activations(part, model, 50, 2048, "cpu", 0) for part in files]
        moments = [(side.mean(0), np.cov(side, rowvar=False)) for side in sides]
        found = {}
        if b is not None:
            found = {"fid": fid_score.calculate_frechet_distance(*moments[0], *moments[1]), "exact fid": exact(*sides)}
    else:
        from cleanfid import fid

        network = Bare(FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=weights))
        sides = [fid.get_folder_features(p, network, num_workers=0, device="cpu", mode="clean", verbose=False) for p in (a, b)]
        np.random.seed(1)
        found = {"fid": fid.fid_from_feats(*sides), "kid": fid.kernel_distance(*sides)}
    used = time.process_time() - started
    print(json.dumps({"scores": {key: float(value) for key, value in found.items()}, "after_start": used}))


def exact(x, y):
    """The Fréchet distance by singular values of the centred features: with fewer pictures than features their covariances
    are singular, and the matrix root that the packages take of them is wrong in the fourth digit or so."""
    import numpy as np

    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = [(side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (x, y)]
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * root


class Bare:
    """torch-fidelity's network without its resizer, for clean-fid's pictures: 299x299, from 0 to 255, in floats."""

    def __init__(self, network):
        self.network = network

    def __call__(self, x):
        n, x = self.network, (x - 128) / 128
        for block in (n.Conv2d_1a_3x3, n.Conv2d_2a_3x3, n.Conv2d_2b_3x3, n.MaxPool_1, n.Conv2d_3b_1x1, n.Conv2d_4a_3x3,
                      n.MaxPool_2, n.Mixed_5b, n.Mixed_5c, n.Mixed_5d, n.Mixed_6a, n.Mixed_6b, n.Mixed_6c, n.Mixed_6d,
                      n.Mixed_6e, n.Mixed_7a, n.Mixed_7b, n.Mixed_7c):
            x = block(x)
        return x.mean((2, 3))


def run(command):
    """Its last line as JSON, seconds of CPU and of the clock, and the peak of its memory in MB."""
    begun = time.time()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | ONE, text=True)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{err}")
    found = json.loads(out.strip().splitlines()[-1])
    return found, usage.ru_utime + usage.ru_stime, time.time() - begun, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar")
    parser.add_argument("-n", type=int, default=300, help="pictures whose features are timed")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scores", type=int, default=200, help="pictures a side whose scores are compared; 0 for none")
    parser.add_argument("--shenbi", default=str(ROOT / "target/release/shenbi"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        weights = str(work / "inception.pth")
        write_weights(weights)
        write_pictures(args.cifar, [work / "timed"], args.n)
        ours = [args.shenbi, "evaluate", "--features", weights, "--json"]
        timed = [*ours, "--data", str(work / "timed"), "--compat", "pytorch-fid", "--save-reference", str(work / "r")]
        other = [sys.executable, __file__, "--peer"]
        sides = {
            "shenbi": lambda: run(timed),
            "shenbi --fast": lambda: run([*timed, "--fast"]),
            "pytorch-fid": lambda: run([*other, "pytorch-fid", weights, str(work / "timed")]),
            "torch-fidelity": lambda: run([*other, "torch-fidelity", weights, str(work / "timed")]),
        }
        best = {}
        for _ in range(args.rounds):
            for name, side in sides.items():
                found, cpu, clock, memory = side()
                cpu, peak = found.get("after_start", cpu), memory
                best[name] = min(best.get(name, (cpu, clock, peak)), (cpu, clock, peak))
                print(f"{name}: {cpu:.1f} s of CPU, {clock:.1f} s by the clock, {memory:.0f} MB", file=sys.stderr)
        peers = [best["pytorch-fid"], best["torch-fidelity"]]
        print(f"{args.n} pictures, the better of {args.rounds} rounds")
        print("| | CPU s a thousand pictures | against the best peer | MB | against it |\n|---|---|---|---|---|")
        for name, (cpu, _, memory) in best.items():
            faster, smaller = min(p[0] for p in peers) / cpu, memory / min(p[2] for p in peers)
            print(f"| {name} | {1000 * cpu / args.n:.1f} | {faster:.2f}x | {memory:.0f} | {smaller:.2f} |")
        if not args.scores:
            return
        write_pictures(args.cifar, [work / "a", work / "b"], args.scores)
        a, b = str(work / "a"), str(work / "b")
        print("\n| | theirs | shenbi | relative | shenbi --fast | relative |\n|---|---|---|---|---|---|")
        for tool, metrics in [("torch-fidelity", "fid,is,prdc"), ("pytorch-fid", "fid"), ("clean-fid", "fid,kid")]:
            theirs = run([*other, tool, weights, a, b])[0]["scores"]
            both = []
            for fast in ([], ["--fast"]):
                command = [*ours, "--images", a, "--data", b, "--compat", tool, "--metrics", metrics, "--seed", "1"]
                found = run([*command, *fast])[0]["rows"][0]["pictures"]
                one = {"fid": found["frechet"]["distance"]}
                if tool == "pytorch-fid":
                    one["exact fid"] = one["fid"]
                if tool == "torch-fidelity":
                    one |= {"is": found["inception_score"]["mean"], "is deviation": found["inception_score"]["deviation"]}
                    one |= {key: found["prdc"][key] for key in ("precision", "recall")}
                if tool == "clean-fid":
                    one["kid"] = found["kid"]["mean"]
                both.append(one)
            theirs = {{"frechet_inception_distance": "fid", "inception_score_mean": "is",
                       "inception_score_std": "is deviation"}.get(key, key): value for key, value in theirs.items()}
            for key in both[0]:
                value, cells = theirs[key], []
                for one in both:
                    cells += [f"{one[key]:.9g}", f"{abs(one[key] - value) / max(abs(value), 1e-12):.1e}"]
                print(f"| {tool} {key} | {value:.9g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        tool, weights, a, *b = sys.argv[2:]
        peer(tool, weights, a, b[0] if b else None)
    else:
        main()
