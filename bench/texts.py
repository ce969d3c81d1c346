"""What `bench/texts.sh` measured: quality at equal variety and variety at equal quality, over seeds.

    python3 bench/texts.py 1.json 2.json 3.json

Both axes are negative log-likelihoods a token, lower is better: quality is that of the texts by a judge that learnt from real ones, variety
that of real ones by a judge that learnt from the texts. A curve is a model's temperatures up to where variety stops
to gain; between two of them lies a straight line.
"""

import json
import statistics
import sys

SIDES = ["game", "start", "likelihood"]


def curves(path):
    """Three lists of (quality, variety), from the lowest temperature on."""
    found = {}
    with open(path) as file:
        rows = json.load(file)["rows"]
    for row in rows[1:]:
        name = row["what"].rsplit(", temperature", 1)[0]
        scores = row["text"]
        found.setdefault(name, []).append((scores["quality"]["nll"], scores["reverse"]["nll"]))
    real = (rows[0]["text"]["quality"]["nll"], rows[0]["text"]["reverse"]["nll"])
    for name, points in found.items():
        best = min(range(len(points)), key=lambda place: points[place][1])
        found[name] = points[: best + 1]
    return dict(zip(SIDES, found.values(), strict=True)), real


def at(points, axis, value):
    """The other coordinate where this one is `value`; None beyond the curve."""
    for one, two in zip(points, points[1:]):
        low, high = sorted([one[axis], two[axis]])
        if low <= value <= high and low < high:
            share = (value - one[axis]) / (two[axis] - one[axis])
            return one[1 - axis] + share * (two[1 - axis] - one[1 - axis])
    return None


def table(seeds, axis, title):
    print(f"\n{title}\n")
    values = [points[axis] for sides, _ in seeds for side in sides.values() for points in side]
    step = 0.1 if max(values) - min(values) < 1 else 0.25
    value = round(min(values) / step) * step
    print("| at | " + " | ".join(SIDES) + " | game less start, by seed | game less likelihood, by seed |")
    print("|---" * 6 + "|")
    while value < max(values):
        sides = [[at(sides[side], axis, value) for sides, _ in seeds] for side in SIDES]
        if all(x is not None for x in sides[0] + sides[1]):
            cells = [f"{statistics.mean(side):.3f}" if None not in side else "" for side in sides]
            for other in sides[1:]:
                cells.append(" ".join(f"{a - b:+.3f}" for a, b in zip(sides[0], other) if b is not None))
            print(f"| {value:.2f} | " + " | ".join(cells) + " |")
        value += step


def main():
    seeds = [curves(path) for path in sys.argv[1:]]
    for name, axis in [("quality", 0), ("variety", 1)]:
        print(f"real texts, {name}:", " ".join(f"{real[axis]:.3f}" for _, real in seeds))
    table(seeds, 1, "Quality where variety is")
    table(seeds, 0, "Variety where quality is")


if __name__ == "__main__":
    main()
