"""Compares `b158` with llama.cpp on the files that `b158` writes for it."""

import numpy as np
from b158 import Agreement, convert, encode, log_softmax, logits, same_greedy_text
from llama_cpp import Llama
from models import (
    HARD_TEXTS, TWINS, desk_text, published, stories, story_model, texts, tied, vocabularies, vocabulary,
)

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
GREEDY_TOLERANCE = {"f32": 2e-3, "f16": 3e-2, "bf16": 0.1, "ternary": 0.15}


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


def models():
    """Name, source folder or file, a text of its kind, prompts, formats beside the common ones."""
    desk, prompts = desk_text(), ["The keeper of the lighthouse", "In 1931 the lamp"]
    yield "llama", TWINS / "tiny-llama-f16", desk, prompts, ["f32", "f16", "bf16", "q1_0"]
    yield "1bitllm-tied", tied(TWINS / "tiny-b158-f16"), desk, prompts, []
    if source := story_model():
        yield "3M", source, stories(), ["Once upon a time", "Lily and Ben"], []


def main():
    for name, source, text, prompts, more in models():
        for to in ["tq1_0", "tq2_0", "q2_0", *more]:
            scheme = ["--scheme", "binary"] if to == "q1_0" else []
            kind = to if to in BOUNDS else "ternary"
            # An f32 head takes the peer's rounding of activations for an f16 product out of the comparison.
            head = [] if kind != "ternary" else ["--head", "f32"]
            file = convert(source, f"{name}.{to}.gguf", to, *scheme, *head)
            compare(name, f"{name} {to}", kind, file, text, prompts)
        for head in ["f16", "bf16", "q8_0", "q6_k"]:
            file = convert(source, f"{name}.tq2_0-{head}.gguf", "tq2_0", "--head", head)
            compare(name, f"{name} tq2_0, head {head}", "ternary", file, text, prompts[:1])
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
