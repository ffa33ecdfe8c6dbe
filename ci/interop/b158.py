"""The `b158` command from Python, and the measures by which two implementations are compared."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target/interop"
COMMAND = os.environ.get("B158", str(ROOT / "target/release/b158"))


def b158(*arguments):
    """Runs one verb and returns its JSON document."""
    arguments = [str(a) for a in arguments]
    done = subprocess.run([COMMAND, "--json", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"b158 {' '.join(arguments)}\n{done.stderr}")
    return json.loads(done.stdout)


def convert(source, name, to, *options):
    """Converts into the work folder, proves the file by reading it back, and returns its path."""
    out = WORK / name
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        # A folder of an earlier run: the command writes into no folder that holds something.
        shutil.rmtree(out)
    b158("convert", source, "-o", out, "--to", to, "--verify", *options)
    return out


def encode(model, text):
    """Token ids of a text, with the special tokens that the model's tokenizer adds."""
    return b158("run", model, f"--prompt={text}", "-n", 0)["prompt_tokens"]


def generate(model, text, count):
    """The most probable continuation, token by token: ids and text."""
    document = b158("run", model, f"--prompt={text}", "-n", count)
    return document["tokens"], document["text"]


def logits(model, ids):
    """Logits [tokens, vocabulary] of one sequence."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/logits.safetensors"
        b158("logits", model, "--tokens", ",".join(map(str, ids)), "-o", out)
        return load_file(out)["logits"]


def log_softmax(rows):
    rows = rows.astype(np.float64)
    rows = rows - rows.max(axis=-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))


class Agreement:
    """How two implementations' predictions of the same tokens differ, over several sequences."""

    def __init__(self):
        self.ours, self.theirs, self.same_top, self.largest = [], [], [], 0.0

    def add(self, ours, theirs, ids):
        """`ours`, `theirs`: log-probabilities [n, vocabulary]; `ids`: the n tokens that came next."""
        rows = np.arange(len(ids))
        self.ours.extend(ours[rows, ids])
        self.theirs.extend(theirs[rows, ids])
        self.same_top.extend(ours.argmax(axis=-1) == theirs.argmax(axis=-1))
        self.largest = max(self.largest, float(np.abs(self.ours_minus_theirs(ours, theirs)).max()))

    @staticmethod
    def ours_minus_theirs(ours, theirs):
        # Tokens that neither side believes in say nothing: their log-probabilities are far down in the
        # rounding of every intermediate value, and some peers clip them.
        likely = np.maximum(ours, theirs) > -12
        return np.where(likely, ours - theirs, 0.0)

    def check(self, label, nll, top, largest=None):
        """Prints the figures and demands a relative difference of the mean negative log-likelihood of at
        most `nll`, the same most probable token in a share of at least `top`, and, where given, no
        log-probability off by more than `largest`."""
        ours, theirs = -np.mean(self.ours), -np.mean(self.theirs)
        difference, same = abs(ours - theirs) / ours, np.mean(self.same_top)
        print(
            f"{label}: {len(self.ours)} tokens, NLL {ours:.5f} here, {theirs:.5f} there "
            f"(relative {difference:.1e}), same top token {same:.4f}, largest difference {self.largest:.2e}",
            flush=True,
        )
        assert difference <= nll, f"{label}: relative difference of the NLL above {nll}"
        assert same >= top, f"{label}: top token the same in less than {top}"
        assert largest is None or self.largest <= largest, f"{label}: log-probability off by over {largest}"


def same_greedy_text(label, model, prompt, theirs, tolerance):
    """The peer's greedy continuation is ours, up to the first place at which two tokens are so close that
    the stated tolerance of the log-probabilities decides between them."""
    prompt_ids = encode(model, prompt)
    ours, _ = generate(model, prompt, len(theirs))
    theirs = theirs[: len(ours)]
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), len(theirs))
    if same < len(theirs):
        row = log_softmax(logits(model, prompt_ids + ours[:same])[-1:])[0]
        margin = row[ours[same]] - row[theirs[same]]
        print(f"{label}: the same {same} tokens, then a choice by a margin of {margin:.2e}", flush=True)
        assert margin <= 2 * tolerance, f"{label}: tokens {ours} here, {theirs} there"
    else:
        print(f"{label}: the same {same} tokens", flush=True)
