"""Compares a GGUF file with the checkpoint it was made from, through gguf-py and numpy alone."""

import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, dequantize, quantize
from models import BLOCK
from safetensors.numpy import load_file

TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
TERNARY = (GGMLQuantizationType.TQ1_0, GGMLQuantizationType.TQ2_0)


def source_name(name):
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, index, kind = stem.split(".")
        return f"model.layers.{index}.{BLOCK[kind]}.weight"
    return TOP[stem] + ".weight"


def permuted(rows, heads):
    """The row order of llama.cpp's `llama` architecture: rotary pairs side by side."""
    head_dim = rows.shape[0] // heads
    split = rows.reshape(heads, 2, head_dim // 2, rows.shape[1])
    return split.swapaxes(1, 2).reshape(rows.shape)


def check_dense(name, kind, found, expected):
    """A tensor of full precision, or one whose blocks gguf-py quantizes as well."""
    if kind == GGMLQuantizationType.Q6_K:
        # gguf-py reads Q6_K and does not write it. 63 levels over blocks of 16 leave normal values an error
        # of 1.6 % (a step of about 1.8 / 32 deviations over the root of 12); a wrong block leaves about 100 %.
        error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
        assert error < 0.025, (name, error)
        return
    rounded = dequantize(quantize(expected, kind), kind)
    assert np.array_equal(found, rounded), name


def main(source, file):
    weights = load_file(f"{source}/model.safetensors")
    reader = GGUFReader(file)

    def field(key):
        return reader.get_field(key).contents()

    architecture = field("general.architecture")
    heads = field(f"{architecture}.attention.head_count")
    kv_heads = field(f"{architecture}.attention.head_count_kv")
    tensors = {t.name: t for t in reader.tensors}
    ternary = 0
    for name, tensor in tensors.items():
        if name.endswith(".scale"):
            continue
        expected = weights.pop(source_name(name)).astype(np.float32)
        kind = name.split(".")[2] if name.startswith("blk.") else ""
        if architecture == "llama" and kind in ("attn_q", "attn_k"):
            expected = permuted(expected, heads if kind == "attn_q" else kv_heads)
        found = dequantize(tensor.data, tensor.tensor_type)
        assert found.shape == expected.shape, (name, found.shape, expected.shape)
        if tensor.tensor_type not in TERNARY:
            check_dense(name, tensor.tensor_type, found, expected)
            continue
        ternary += 1
        scale = np.float32(np.abs(expected).astype(np.float64).mean())
        codes = np.clip(np.rint(expected * (np.float32(1) / scale)), -1, 1)
        beside = tensors.get(name.removesuffix("weight") + "scale")
        if beside is None:
            # The scale in every block, rounded to f16.
            scale = np.float32(np.float16(scale))
        else:
            assert beside.data.shape == (1,) and beside.data[0] == scale, (name, beside.data, scale)
            found = found * beside.data[0]
        assert np.array_equal(found, codes * scale), name
    assert not weights, f"missing from the file: {sorted(weights)}"
    tokens = field("tokenizer.ggml.tokens")
    rows = tensors["token_embd.weight"].shape[1]
    assert len(tokens) == rows and len(set(tokens)) == rows, f"{len(tokens)} tokens for {rows} rows"
    print(f"{file}: gguf-py agrees on {len(tensors)} tensors, {ternary} of them ternary, and {rows} tokens")


main(*sys.argv[1:])
