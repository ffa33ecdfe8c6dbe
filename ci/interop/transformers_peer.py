"""Compares `b158` with transformers on the packed folders that `b158` writes for it."""

import json
import warnings

import numpy as np
import torch
from b158 import Agreement, convert, log_softmax, logits
from models import SHARED, TWINS, shared
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging

# Integers are equal on both sides; floating-point steps are not, and where one moves an activation over a
# rounding boundary, single predictions differ visibly. On short prompts that is rare.
NLL, TOP = 5e-3, 0.95

CONVENTIONS = ("autobitlinear", "bitlinear")

warnings.filterwarnings("ignore")
logging.disable_progress_bar()
torch.set_grad_enabled(False)
torch.set_num_threads(1)


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    # Some parts keep the stored type on loading; everything is to be computed in f32.
    torch.nn.Module.float(model)
    packed = [m for m in model.modules() if type(m).__name__ in ("BitLinear", "AutoBitLinear")]
    assert packed, f"{folder}: no packed layer"
    for module in packed:
        module.dtype = torch.float32
    return model, len(packed)


def peer_logits(model, ids):
    return model(torch.tensor([ids])).logits[0].numpy()


def peer_greedy(model, ids, count):
    ids, start = list(ids), len(ids)
    while len(ids) < start + count:
        ids.append(int(peer_logits(model, ids)[-1].argmax()))
    return ids[start:]


def sequences(name):
    """Token sequences of the reference runs of one model, or of any with its vocabulary's size."""
    if path := shared(f"oracle/golden/{name}.f32.json"):
        return [p["ids"] for p in json.loads(path.read_text(encoding="utf-8"))["prompts"]]
    random = np.random.default_rng(0)
    return [[1, *random.integers(3, 500, 40).tolist()] for _ in range(4)]


def compare(label, folder, ids, golden=None, same_scales=False):
    """With the scales of the reference run's checkpoint, transformers must give that run's logits again. Scales
    that are not rounded to bf16, as ours are from master weights, move activations over rounding boundaries."""
    model, packed = load(folder)
    agreement = Agreement()
    off = []
    for i, sequence in enumerate(ids):
        ours, theirs = logits(folder, sequence), peer_logits(model, sequence)
        reference = theirs if golden is None else golden[f"p{i}.logits"]
        largest = np.abs(theirs - reference).max()
        assert largest < (1e-4 if same_scales else 0.5), f"{label}: logits {largest} off the reference run"
        off.append(largest)
        if len(sequence) > 1:
            agreement.add(log_softmax(ours)[:-1], log_softmax(theirs)[:-1], np.array(sequence[1:]))
    agreement.check(f"{label}, {packed} packed layers", nll=NLL, top=TOP)
    if golden is not None:
        print(f"{label}: logits at most {max(off):.1e} off the reference run", flush=True)
    return model


def tensors(folder):
    with safe_open(f"{folder}/model.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def same_packing(label, folder, reference, repacked):
    """The same tensors as in the folder that transformers wrote: codes to the bit, other values equal whatever
    their type, scales after rounding to the bf16 that they are stored in there. A scale from a packed folder of
    the other convention was rounded there once more, as its reciprocal."""
    found, expected = tensors(folder), tensors(reference)
    assert found.keys() == expected.keys(), f"{label}: {sorted(found.keys() ^ expected.keys())}"
    for name, value in expected.items():
        other = found[name]
        if name.endswith("weight_scale"):
            if repacked:
                assert abs(other.item() / value.item() - 1) < 2**-7, f"{label}: {name} {other} and not {value}"
                continue
            other = other.to(torch.bfloat16)
        same_kind = (other.dtype == torch.uint8) == (value.dtype == torch.uint8)
        assert same_kind and torch.equal(other.float(), value.float()), f"{label}: {name} differs"
    print(f"{label}: {len(expected)} tensors equal to those that transformers wrote", flush=True)


def main():
    for convention in CONVENTIONS:
        options = ["--linear-class", convention]
        folder = convert(TWINS / "tiny-llama-f16", f"llama.hf-{convention}", "hf", *options)
        compare(f"llama, {convention}", folder, sequences("tiny-llama-f16"))

        source = shared("oracle/ckpt/bitnet-2b4t-bf16")
        if source is None:
            continue
        name = f"bitnet-2b4t-packed-{convention}"
        golden = {k: v.numpy() for k, v in read_golden(name).items()}
        # From the master weights, and from the folders packed in both conventions.
        packed = [SHARED / f"oracle/ckpt/bitnet-2b4t-packed-{c}" for c in CONVENTIONS]
        for start in (source, *packed):
            same = start.name == name
            label = f"{start.name} to {convention}"
            folder = convert(start, f"{start.name}.hf-{convention}", "hf", *options)
            same_packing(label, folder, SHARED / f"oracle/ckpt/{name}", start is not source and not same)
            model = compare(label, folder, sequences(name), golden, same)
            ids = sequences(name)[0]
            ours, theirs = b158_greedy(folder, ids, 24), peer_greedy(model, ids, 24)
            assert ours[:8] == theirs[:8], f"{label}: greedy {ours} here, {theirs} there"
            equal = next((i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]), 24)
            print(f"{label}: the same {equal} of 24 greedy tokens", flush=True)


def read_golden(name):
    with safe_open(SHARED / f"oracle/golden/{name}.f32.safetensors", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


def b158_greedy(folder, ids, count):
    ids, start = list(ids), len(ids)
    while len(ids) < start + count:
        ids.append(int(logits(folder, ids)[-1].argmax()))
    return ids[start:]


main()
