#!/bin/sh
# Correctness and speed of the engine on a bare NVIDIA machine: needs python with torch, transformers and pydantic, no
# network and no weights. Random weights in real shapes; one JSON line per shape. Arguments go to bench/gpu.py.
set -eu
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1
PYTHON=${PYTHON:-python3}
if [ "$#" -gt 0 ]; then
    exec "$PYTHON" -m bench.gpu "$@"
fi
for shape in llama-3.2-1b qwen2.5-7b; do
    "$PYTHON" -m bench.gpu --shape "$shape"
done
