"""Compares `b158` with llama.cpp on the files that `b158` writes for it."""

import numpy as np
from b158 import Agreement, convert, encode, log_softmax, logits, same_greedy_text
from llama_cpp import Llama
from models import (
    HARD_TEXTS, TWINS, desk_text, published, shared, stories, story_model, texts, tied, variant, vocabularies,
    vocabulary,
)

WINDOW = 128
WINDOWS = 6
GREEDY = 48

# Full precision: both sides compute in f32 and differ in the order of sums; with f16 weights llama.cpp also
# rounds activations to f16 (2^-11 relative each).
# Ternary: this side quantizes activations to int8 with one scale a token; llama.cpp with one scale for every
# 256 of them (TQ1_0, TQ2_0) or 32 (Q2_0, Q1_0). Finer scales lose less, so the two differ by about the
# quantization error itself: single predictions move, the mean over hundreds of tokens hardly (by 0.07 % at most
# when this was written).
BOUNDS = {
    "f32": {"nll": 1e-5, "top": 0.999, "largest": 2e-4},
    "f16": {"nll": 1e-4, "top": 0.99, "largest": 3e-2},
    "bf16": {"nll": 2e-3, "top": 0.98, "largest": 0.3},
    "ternary": {"nll": 5e-3, "top": 0.94},
}
GREEDY_TOLERANCE = {"f32": 2e-4, "f16": 3e-2, "bf16": 0.1, "ternary": 0.15}


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


def compare(name, label, kind, file, text, prompts):
    peer = load(file)
    lines = texts(name, text)
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


PACKED = ["tq1_0", "tq2_0", "q2_0"]
LLAMA_3 = {
    "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def models():
    """Name, source folder, a text of its kind, prompts and formats."""
    desk, prompts = desk_text(), ["The keeper of the lighthouse", "In 1931 the lamp"]
    llama = TWINS / "tiny-llama-f16"
    yield "llama", llama, desk, prompts, ["f32", "f16", "bf16", *PACKED, "q1_0"]
    # With other rotary angles the twin talks nonsense, the same on both sides.
    for scaling in (LLAMA_3, {"rope_type": "linear", "factor": 2.0}):
        name = f"llama-rope-{scaling['rope_type']}"
        parameters = {"rope_theta": 10000.0} | scaling
        yield name, variant(llama, name, rope_parameters=parameters), desk, prompts, ["f32"]
    yield "1bitllm-tied", tied(TWINS / "tiny-b158-f16"), desk, prompts, PACKED
    # Byte-level BPE, fewer heads for keys and values than for queries, shards.
    for name in ("llama-gqa-f16", "llama-gqa-bf16-sharded"):
        if source := shared(f"oracle/ckpt/{name}"):
            yield name, source, desk, prompts, ["f32", "f16", "bf16"]
    if source := story_model():
        prompts = ["Once upon a time", "Lily and Ben"]
        yield "3M", source, stories(), prompts, PACKED
        # The same model as somebody else's GGUF file, whose token lists are all the tokenizer it has.
        yield "3M-gguf", shared("data/models/derived/bitllama2c-3M.f16.gguf"), stories(), prompts, PACKED


def main():
    for name, source, text, prompts, formats in models():
        # An f32 head takes the peer's rounding of activations for an f16 product out of the comparison.
        runs = [(to, ["--head", "f32"] if to in PACKED else []) for to in formats]
        if "tq2_0" in formats:
            runs += [("tq2_0", ["--head", head]) for head in ("f16", "bf16", "q8_0", "q6_k")]
            runs.append(("tq2_0", ["--scales", "blocks"]))
        for to, options in runs:
            if to == "q1_0":
                options = ["--scheme", "binary", "--head", "f32"]
            label = " ".join([name, to, *options])
            file = convert(source, f"{label.replace(' ', '')}.gguf", to, *options)
            compare(name, label, to if to in BOUNDS else "ternary", file, text, prompts)
    for name, files, rows, special, tests in vocabularies():
        file = convert(vocabulary(name, files, rows, **special), f"{name}.gguf", "tq2_0")
        peer = load(file, vocabulary_only=True)
        pairs = published(tests)
        for text, expected in pairs:
            found = peer.tokenize(text.encode(), add_bos=False, special=False)
            assert found == expected, f"{name}: {text!r}\nexpected {expected}\nthere    {found}"
        whole = [text for text, _ in pairs if text and "\0" not in text] + HARD_TEXTS
        for text in whole:
            ours, theirs = encode(file, text), peer_encode(peer, text)
            assert ours == theirs, f"{name}: {text!r}\nhere  {ours}\nthere {theirs}"
        print(f"{name}: {len(pairs)} published and {len(whole)} texts in all, the same token ids", flush=True)


main()
