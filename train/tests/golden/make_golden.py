#!/usr/bin/env python3
"""Makes the golden numbers that one training step must give: `<scheme>-<layout>.safetensors`, `adamw.safetensors`.

    make_golden.py            compute, check and write the files beside this script
    make_golden.py --check    compute, check and compare with the files that are there
    make_golden.py --search N    print the best of N seeds for every case

Needs torch, numpy and safetensors; with transformers 5 installed it also compares with the classes there.

A file holds, for every parameter, the value `w.<name>` and the gradient `g.<name>` (f32), further

    ids      i32 [sequences, tokens + 1]; token t + 1 is predicted from tokens up to t
    loss     f64 [1], mean cross entropy
    shape    i32 [hidden, intermediate, layers, heads, key and value heads, vocabulary, groups]

Weights are f32, loss and gradients are computed in f64. Rounding to codes makes a step discontinuous: where an f32
program rounds one value to another code than this script, its numbers differ by far more than rounding errors. So
the seeds in `CASES` were searched for: every code is the same in f32, and every value that is rounded is as far
away from another code as such a search can make it. The margins are printed.
"""

import argparse
import pathlib
import sys

import adamw
import checks
import numpy as np
import torch
from reference import Case, Trace, loss, step
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent

# Weights of linear layers are drawn with this deviation: queries and keys are then large enough that attention is
# far from uniform. Binarized networks need some beyond 1, where their slope is 0.
DEVIATION = {"bnn": 0.6}
DEFAULT_DEVIATION = 0.25

# Seeds of rounded cases: the best of 20,000 (`--search`).
CASES = [
    Case("fp16", "llama", seed=0),
    Case("fp16", "llama", seed=0, kv_heads=2, note="kv2"),
    Case("fp16", "llama", seed=0, tied=False, note="untied"),
    Case("absmean", "llama", seed=18392),
    Case("absmean", "1bitllm", seed=2964),
    Case("absmean", "2b4t", seed=4250),
    Case("absmedian", "1bitllm", seed=2862),
    Case("bitnet", "1bitllm", seed=17326),
    Case("bitnet", "1bitllm", seed=1145, groups=2),
    Case("bnn", "1bitllm", seed=3234),
]

# An f32 program moves weights by about its rounding unit before it rounds them, and activations, at the end of long
# chains, by several times that: a margin of a weight is worth this many of an activation.
WEIGHT_MARGIN = 10.0


def draw(case, seed):
    """Weights f32 and token ids of a case."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in case.shapes():
        values = random.standard_normal(shape)
        if "norm" in name or name.endswith("_ln.weight"):
            values = 1 + 0.1 * values
        elif "_proj" in name:
            values *= DEVIATION.get(case.scheme, DEFAULT_DEVIATION)
        else:
            values *= 0.3
        weights[name] = torch.from_numpy(values.astype(np.float32))
    ids = random.integers(0, case.vocab, (case.sequences, case.tokens + 1))
    return weights, torch.from_numpy(ids)


def worth(trace):
    return min(trace.margin(activations=True), trace.margin(activations=False) * WEIGHT_MARGIN)


@torch.no_grad()
def search(case, count):
    def of(seed):
        weights, ids = draw(case, seed)
        trace = Trace()
        loss(case, {k: w.double() for k, w in weights.items()}, ids, trace)
        return worth(trace)

    best = max(range(count), key=of)
    print(f"{case.name}: seed {best}, margin {of(best):.2e}", flush=True)


def relative(found, expected):
    """The largest difference as a share of the largest value."""
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())


def golden(case):
    """Computes a case in f64 and f32, checks both, and returns the tensors of its file and a row of the table."""
    weights, ids = draw(case, case.seed)
    value, gradients, trace = step(case, weights, ids, torch.float64)
    rough, rough_gradients, rough_trace = step(case, weights, ids, torch.float32)
    flips = sum(int((a != b).sum()) for a, b in zip(trace.codes(), rough_trace.codes()))
    assert flips == 0, f"{case.name}: {flips} codes differ between f32 and f64: take another seed"
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, f"{case.name}: no gradient reaches {name}"

    row = [case.name, str(sum(c.numel() for c in trace.codes()))]
    for activations in (False, True):
        margin = trace.margin(activations)
        row += ["-", "-"] if margin == float("inf") else [
            f"{margin:.1e}", f"{trace.displacement(rough_trace, activations):.1e}"
        ]
    row.append(f"{abs(rough.item() / value.item() - 1):.1e}")
    row.append(f"{max(relative(rough_gradients[k], g) for k, g in gradients.items()):.1e}")
    row.append(f"{checks.finite_differences(case, weights, ids, gradients, trace):.1e}")
    row.append(checks.transformers_step(case, weights, ids, rough, rough_gradients))

    shape = [case.hidden, case.intermediate, case.layers, case.heads, case.kv_heads, case.vocab, case.groups]
    tensors = {
        "ids": ids.to(torch.int32),
        "loss": value.reshape(1),
        "shape": torch.tensor(shape, dtype=torch.int32),
    }
    tensors |= {f"w.{name}": w for name, w in weights.items()}
    tensors |= {f"g.{name}": g.float() for name, g in gradients.items()}
    return tensors, row


def compare(name, tensors):
    """The file that is there holds the same numbers, to the rounding of another machine's f64."""
    there = load_file(HERE / f"{name}.safetensors")
    assert there.keys() == tensors.keys(), f"{name}: {sorted(there.keys() ^ tensors.keys())}"
    for key, found in tensors.items():
        expected = there[key]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), f"{name}: {key}"
        assert torch.allclose(found.double(), expected.double(), rtol=3e-7, atol=1e-12), f"{name}: {key} differs"


def table(header, rows):
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="compare with the files that are there")
    arguments.add_argument("--search", type=int, metavar="N", help="print the best of N seeds for every case")
    arguments = arguments.parse_args()
    # One order of every sum, whatever the machine.
    torch.set_num_threads(1)
    if arguments.search:
        for case in CASES:
            if case.scheme != "fp16":
                search(case, arguments.search)
        return

    print(f"torch {torch.__version__}, numpy {np.__version__}, {checks.transformers_version()}")
    files, rows = {}, []
    for case in CASES:
        files[case.name], row = golden(case)
        rows.append(row)
    files["adamw"], differences = adamw.golden()
    table(
        ["case", "codes", "weights: margin", "moved", "activations: margin", "moved", "loss f32-f64",
         "gradients f32-f64", "finite differences", "transformers"],
        rows,
    )
    print(f"adamw: {differences}")
    print(checks.quantizers())

    for name, tensors in files.items():
        if arguments.check:
            compare(name, tensors)
        else:
            save_file(tensors, HERE / f"{name}.safetensors")
    size = sum((HERE / f"{name}.safetensors").stat().st_size for name in files)
    print(f"{len(files)} files, {size} bytes: {'as they were' if arguments.check else 'written'}")


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
