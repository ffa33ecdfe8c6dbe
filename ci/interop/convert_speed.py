"""Makes a BF16 checkpoint of the 2B-4T shape and times its conversion to TQ2_0 here and by llama.cpp."""

import argparse
import json
import os
import pathlib
import struct
import subprocess
import threading
import time

import numpy as np
from b158 import COMMAND, WORK

LAYERS, HIDDEN, INNER, HEADS, KEY_HEADS, VOCABULARY = 30, 2560, 6912, 20, 5, 128256
# Class, model type, activation, and the names of the norms inside a block. llama.cpp's converter does not know
# the names of the first, so both sides convert the second, which has the same shapes.
LAYOUTS = {
    "2b4t": ("BitNetForCausalLM", "bitnet", "relu2", ("self_attn.attn_sub_norm", "mlp.ffn_sub_norm")),
    "1bitllm": ("BitnetForCausalLM", "llama", "silu", ("self_attn.inner_attn_ln", "mlp.ffn_layernorm")),
    "llama": ("LlamaForCausalLM", "llama", "silu", None),
}


def shapes(layout):
    """Names and shapes in the order of the file."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    narrow = HIDDEN // HEADS * KEY_HEADS
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        yield f"{name}.input_layernorm.weight", (HIDDEN,)
        yield f"{name}.self_attn.q_proj.weight", (HIDDEN, HIDDEN)
        yield f"{name}.self_attn.k_proj.weight", (narrow, HIDDEN)
        yield f"{name}.self_attn.v_proj.weight", (narrow, HIDDEN)
        yield f"{name}.self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield f"{name}.post_attention_layernorm.weight", (HIDDEN,)
        yield f"{name}.mlp.gate_proj.weight", (INNER, HIDDEN)
        yield f"{name}.mlp.up_proj.weight", (INNER, HIDDEN)
        yield f"{name}.mlp.down_proj.weight", (HIDDEN, INNER)
        if inside := LAYOUTS[layout][3]:
            yield f"{name}.{inside[0]}.weight", (HIDDEN,)
            yield f"{name}.{inside[1]}.weight", (INNER,)
    yield "model.norm.weight", (HIDDEN,)


def bf16(values):
    """The upper halves of f32 bits, rounded to nearest."""
    return ((values.view(np.uint32) + 0x8000) >> 16).astype(np.uint16)


def write_weights(path, layout):
    """Gaussian master weights: runs of one pool at random places, since a converter's time does not depend on
    how random they are and drawing them all takes minutes."""
    random = np.random.default_rng(158)
    pool = bf16(random.standard_normal(1 << 25, dtype=np.float32) * np.float32(0.02))
    header, offset = {}, 0
    for name, shape in shapes(layout):
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes(layout):
            if len(shape) == 1:
                file.write(bf16(np.ones(shape, np.float32)).tobytes())
                continue
            left = int(np.prod(shape))
            while left:
                start = int(random.integers(len(pool) // 2))
                run = pool[start : start + left]
                file.write(run.tobytes())
                left -= len(run)


def write_tokenizer(path):
    """A SentencePiece model: unknown, begin, end, all bytes, then words. Protocol buffers by hand: a field is
    its number and wire type in a byte or two, then a length or a value."""

    def varint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    def message(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    unknown, control, byte, normal = 2, 3, 6, 1
    pieces = [("<unk>", unknown), ("<s>", control), ("</s>", control)]
    pieces += [(f"<0x{b:02X}>", byte) for b in range(256)]
    pieces += [(f"\u2581w{i}", normal) for i in range(VOCABULARY - len(pieces))]
    out = bytearray()
    for rank, (text, kind) in enumerate(pieces):
        piece = message(1, text.encode()) + b"\x15" + struct.pack("<f", -rank) + b"\x18" + bytes([kind])
        out += message(1, piece)
    bpe = b"\x18\x02"  # trainer: model type 2
    fallback = varint(35 << 3) + b"\x01"  # trainer: byte fallback
    blanks = b"\x18\x01\x20\x00"  # normalizer: a blank in front, runs of blanks stay
    path.write_bytes(out + message(2, bpe + fallback) + message(3, blanks))


def make(layout):
    folder = WORK / f"speed-{layout}"
    done = folder / "config.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(folder / "model.safetensors", layout)
        write_tokenizer(folder / "tokenizer.model")
        architecture, kind, activation, _ = LAYOUTS[layout]
        config = {
            "architectures": [architecture], "model_type": kind, "hidden_act": activation, "hidden_size": HIDDEN,
            "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_HEADS, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0, "max_position_embeddings": 4096, "tie_word_embeddings": True,
            "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
        }
        done.write_text(json.dumps(config))
    return folder


def measure(command):
    """Seconds, peak resident bytes (mapped files included) and peak bytes of the process's own memory."""
    own = 0
    start = time.perf_counter()
    with open(WORK / "convert-speed.log", "ab") as log:
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log)

        def watch():
            nonlocal own
            while process.returncode is None:
                try:
                    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                except OSError:
                    break
                for line in status.splitlines():
                    if line.startswith("RssAnon:"):
                        own = max(own, int(line.split()[1]) * 1024)
                time.sleep(0.02)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise SystemExit(f"failed: {' '.join(map(str, command))}; see {WORK / 'convert-speed.log'}")
    return seconds, usage.ru_maxrss * 1024, own


