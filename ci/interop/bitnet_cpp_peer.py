"""Compares `b158` with bitnet.cpp on the I2_S files that `b158` writes for it."""

import ast
import pathlib
import subprocess
import sys

import numpy as np
from b158 import (
    HARD_TEXTS, ROOT, SHARED, WORK, Agreement, convert, desk_text, encode, generate, log_softmax, logits, shared,
    tied,
)

WINDOW = 128
WINDOWS = 8
GREEDY = 48

# Both sides quantize activations to int8 with one scale a token and sum products as integers, so they differ
# only where rounding in norms and softmax pushes an activation over a rounding boundary: rarely, and then
# visibly in single predictions (bound by `top`), hardly in the mean (bound by `nll`). The peer's saved
# log-probabilities are rounded to 16 / 65535 besides.
NLL, TOP = 5e-3, 0.97
# Greedy texts must be equal at least this far; after that one flipped code may decide.
SAME_TOKENS = 16

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


def compare(label, file, text, prompts):
    lines = [line for line in text.splitlines() if line.strip()][:40] + HARD_TEXTS
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
    agreement.check(label, nll=NLL, top=TOP)

    for prompt in prompts:
        ids, ours = generate(file, prompt, GREEDY)
        theirs = peer_generate(file, prompt, GREEDY).decode(errors="replace").rstrip("\n")
        start = generate(file, prompt, SAME_TOKENS)[1]
        assert theirs.startswith(start.rstrip("\ufffd")), f"{label}: {prompt!r}\nhere  {ours!r}\nthere {theirs!r}"
        whole = "the same" if theirs == ours else f"different after {SAME_TOKENS} tokens or more"
        print(f"{label}: greedy text of {len(ids)} tokens, {whole}", flush=True)


def main():
    twins, desk = ROOT / "ci/twins", desk_text()
    prompts = ["The keeper of the lighthouse", "In 1931 the lamp"]
    # `llama`: rotary pairs side by side; `bitnet`: SiLU and sub-norms; `bitnet-b1.58`: squared ReLU and sub-norms.
    models = [
        ("llama", twins / "tiny-llama-f16", desk, prompts),
        ("1bitllm-tied", tied(twins / "tiny-b158-f16"), desk, prompts),
    ]
    if source := shared("oracle/ckpt/bitnet-2b4t-bf16"):
        models.append(("2b4t", source, desk, prompts))
    if source := shared("oracle/ckpt/bitnet-2b4t-packed-autobitlinear"):
        models.append(("2b4t-packed", source, desk, prompts))
    if source := shared("data/models/derived/bitllama2c-3M.f16.gguf"):
        story = (SHARED / "data/tinystories/yuninxia-tinystories_val.txt").read_text(encoding="utf-8")
        models.append(("3M", source, story[:60000], ["Once upon a time", "Lily and Ben"]))
    for name, source, text, starts in models:
        for head in ["f32", "f16", "q6_k", "q8_0"]:
            hidden = 128 if name.startswith("2b4t") else 256
            if head == "q6_k" and hidden % 256 != 0:
                continue
            file = convert(source, f"{name}.i2_s-{head}.gguf", "i2_s", "--head", head)
            compare(f"{name} i2_s, head {head}", file, text, starts)


main()
