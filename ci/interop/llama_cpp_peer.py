"""Compares `b158` with llama.cpp on the files that `b158` writes for it."""

import json

import numpy as np
from b158 import (
    HARD_TEXTS, ROOT, SHARED, WORK, Agreement, convert, desk_text, encode, log_softmax, logits,
    same_greedy_text, shared, tied,
)
from llama_cpp import Llama
from safetensors.numpy import save_file

WINDOW = 128
WINDOWS = 6
GREEDY = 48

# Full precision: both sides compute in f32 and differ in the order of sums; with f16 weights llama.cpp also
# rounds activations to f16 (2^-11 relative each).
# Ternary: this side quantizes activations to int8 with one scale a token; llama.cpp with one scale for every
# 256 of them (TQ1_0, TQ2_0) or 32 (Q2_0, Q1_0). Finer scales lose less, so the two differ by about the
# quantization error itself: single predictions move, the mean over hundreds of tokens by well under 2 %.
BOUNDS = {
    "f32": {"nll": 1e-4, "top": 0.995, "largest": 2e-3},
    "f16": {"nll": 1e-3, "top": 0.99, "largest": 3e-2},
    "bf16": {"nll": 1e-2, "top": 0.97},
    "ternary": {"nll": 2e-2, "top": 0.93},
}
GREEDY_TOLERANCE = {"f32": 2e-3, "f16": 3e-2, "bf16": 0.1, "ternary": 0.5}


def load(file, vocabulary_only=False):
    # A key-value cache of f32 and no flash attention: what is compared is the file, not the peer's shortcuts.
    return Llama(
        str(file), n_ctx=256, n_batch=256, n_threads=1, n_threads_batch=1, logits_all=True, flash_attn=False,
        type_k=0, type_v=0, vocab_only=vocabulary_only, verbose=False,
    )


def peer_encode(peer, text):
    return peer.tokenize(text.encode(), add_bos=True, special=True)


def peer_logits(peer, ids):
    peer.reset()
    peer.eval(ids)
    return np.array(peer.scores[: len(ids)])


def peer_greedy(peer, ids, count):
    peer.reset()
    peer.eval(ids)
    tokens = []
    for _ in range(count):
        token = int(peer.scores[peer.n_tokens - 1].argmax())
        tokens.append(token)
        if token == peer.token_eos():
            break
        peer.eval([token])
    return tokens


def compare(label, kind, file, text, prompts):
    peer = load(file)
    lines = [line for line in text.splitlines() if line.strip()][:40] + HARD_TEXTS
    for line in lines:
        ours, theirs = encode(file, line), peer_encode(peer, line)
        assert ours == theirs, f"{label}: {line!r}\nhere  {ours}\nthere {theirs}"
    print(f"{label}: {len(lines)} texts, the same token ids", flush=True)

    ids = peer_encode(peer, text)
    agreement = Agreement()
    for start in range(0, WINDOWS * WINDOW, WINDOW):
        window = ids[:1] + ids[1 + start : start + WINDOW]
        ours, theirs = log_softmax(logits(file, window)), log_softmax(peer_logits(peer, window))
        agreement.add(ours[:-1], theirs[:-1], np.array(window[1:]))
    agreement.check(label, **BOUNDS[kind])
    for prompt in prompts:
        theirs = peer_greedy(peer, peer_encode(peer, prompt), GREEDY)
        same_greedy_text(label, file, prompt, theirs, GREEDY_TOLERANCE[kind])


def models():
    """Name, source folder or file, a text of its kind, prompts, formats beside the common ones."""
    desk, prompts = desk_text(), ["The keeper of the lighthouse", "In 1931 the lamp"]
    twins = ROOT / "ci/twins"
    yield "llama", twins / "tiny-llama-f16", desk, prompts, ["f32", "f16", "bf16", "q1_0"]
    yield "1bitllm-tied", tied(twins / "tiny-b158-f16"), desk, prompts, []
    if source := shared("data/models/derived/bitllama2c-3M.f16.gguf"):
        story = (SHARED / "data/tinystories/yuninxia-tinystories_val.txt").read_text(encoding="utf-8")
        yield "3M", source, story, ["Once upon a time", "Lily and Ben"], []


