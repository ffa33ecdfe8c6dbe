"""Compares `b158 logits` with transformers on folders of trained twins, in f32.

Of a ternary model, integers are equal on both sides but the floating-point steps between them are not, and where
one moves an activation over a rounding boundary, logits differ visibly from that token on. So each difference
beyond f32's own is traced: at the first token that differs, one activation that lies next to a boundary is given
its other code over there, and the comparison is repeated. Where that makes both sides equal again, and so on to the
end of the prompt, every difference is a code flip and nothing else is wrong.
"""

import json
import pathlib
import re
import sys
import warnings

import numpy as np
import torch
from b158 import ROOT, encode, log_softmax, logits
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.integrations.bitnet import AutoBitLinear
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.utils import logging

# Logits of full-precision models, and of ternary ones as long as all codes are the same.
DENSE, SAME_CODES = 2e-5, 1e-4
# Where codes differ: most probable tokens the same, and nats a prompt (or a 200 tokens of a longer one). Two
# references, in f32 and f64, differ by up to 0.5.
TOP, NATS = 0.97, 0.8
# How near to a boundary an activation must be, in codes, to be a candidate: f32 moves the largest by about 1e-4.
NEAR = 1e-3

# Lengths of the prompts, cut out of the text at as many places.
LENGTHS = [1, 2, 4, 8, 8, 16, 16, 16, 32, 32, 64, 128, 256]

warnings.filterwarnings("ignore")
logging.disable_progress_bar()
torch.set_grad_enabled(False)
torch.set_num_threads(1)


def ternary(linear):
    """A ternary layer of transformers with the same weights. Weights of three values are taken as they are: ternarized
    once more they would get another scale. Others are ternarized as it runs."""
    magnitudes = linear.weight[linear.weight != 0].abs()
    codes = bool((magnitudes == magnitudes[0]).all())
    layer = AutoBitLinear(linear.in_features, linear.out_features, bias=False, online_quant=not codes)
    layer.weight = linear.weight
    return layer


def load_1bitllm(folder, config):
    """LLaMA of transformers with its ternary layers; the norms before the output and the down projection, which it
    has no place for, are put in front of them as `AutoBitLinear`'s own optional norm."""
    keys = ("architectures", "quantization_config", "weight_bits", "input_bits", "torch_dtype", "dtype")
    config = {k: v for k, v in config.items() if k not in keys}
    model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager"))
    state = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= {k: w.float() for k, w in load_file(file).items()}
    norms = {}
    for name in list(state):
        if norm := re.fullmatch(r"(.*)\.(?:self_attn\.inner_attn_ln|mlp\.ffn_layernorm)\.weight", name):
            part = "self_attn.o_proj" if "inner_attn_ln" in name else "mlp.down_proj"
            norms[f"{norm[1]}.{part}"] = state.pop(name)
    if "lm_head.weight" not in state:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    for name, linear in list(model.model.named_modules(prefix="model")):
        if isinstance(linear, torch.nn.Linear):
            layer = ternary(linear)
            if name in norms:
                weight = norms.pop(name)
                layer.rms_norm = LlamaRMSNorm(weight.numel(), eps=model.config.rms_norm_eps)
                layer.rms_norm.weight = torch.nn.Parameter(weight)
            model.set_submodule(name, layer)
    assert not norms, f"{folder}: norms of no layer: {sorted(norms)}"
    return model


