"""Compares a GGUF file with the checkpoint it was made from, through gguf-py and numpy alone."""

import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, dequantize
from safetensors.numpy import load_file

LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_sub_norm": "self_attn.inner_attn_ln",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_sub_norm": "mlp.ffn_layernorm",
    "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def source_name(name):
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, index, kind = stem.split(".")
        return f"model.layers.{index}.{LAYER[kind]}.weight"
    return TOP[stem] + ".weight"


def permuted(rows, heads):
    """The row order of llama.cpp's `llama` architecture: rotary pairs side by side."""
    head_dim = rows.shape[0] // heads
    split = rows.reshape(heads, 2, head_dim // 2, rows.shape[1])
    return split.swapaxes(1, 2).reshape(rows.shape)


def main(source, file):
    weights = load_file(f"{source}/model.safetensors")
    reader = GGUFReader(file)
    architecture = reader.get_field("general.architecture").contents()
    heads = reader.get_field(f"{architecture}.attention.head_count").contents()
    tensors = {t.name: t for t in reader.tensors}
    ternary = 0
    for name, tensor in tensors.items():
        if name.endswith(".scale"):
            continue
        expected = weights.pop(source_name(name)).astype(np.float32)
        found = dequantize(tensor.data, tensor.tensor_type)
        if tensor.tensor_type in (GGMLQuantizationType.TQ1_0, GGMLQuantizationType.TQ2_0):
            ternary += 1
            scale = np.float32(np.abs(expected).astype(np.float64).mean())
            codes = np.clip(np.rint(expected * (np.float32(1) / scale)), -1, 1)
            if architecture == "llama" and name.split(".")[2] in ("attn_q", "attn_k"):
                codes = permuted(codes, heads)
            stored = tensors[name.removesuffix("weight") + "scale"].data
            assert stored.shape == (1,) and stored[0] == scale, (name, stored, scale)
            found, expected = found * stored[0], codes * scale
        assert found.shape == expected.shape, (name, found.shape, expected.shape)
        assert np.array_equal(found, expected), name
    assert not weights, f"missing from the file: {sorted(weights)}"
    assert ternary, "no ternary tensor"
    print(f"{file}: gguf-py agrees on {len(tensors)} tensors, {ternary} of them ternary")


main(*sys.argv[1:])
