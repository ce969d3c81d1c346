#!/usr/bin/env bash
# Builds our side, sets up the other sides in a virtual environment (bench/.venv), and prints the table.
set -euo pipefail
cd "$(dirname "$0")"
(cd .. && cargo build --release --workspace)
python="${BENCH_PYTHON:-.venv/bin/python}"
if [ ! -x "$python" ]; then
    python3 -m venv .venv
    .venv/bin/pip install --quiet torch onnxruntime onnx pillow numpy
fi
exec "$python" compare.py "$@"