def load(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["architectures"][0] == "BitnetForCausalLM":
        return load_1bitllm(folder, config).eval(), "LlamaForCausalLM + sub-norms"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    # Some parts keep the stored type on loading; everything is to be computed in f32.
    return torch.nn.Module.float(model), type(model).__name__


class Peer:
    """A model of transformers, the inputs of its ternary layers, and a hand on them."""

    def __init__(self, folder):
        self.model, self.label = load(folder)
        self.inputs, self.pushes = {}, {}
        self.ternary = False
        for name, module in self.model.named_modules():
            # A ternary model that loads as a plain one would be compared as such.
            if isinstance(module, AutoBitLinear):
                assert module.online_quant, f"{folder}: {name} is packed; ci/interop/transformers compares those"
                self.ternary = True
                self.watch(name, module)

    def watch(self, name, module):
        """Before rounding, and after the norm inside the layer if there is one."""
        norm, module.rms_norm = module.rms_norm, None
        # Layers that are given the same values round them to the same codes.
        shared = re.sub(r"\.[qkv]_proj$", ".qkv", re.sub(r"\.(gate|up)_proj$", ".gate_up", name))
        key = name if norm is not None else shared

        def hook(_, arguments):
            x = arguments[0] if norm is None else norm(arguments[0])
            for token, feature, value in self.pushes.get(key, ()):
                if token < x.shape[1]:
                    x = x.clone()
                    x[0, token, feature] = value
            self.inputs[key] = x[0]
            return (x,)

        module.register_forward_pre_hook(hook)

    def logits(self, ids, pushes=()):
        """Logits [tokens, vocabulary]; `pushes`: (layer, token, feature, value) put in place of activations."""
        self.pushes = {}
        for key, *push in pushes:
            self.pushes.setdefault(key, []).append(push)
        return self.model(torch.tensor([ids])).logits[0].numpy()

    def candidates(self, last):
        """Activations next to a rounding boundary, nearest first, each as (distance in codes, push to the other
        side). Those of the token `last`, and of tokens before it, whose own logits a flip may have moved by less
        than is looked at, but whose keys and values later tokens see."""
        found = []
        for key, x in self.inputs.items():
            # In f32 and in these steps, as the layer itself does it: some lie on a boundary.
            scales = 127 / x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
            positions = x * scales
            codes = positions.round()
            distances = 0.5 - (positions - codes).abs()
            for token, feature in torch.nonzero(distances[: last + 1] < NEAR).tolist():
                code = codes[token, feature]
                side = 1.0 if positions[token, feature] > code else -1.0
                other = (code + side * (0.5 + NEAR)) / scales[token, 0]
                found.append((distances[token, feature].item(), (key, token, feature, other.item())))
        return sorted(found)


def off(ours, theirs):
    """The largest difference of each token's logits."""
    return np.abs(ours - theirs).max(axis=-1)


def trace(peer, ids, ours, theirs):
    """Gives activations their other code until both sides agree. Returns the distances from their boundaries of
    those that it took, and the largest difference of the logits that is left."""
    pushes, distances = [], []
    while True:
        differing = np.flatnonzero(off(ours, theirs) > SAME_CODES)
        if differing.size == 0 or len(distances) > 2 * len(ids):
            break
        token = int(differing[0])

        # Always the whole prompt: products of another shape add in another order, and other codes flip. Of one
        # token, up to three activations: each lets those behind it see new values.
        def flip(taken, depth):
            peer.logits(ids, pushes + [push for _, push in taken])
            tried = {push[:3] for push in pushes + [push for _, push in taken]}
            for candidate in peer.candidates(token)[:12]:
                if candidate[1][:3] in tried:
                    continue
                found = taken + [candidate]
                other = peer.logits(ids, pushes + [push for _, push in found])
                if off(ours, other)[token] <= SAME_CODES:
                    return found
                if depth > 1 and (further := flip(found, depth - 1)):
                    return further
            return None

        found = flip([], 1) or flip([], 2) or flip([], 3)
        if not found:
            break
        pushes += [push for _, push in found]
        distances += [distance for distance, _ in found]
        theirs = peer.logits(ids, pushes)
    return distances, float(off(ours, theirs).max())


def prompts(folder):
    """Token sequences of several lengths: lines of the embedded text, from as many places, and random ones."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    context, vocabulary = config["max_position_embeddings"], config["vocab_size"]
    pages = (ROOT / "tests/fixtures/wikitext.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for page in pages for line in json.loads(page)["page"].splitlines()]
    # Every line alone fits the context, even with two tokens a character.
    lines = [line for line in lines if 20 <= len(line) <= context // 2]
    assert lines, f"{folder}: a context of {context} tokens holds no line of the text"
    for i, length in enumerate(LENGTHS):
        ids, line = [], i * len(lines) // len(LENGTHS)
        while len(ids) < min(length, context):
            ids += encode(folder, lines[line % len(lines)])
            line += 1
        yield ids[: min(length, context)]
    random = np.random.default_rng(0)
    yield random.integers(0, vocabulary, min(24, context)).tolist()


def compare(folder):
    """A row of the table, and what did not hold."""
    peer = Peer(folder)
    same_codes = top = tokens = scored = flips = untraced = 0
    largest, equal, left, farthest, nats = 0.0, 0.0, 0.0, 0.0, 0.0
    worst_top, failures = 1.0, []
    sequences = list(prompts(folder))
    for ids in sequences:
        ours, theirs = logits(folder, ids), peer.logits(ids)
        assert ours.shape == theirs.shape, f"{folder}: logits {ours.shape} here, {theirs.shape} there"
        difference = float(off(ours, theirs).max())
        largest, tokens = max(largest, difference), tokens + len(ids)
        same_top = ours.argmax(axis=-1) == theirs.argmax(axis=-1)
        top += int(same_top.sum())
        if not peer.ternary:
            equal, same_codes = max(equal, difference), same_codes + 1
            continue
        if difference <= SAME_CODES:
            equal, same_codes = max(equal, difference), same_codes + 1
            continue
        places, following = np.arange(len(ids) - 1), ids[1:]
        change = (log_softmax(ours) - log_softmax(theirs))[places, following].sum()
        change = abs(float(change)) / max(1.0, len(ids) / 200)
        nats, scored = max(nats, change), scored + 1
        if change > NATS:
            failures.append(f"{len(ids)} tokens: log-likelihoods differ by {change:.3f} nat")
        distances, remaining = trace(peer, ids, ours, theirs)
        flips, left = flips + len(distances), max(left, remaining)
        farthest = max([farthest, *distances])
        untraced += remaining > SAME_CODES
    if not peer.ternary and equal > DENSE:
        failures.append(f"logits differ by {equal:.1e}, more than {DENSE:.0e}")
    if top < TOP * tokens:
        failures.append(f"the same top token for {top} of {tokens} only")
    if peer.ternary and untraced:
        failures.append(f"{untraced} prompts differ by more than code flips")
    row = [
        folder.name, peer.label, "ternary" if peer.ternary else "dense", str(len(sequences)), str(tokens),
        f"{same_codes} ({equal:.1e})", str(flips) if peer.ternary else "-",
        f"{farthest:.1e}" if flips else "-", f"{left:.1e}" if flips else "-", f"{largest:.1e}",
        f"{top / tokens:.4f}", f"{nats:.3f}" if scored else "-", "FAILED" if failures else "agrees",
    ]
    return row, [f"{folder.name}: {failure}" for failure in failures]


HEADER = [
    "folder", "class there", "linear layers", "prompts", "tokens", "equal prompts", "code flips", "farthest, codes",
    "then off", "largest off", "same top", "nats", "verdict",
]


def main():
    rows, failures = [], []
    for folder in map(pathlib.Path, sys.argv[1:]):
        row, failed = compare(folder)
        rows.append(row)
        failures += failed
    widths = [max(map(len, column)) for column in zip(HEADER, *rows)]
    for row in (HEADER, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
