#!/usr/bin/env bash
# Converts models to I2_S and compares tokens, greedy text and likelihoods with bitnet.cpp's own.
#
#   ci/interop/bitnet.cpp --peer BUILD    a build folder of bitnet.cpp for this machine, with bin/llama-cli,
#                                         bin/llama-perplexity and bin/llama-tokenize
set -euo pipefail
cd "$(dirname "$0")/../.."
build=
export PYTHONDONTWRITEBYTECODE=1
while [ $# -gt 0 ]; do
  case $1 in
    --peer) build=$2 ;;
    *) echo "usage: $0 [--peer BUILD]" >&2; exit 2 ;;
  esac
  shift 2
done
[ -n "$build" ] || { echo "skipped: no bitnet.cpp; give --peer BUILD"; exit 0; }
venv=target/interop/gguf-py
[ -e "$venv/ok" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q gguf safetensors numpy && touch "$venv/ok"; }
[ -n "${B158:-}" ] || cargo build --release --quiet
"$venv/bin/python" ci/interop/bitnet_cpp_peer.py "$build"
