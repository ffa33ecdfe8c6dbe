"""Compares `b158` with bitnet.cpp on the I2_S files that `b158` writes for it."""

import ast
import pathlib
import subprocess
import sys

import numpy as np
from b158 import WORK, Agreement, convert, encode, generate, log_softmax, logits
from models import TWINS, desk_text, shared, stories, story_model, texts, tied

WINDOW = 128
WINDOWS = 8
GREEDY = 48

# Both sides quantize activations to int8 with one scale a token and sum products as integers, so they differ
# only where rounding in norms and softmax pushes an activation over a rounding boundary: rarely, and then
# visibly in single predictions (bound by `top`), hardly in the mean (bound by `nll`). The peer's saved
# log-probabilities are rounded to 16 / 65535 besides.
# The 2B4T models are untrained: all tokens are about as likely, so the most probable one changes more easily.
NLL, TOP = 5e-3, {"2b4t": 0.93, "2b4t-packed": 0.93}
# Greedy texts are equal up to a place at which our two best tokens are at most this far apart: there such a
# flip decides.
MARGIN = 0.3

BUILD = pathlib.Path(sys.argv[1])


def peer(tool, *arguments):
    command = [str(BUILD / "bin" / tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def peer_encode(file, text):
    source = WORK / "prompt.txt"
    # Through a file, and closed by a mark: the tool drops one line break at a file's end.
    source.write_text(text, encoding="utf-8")
    return ast.literal_eval(peer("llama-tokenize", "-m", file, "-f", source, "--ids", "--log-disable").decode())


def peer_generate(file, prompt, count):
    """The continuation alone; one thread, keys in f32 (values are f16 there, always)."""
    return peer(
        "llama-cli", "-m", file, "-p", prompt, "-n", count, "--temp", 0, "-t", 1, "-c", 256,
        "-ctk", "f32", "--no-display-prompt",
    )


def peer_windows(file, text):
    """Windows of token ids and the peer's log-probabilities for the second half of each.

    A saved file: `_logits_`, window length, vocabulary, windows, all token ids, then for each scored place the
    f32 pair (step, lowest) and one u16 a vocabulary entry: log p = step * u16 + lowest.
    """
    source, saved = WORK / "text.txt", WORK / "peer-logits.bin"
    source.write_text(text, encoding="utf-8")
    peer(
        "llama-perplexity", "-m", file, "-f", source, "-c", WINDOW, "-b", WINDOW, "--chunks", WINDOWS, "-t", 1,
        "-ctk", "f32", "--kl-divergence-base", saved,
    )
    content = saved.read_bytes()
    assert content[:8] == b"_logits_"
    length, vocabulary, windows = np.frombuffer(content, "<i4", 3, 8)
    ids = np.frombuffer(content, "<i4", length * windows, 20).reshape(windows, length)
    scored = length - 1 - length // 2
    width = 2 * ((vocabulary + 1) // 2) + 4
    rows = np.frombuffer(content, "<u2", offset=20 + ids.nbytes).reshape(windows, scored, width)
    steps = np.ascontiguousarray(rows[:, :, :4]).view("<f4")
    return ids, steps[:, :, :1] * rows[:, :, 4 : 4 + vocabulary] + steps[:, :, 1:]


def compare(name, label, file, text, prompts):
    lines = texts(name, text)
    for line in lines:
        ours, theirs = encode(file, line), peer_encode(file, line)
        assert ours == theirs, f"{label}: {line!r}\nhere  {ours}\nthere {theirs}"
    print(f"{label}: {len(lines)} texts, the same token ids", flush=True)

    first = encode(file, "A")[:1]
    agreement = Agreement()
    for window, theirs in zip(*peer_windows(file, text)):
        window = first + window[1:].tolist()
        ours = log_softmax(logits(file, window))[WINDOW // 2 : -1]
        agreement.add(ours, theirs, np.array(window[WINDOW // 2 + 1 :]))
    agreement.check(label, nll=NLL, top=TOP.get(name, 0.96))

    for prompt in prompts:
        theirs = peer_generate(file, prompt, GREEDY).decode(errors="replace")
        same_text(label, file, prompt, theirs)


def same_text(label, file, prompt, theirs):
    ids, ours = generate(file, prompt, GREEDY)
    same = len(ids)
    # A token may end within a character.
    while same and not theirs.startswith(generate(file, prompt, same)[1].rstrip("\ufffd")):
        same -= 1
    if same == len(ids):
        print(f"{label}: the same {same} tokens", flush=True)
        return
    second, first = np.sort(log_softmax(logits(file, encode(file, prompt) + ids[:same])[-1:])[0])[-2:]
    print(f"{label}: the same {same} tokens, then a choice by a margin of {first - second:.2e}", flush=True)
    assert first - second <= MARGIN, f"{label}: {prompt!r}\nhere  {ours!r}\nthere {theirs!r}"


def main():
    desk = desk_text()
    prompts = ["The keeper of the lighthouse", "In 1931 the lamp"]
    # `llama`: rotary pairs side by side; `bitnet`: SiLU and sub-norms; `bitnet-b1.58`: squared ReLU and sub-norms.
    models = [
        ("llama", TWINS / "tiny-llama-f16", desk, prompts),
        ("1bitllm-tied", tied(TWINS / "tiny-b158-f16"), desk, prompts),
    ]
    if source := shared("oracle/ckpt/bitnet-2b4t-bf16"):
        models.append(("2b4t", source, desk, prompts))
    if source := shared("oracle/ckpt/bitnet-2b4t-packed-autobitlinear"):
        models.append(("2b4t-packed", source, desk, prompts))
    if source := story_model():
        models.append(("3M", source, stories(), ["Once upon a time", "Lily and Ben"]))
    for name, source, text, starts in models:
        for head in ["f32", "f16", "q6_k", "q8_0"]:
            hidden = 128 if name.startswith("2b4t") else 256
            if head == "q6_k" and hidden % 256 != 0:
                continue
            file = convert(source, f"{name}.i2_s-{head}.gguf", "i2_s", "--head", head)
            compare(name, f"{name} i2_s, head {head}", file, text, starts)


main()
