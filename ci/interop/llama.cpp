#!/usr/bin/env bash
# Converts models to every format that llama.cpp reads and compares tokens, greedy text and likelihoods with
# llama.cpp's own, through llama-cpp-python.
#
#   ci/interop/llama.cpp --install DIR    install llama-cpp-python into DIR (it compiles llama.cpp: minutes)
#   ci/interop/llama.cpp --peer PYTHON    use an interpreter that has llama-cpp-python, gguf and safetensors
set -euo pipefail
cd "$(dirname "$0")/../.."
python=
export PYTHONDONTWRITEBYTECODE=1
while [ $# -gt 0 ]; do
  case $1 in
    --install)
      [ -e "$2/ok" ] || { python3 -m venv "$2" && "$2/bin/pip" install -q llama-cpp-python gguf numpy safetensors && touch "$2/ok"; }
      python=$2/bin/python ;;
    --peer) python=$2 ;;
    *) echo "usage: $0 [--install DIR | --peer PYTHON]" >&2; exit 2 ;;
  esac
  shift 2
done
[ -n "$python" ] || { echo "skipped: no llama.cpp; give --install DIR or --peer PYTHON"; exit 0; }
[ -n "${B158:-}" ] || cargo build --release --quiet
"$python" ci/interop/llama_cpp_peer.py