def vocabulary(name, files, rows, **special):
    """A model of one small random layer around a tokenizer: only its vocabulary matters."""
    folder = WORK / f"vocabulary-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256,
        "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
        "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
        "vocab_size": rows, "tie_word_embeddings": True, "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config | special))
    random = np.random.default_rng(0)
    shapes = {"model.embed_tokens": (rows, 256), "model.norm": (256,)}
    for part in ("q", "k", "v", "o"):
        shapes[f"model.layers.0.self_attn.{part}_proj"] = (256, 256)
    for part in ("gate", "up", "down"):
        shapes[f"model.layers.0.mlp.{part}_proj"] = (256, 256)
    for part in ("input", "post_attention"):
        shapes[f"model.layers.0.{part}_layernorm"] = (256,)
    weights = {f"{k}.weight": random.standard_normal(s, dtype=np.float32).astype(np.float16) for k, s in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def vocabularies():
    """Name, tokenizer files, rows of the embedding, special ids, file of published texts and ids."""
    if folder := shared("data/tokenizers"):
        large = folder / "bitnet_b1_58-large"
        files = [large / f for f in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")]
        sentencepiece = {"bos_token_id": 1, "eos_token_id": 2}
        # 32002 rows for 32000 pieces and two added tokens.
        yield "bitnet_b1_58-large", files, 32002, sentencepiece, "llama-spm"
        yield "sentencepiece", [folder / "llama2/tokenizer.model"], 32000, sentencepiece, "llama-spm"
        tiktoken = {"bos_token_id": 128000, "eos_token_id": 128001}
        yield "tiktoken", [folder / "llama3-bitnet2b4t/tokenizer.model"], 128256, tiktoken, "llama-bpe"
        lists = [folder / "gpt2/vocab.json", folder / "gpt2/merges.txt"]
        yield "gpt2", lists, 50257, {"bos_token_id": 50256, "eos_token_id": 50256}, "gpt-2"


def published(name):
    """Texts and the ids that llama.cpp's own tests expect, without special tokens."""
    base = SHARED / f"data/tokenizers/llama.cpp/ggml-vocab-{name}.gguf"
    texts = base.with_suffix(".gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    lines = base.with_suffix(".gguf.out").read_text(encoding="utf-8").splitlines()
    return list(zip(texts, ([int(i) for i in line.split()] for line in lines)))


def main():
    for name, source, text, prompts, more in models():
        for to in ["tq1_0", "tq2_0", "q2_0", *more]:
            scheme = ["--scheme", "binary"] if to == "q1_0" else []
            kind = to if to in BOUNDS else "ternary"
            # An f32 head takes the peer's rounding of activations for an f16 product out of the comparison.
            head = [] if kind != "ternary" else ["--head", "f32"]
            file = convert(source, f"{name}.{to}.gguf", to, *scheme, *head)
            compare(f"{name} {to}", kind, file, text, prompts)
        for head in ["f16", "bf16", "q8_0", "q6_k"]:
            file = convert(source, f"{name}.tq2_0-{head}.gguf", "tq2_0", "--head", head)
            compare(f"{name} tq2_0, head {head}", "ternary", file, text, prompts[:1])
    for name, files, rows, special, tests in vocabularies():
        file = convert(vocabulary(name, files, rows, **special), f"{name}.gguf", "tq2_0")
        peer = load(file, vocabulary_only=True)
        pairs = published(tests)
        for text, expected in pairs:
            found = peer.tokenize(text.encode(), add_bos=False, special=False)
            assert found == expected, f"{name}: {text!r}\nexpected {expected}\nthere    {found}"
        texts = [text for text, _ in pairs if text and "\0" not in text] + HARD_TEXTS
        for text in texts:
            ours, theirs = encode(file, text), peer_encode(peer, text)
            assert ours == theirs, f"{name}: {text!r}\nhere  {ours}\nthere {theirs}"
        print(f"{name}: {len(pairs)} published and {len(texts)} texts in all, the same token ids", flush=True)


main()