def warm(path):
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def line(label, size, seconds, resident, own):
    print(
        f"{label:38} {seconds:7.1f} s  {size / seconds / 1e9:5.2f} GB/s of input  "
        f"peak resident {resident / 1e9:5.2f} GB, own memory {own / 1e9:5.2f} GB",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layout", choices=LAYOUTS, default="1bitllm")
    parser.add_argument("--peer", nargs=3, metavar=("SOURCE", "BUILD", "PYTHON"))
    parser.add_argument("--type", default="bf16", help="full-precision type of the peer's first step")
    arguments = parser.parse_args()
    folder = make(arguments.layout)
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    print(f"{folder.name}: {size / 1e9:.2f} GB, {os.cpu_count()} cores", flush=True)
    out = WORK / "2b4t.tq2_0.gguf"
    ours = []
    for _ in range(2):
        warm(weights)
        out.unlink(missing_ok=True)
        ours.append(measure([COMMAND, "convert", folder, "-o", out, "--to", "tq2_0", "--head", "f16"]))
        line("b158 convert --to tq2_0", size, *ours[-1])
    if not arguments.peer:
        return
    source, build, python = arguments.peer
    middle, last = WORK / f"2b4t.{arguments.type}.gguf", WORK / "2b4t.peer.gguf"
    middle.unlink(missing_ok=True)
    warm(weights)
    script = pathlib.Path(source) / "convert_hf_to_gguf.py"
    first = measure([python, script, folder, "--outtype", arguments.type, "--outfile", middle])
    line(f"convert_hf_to_gguf.py ({arguments.type})", size, *first)
    warm(middle)
    quantize = pathlib.Path(build) / "bin/llama-quantize"
    second = measure([quantize, "--token-embedding-type", "f16", middle, last, "TQ2_0", os.cpu_count()])
    line("llama-quantize TQ2_0", middle.stat().st_size, *second)
    line("llama.cpp, both steps", size, first[0] + second[0], max(first[1], second[1]), max(first[2], second[2]))
    best = min(seconds for seconds, _, _ in ours)
    print(f"b158 is {(first[0] + second[0]) / best:.1f} times as fast as both steps, "
          f"{second[0] / best:.1f} times as llama-quantize alone", flush=True)
    print(f"sizes: {out.stat().st_size} and {last.stat().st_size} bytes", flush=True)
    for file in (middle, last, out):
        file.unlink()


main()
