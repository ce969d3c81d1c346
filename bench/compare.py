"""Shenbi beside PyTorch and ONNX Runtime, in one run: `bench/run.sh` sets everything up and calls this.

Every side is a process that stays alive and waits; repetitions go around the sides in turn, so that a slow moment of the
machine hits all of them. What is printed are medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
BINARY = HERE.parent / "target" / "release" / "shenbi-bench"
PROGRAM = HERE.parent / "target" / "release" / "shenbi"
BATCH = 32
WORKLOADS = ["dcgan-64", "brush-64", "dfgan-64", "r3gan-64"]
TEXT_WORKLOADS = ["mle-lstm", "seqgan", "mle-transformer"]
# glibc's allocator returns memory to the system after each step by default: that costs PyTorch 15 to 20%.
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(4 << 30), "MALLOC_TOP_PAD_": str(512 << 20)}
# Instruction sets without AMX, named for both sides.
FORCED = {
    "avx512": ({"SHENBI_ISA": "avx512"}, {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
    "avx2": ({"SHENBI_ISA": "avx2"}, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
}


class Side:
    """One worker process."""

    def __init__(self, command, env=None):
        env = {**os.environ, **TUNED, **(env or {})}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.name = self.answer()["name"]
        self.seconds, self.peak = {}, 0

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a worker ended: " + " ".join(map(str, self.process.args)))
        return json.loads(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self, job, repetitions):
        answer = self.ask(f"{job} {repetitions}")
        self.peak = max(self.peak, answer["peak_mb"])
        return answer["seconds"] / repetitions

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(sides, job, repetitions, rounds):
    for side in sides:
        side.run(job, repetitions)
    times = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            times[side.name].append(side.run(job, repetitions))
    return {name: statistics.median(values) for name, values in times.items()}


def table(title, medians, pictures, work=None, memory=None, what="images"):
    """work: floating-point operations of one repetition, and how many a second the machine does at each precision."""
    ours = {name: t for name, t in medians.items() if name.startswith("shenbi")}
    best_peer = min((t for name, t in medians.items() if name not in ours), default=None)
    print(f"\n**{title}**\n")
    head = ["", "ms", f"{what}/s", "against the best peer", *(["of the peak"] if work else []), *(["MB"] if memory else [])]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name, t in sorted(medians.items(), key=lambda item: item[1]):
        ratio = f"{best_peer / t:.2f}x" if best_peer else "-"
        row = [name, f"{t * 1e3:.1f}", f"{pictures / t:.0f}", ratio]
        if work:
            flops, speeds = work
            row.append(f"{flops / t / speeds['bf16' if 'bf16' in name else 'f32']:.0%}")
        row += [str(memory[name])] if memory else []
        print("| " + " | ".join(row) + " |", flush=True)


def compare(workload, args, speeds):
    threads = str(args.threads)
    variants = ["bf16-last"] if args.quick else ["f32", "f32-last", "bf16", "bf16-last"]
    if args.compile:
        variants += ["f32-last-compile", "bf16-last-compile"]
    peer = lambda v: [sys.executable, HERE / "peer.py", workload, v, threads]
    sides = [Side([BINARY, workload, p, threads]) for p in ("bf16", "f32")[: 1 if args.quick else 2]]
    sides += [Side(peer(v)) for v in variants]
    steps = {"brush-64": 16, "dcgan-64": 8}.get(workload, 4)
    counter = sides[-len(variants)]
    count = lambda job, repetitions: counter.ask(f"count {job} {repetitions}")["flops"] / repetitions
    step = (count("train", 16), speeds)  # 16: as often as the rarest penalty comes
    medians = measure(sides, "train", steps, args.rounds)
    table(f"{workload}: training step, batch {BATCH}", medians, BATCH, step, {side.name: side.peak for side in sides})
    runtime = Side([sys.executable, HERE / "onnx_peer.py", workload, threads])
    for batch, repetitions in ((1, 20), (BATCH, 4)):
        title = f"{workload}: painting, batch {batch}"
        job = f"paint {batch}"
        table(title, measure([*sides, runtime], job, repetitions, args.rounds), batch, (count(job, 1), speeds))
    for side in [*sides, runtime]:
        side.close()
    for isa, (ours, theirs) in FORCED.items():
        sides = [Side([BINARY, workload, "f32", threads], ours)]
        sides += [Side(peer(v), theirs) for v in ("f32-last", "f32")[: 1 if args.quick else 2]]
        medians = measure(sides, "train", max(steps // 4, 2), args.rounds)
        table(f"{workload}: training step, {isa} forced on all", medians, BATCH)
        for side in sides:
            side.close()


def texts(workload, args):
    """Steps on 64 texts of 20 tokens, or 64 texts of 40 written."""
    threads = str(args.threads)
    variants = ["bf16"] if args.quick else ["f32", "bf16"]
    variants += [f"{v}-compile" for v in variants] if args.compile else []
    sides = [Side([BINARY, workload, p, threads]) for p in ("bf16", "f32")[: 1 if args.quick else 2]]
    sides += [Side([sys.executable, HERE / "peer.py", workload, v, threads]) for v in variants]
    if workload == "mle-transformer":
        table(f"{workload}: writing, batch 64", measure(sides, "paint 64", 1, args.rounds), 64 * 40, what="tokens")
    else:
        steps = 8 if workload == "mle-lstm" else 1
        medians = measure(sides, "train", steps, args.rounds)
        table(f"{workload}: training step, batch 64", medians, 64, None, {s.name: s.peak for s in sides}, "texts")
    for side in sides:
        side.close()


def first_picture(rounds):
    """From the start of a process to a picture on the disk."""
    out = HERE / "first.png"
    ours = [PROGRAM, "generate", "a red circle on a blue background", "--out", out]
    theirs = [sys.executable, HERE / "first_picture.py", out]
    times = {"shenbi generate": [], "python, PyTorch, a saved model": []}
    for _ in range(rounds):
        for name, command in zip(times, (ours, theirs)):
            out.unlink(missing_ok=True)
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    out.unlink(missing_ok=True)
    table("Process start to first picture, 64x64", {name: statistics.median(v) for name, v in times.items()}, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="repetitions that the median is taken of")
    parser.add_argument("--compile", action="store_true", help="also torch.compile: it needs a C++ compiler and minutes")
    parser.add_argument("--quick", action="store_true", help="only the variant of PyTorch that has been the fastest")
    parser.add_argument("--workload", choices=WORKLOADS + TEXT_WORKLOADS, action="append")
    args = parser.parse_args()
    peak = json.loads(subprocess.run([BINARY, "peak"], check=True, capture_output=True, text=True).stdout)
    print(f"One large matrix product here: f32 {peak['f32_gflops']} GFLOP/s, bf16 {peak['bf16_gflops']} GFLOP/s.")
    speeds = {precision: peak[f"{precision}_gflops"] * 1e9 for precision in ("f32", "bf16")}
    for workload in args.workload or WORKLOADS + TEXT_WORKLOADS:
        texts(workload, args) if workload in TEXT_WORKLOADS else compare(workload, args, speeds)
    first_picture(args.rounds)


if __name__ == "__main__":
    main()
