"""The model that the trainer trains, and how each scheme rounds its weights and activations, in PyTorch.

Written from the papers' formulas, in the plainest form: every product is one of floating-point numbers, and
rounding is a value forward and a slope backward (the straight-through estimator):

    forward   x~ = value(x)
    backward  dL/dx = slope * dL/dx~        slope: 1, or a 0/1 mask where the scheme has one

All scales are constants for the gradient. Arithmetic is in the type of the parameters, f32 or f64.
"""

import dataclasses

import torch
from torch.nn.functional import cross_entropy, linear, silu

SMALLEST = 1e-5  # Below this neither an absolute maximum nor a mean is divided by.


@dataclasses.dataclass(frozen=True)
class Case:
    """One golden file: a scheme, a layout of the model and the seed of its random numbers."""

    scheme: str  # fp16, absmean, absmedian, bitnet, bnn
    layout: str  # llama, 1bitllm, 2b4t
    seed: int
    groups: int = 1
    kv_heads: int = 4
    tied: bool = True
    note: str = ""  # The file's name beyond scheme and layout.

    hidden: int = 16
    intermediate: int = 20
    layers: int = 2
    heads: int = 4
    vocab: int = 18
    sequences: int = 2
    tokens: int = 12

    eps: float = 1e-5
    theta: float = 10000.0

    @property
    def name(self):
        scheme = self.scheme if self.groups == 1 else f"{self.scheme}-groups{self.groups}"
        return f"{scheme}-{self.layout}" + (f"-{self.note}" if self.note else "")

    @property
    def sub_norms(self):
        """Names of the norms before the output and the down projection."""
        return {
            "llama": None,
            "1bitllm": ("self_attn.inner_attn_ln", "mlp.ffn_layernorm"),
            "2b4t": ("self_attn.attn_sub_norm", "mlp.ffn_sub_norm"),
        }[self.layout]

    def shapes(self):
        """Parameters in the order of the file: name, shape."""
        narrow = self.hidden // self.heads * self.kv_heads
        yield "model.embed_tokens.weight", (self.vocab, self.hidden)
        for layer in range(self.layers):
            p = f"model.layers.{layer}."
            yield p + "input_layernorm.weight", (self.hidden,)
            yield p + "self_attn.q_proj.weight", (self.hidden, self.hidden)
            yield p + "self_attn.k_proj.weight", (narrow, self.hidden)
            yield p + "self_attn.v_proj.weight", (narrow, self.hidden)
            if self.sub_norms:
                yield p + self.sub_norms[0] + ".weight", (self.hidden,)
            yield p + "self_attn.o_proj.weight", (self.hidden, self.hidden)
            yield p + "post_attention_layernorm.weight", (self.hidden,)
            yield p + "mlp.gate_proj.weight", (self.intermediate, self.hidden)
            yield p + "mlp.up_proj.weight", (self.intermediate, self.hidden)
            if self.sub_norms:
                yield p + self.sub_norms[1] + ".weight", (self.intermediate,)
            yield p + "mlp.down_proj.weight", (self.hidden, self.intermediate)
        yield "model.norm.weight", (self.hidden,)
        if not self.tied:
            yield "lm_head.weight", (self.vocab, self.hidden)


@dataclasses.dataclass
class Rounded:
    """A tensor after rounding.

    `position` is where each value lies among the places at which its code changes, and `margin` how far it is
    from the nearest of them, both relative to the value's own size plus the mean size of those it was scaled
    with, which is what the error of an f32 computation grows with. None where no computation precedes the
    decision.
    """

    value: torch.Tensor
    slope: torch.Tensor | float
    code: torch.Tensor
    position: torch.Tensor | None = None
    margin: torch.Tensor | None = None


def decided(y, distance):
    """Position and margin of values `y` that are `distance` away from another code, in units of `y`."""
    size = y.abs() + y.abs().mean(-1, keepdim=True)
    return y / size, distance / size


def ternary(w, mean):
    """b1.58 (2402.17764): RoundClip(W / mean, -1, 1), halves to even; `mean` of |W| over the whole tensor, or the
    median in its place (2407.09527)."""
    scale = 1.0 / mean.clamp(min=SMALLEST)
    y = w * scale
    code = y.round().clamp(-1, 1)
    # Beyond one and a half nothing changes: the code is clamped.
    return Rounded(code / scale, 1.0, code, *decided(y, (y.abs() - 0.5).abs()))


def binary(w, groups):
    """BitNet (2310.11453): Sign(W - alpha) * beta, Sign(0) = -1, alpha = mean of W and beta = mean of |W| over each
    of `groups` equal groups of output rows."""
    rows = w.reshape(groups, -1)
    alpha, beta = rows.mean(-1, keepdim=True), rows.abs().mean(-1, keepdim=True)
    code = torch.where(rows > alpha, 1.0, -1.0).to(w.dtype)
    position, margin = decided(rows - alpha, (rows - alpha).abs())
    position, margin = position.reshape(w.shape), margin.reshape(w.shape)
    return Rounded((code * beta).reshape(w.shape), 1.0, code.reshape(w.shape), position, margin)


def int8(x, groups):
    """Absolute maximum a token, 8 bits: round(x * 127 / max|x|), halves to even, over each of `groups` equal groups
    of features."""
    parts = x.reshape(*x.shape[:-1], groups, -1)
    scale = 127.0 / parts.abs().amax(-1, keepdim=True).clamp(min=SMALLEST)
    y = parts * scale
    code = y.round().clamp(-128, 127)
    position, margin = decided(y, 0.5 - (y - y.round()).abs())
    return Rounded(*(t.reshape(x.shape) if torch.is_tensor(t) else t
                     for t in (code / scale, 1.0, code, position, margin)))


def sign(x, scaled_by, computed):
    """Binarized networks (1602.02830): Sign(x) times a constant, Sign(0) = +1; the slope is that of the hard tanh,
    1 where |x| <= 1 and else 0, without the constant."""
    # True of zeros of both signs.
    code = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
    slope = (x.abs() <= 1).to(x.dtype)
    # Both the sign and the slope are decisions. Zeros are exact ones: see `product`.
    distance = torch.minimum(x.abs(), (x.abs() - 1).abs()).where(x != 0, 1.0)
    position, margin = decided(x, distance) if computed else (None, None)
    return Rounded(code * scaled_by, slope, code + 4 * slope, position, margin)


def round_weights(case, w):
    """`w`: [out, in]."""
    match case.scheme:
        case "absmean":
            return ternary(w, w.abs().mean())
        case "absmedian":
            # Of an even number of values, torch's median is the lower of the two in the middle.
            return ternary(w, w.abs().flatten().median())
        case "bitnet":
            return binary(w, case.groups)
        case "bnn":
            return sign(w, w.abs().mean(), computed=False)


def round_activations(case, x):
    """`x`: [sequences, tokens, features]."""
    if case.scheme == "bnn":
        return sign(x, x.abs().mean(-1, keepdim=True), computed=True)
    return int8(x, case.groups)


class Trace:
    """Every rounding of one forward pass, in order.

    A pass that is given the trace of another one repeats that one's roundings as straight lines: slope * x + the
    other pass's offset. It is then a smooth function, whose derivative at the same point is what the
    straight-through estimator is defined to return.
    """

    def __init__(self, frozen=None):
        self.rounded, self.lines = [], []
        self.frozen = iter(frozen.lines) if frozen else None

    def round(self, how, case, x):
        if case.scheme == "fp16":
            return x
        if self.frozen is not None:
            slope, offset = next(self.frozen)
            return slope * x + offset
        with torch.no_grad():
            rounded = how(case, x)
            offset = rounded.value - rounded.slope * x
        self.rounded.append(rounded)
        self.lines.append((rounded.slope, offset))
        return rounded.slope * x + offset

    def codes(self):
        return [r.code.to(torch.int8) for r in self.rounded]

    def margin(self, activations):
        """The smallest margin of all weights, [out, in], or of all activations, [sequences, tokens, features]."""
        margins = [r.margin.min().item() for r in self.rounded
                   if r.margin is not None and (r.value.dim() == 3) == activations]
        return min(margins, default=float("inf"))

    def displacement(self, other, activations):
        """The largest difference of positions between two passes."""
        return max((float((a.position.double() - b.position.double()).abs().max())
                    for a, b in zip(self.rounded, other.rounded)
                    if a.position is not None and (a.value.dim() == 3) == activations), default=0.0)


def product(case, x, w, trace):
    """`x`: [sequences, tokens, in], rounded; `w`: [out, in], rounded.

    In a binarized network every term is plus or minus the same number, so a fifth of the sums of 16 terms are zero.
    What follows in the gated unit is then zero too, and has a sign. Adding floating-point terms would leave
    rounding errors of either sign there, so the codes are counted, which is exact, and the gradient is that of the
    ordinary product.
    """
    y = linear(x, w)
    if case.scheme != "bnn" or trace.frozen is not None:
        return y
    with torch.no_grad():
        counted = linear(x.sign(), w.sign()) * (x.abs().amax(-1, keepdim=True) * w.abs().amax()) - y
    return y + counted


def rms_norm(x, weight, eps):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def rotate(x, case):
    """Rotary positions, the halves of a head's features being the pairs. `x`: [sequences, heads, tokens,
    features]."""
    half = x.shape[-1] // 2
    frequencies = case.theta ** (-torch.arange(half, dtype=x.dtype) / half)
    angles = torch.outer(torch.arange(x.shape[-2], dtype=x.dtype), frequencies)
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def attention(q, k, v, case):
    """`q`, `k`, `v`: [sequences, tokens, features] before rotation."""
    batch, tokens, _ = q.shape

    def heads(x, count):
        return x.view(batch, tokens, count, -1).transpose(1, 2)

    q, k, v = heads(q, case.heads), heads(k, case.kv_heads), heads(v, case.kv_heads)
    q, k = rotate(q, case), rotate(k, case)
    # Neighbouring query heads share a head of keys and values.
    k, v = (x.repeat_interleave(case.heads // case.kv_heads, 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5)
    hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    out = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
    return out.transpose(1, 2).reshape(batch, tokens, -1)


def loss(case, weights, ids, trace):
    """Mean cross entropy of the next token over all places. `ids`: [sequences, tokens + 1]."""

    def project(name, x):
        return product(case, x, trace.round(round_weights, case, weights[name + ".weight"]), trace)

    def norm(name, x):
        return rms_norm(x, weights[name + ".weight"], case.eps)

    x = weights["model.embed_tokens.weight"][ids[:, :-1]]
    for layer in range(case.layers):
        p = f"model.layers.{layer}."
        h = trace.round(round_activations, case, norm(p + "input_layernorm", x))
        h = attention(*(project(p + f"self_attn.{n}_proj", h) for n in "qkv"), case)
        h = norm(p + case.sub_norms[0], h) if case.sub_norms else h
        x = x + project(p + "self_attn.o_proj", trace.round(round_activations, case, h))

        h = trace.round(round_activations, case, norm(p + "post_attention_layernorm", x))
        gate, up = project(p + "mlp.gate_proj", h), project(p + "mlp.up_proj", h)
        h = (gate.relu().square() if case.layout == "2b4t" else silu(gate)) * up
        h = norm(p + case.sub_norms[1], h) if case.sub_norms else h
        x = x + project(p + "mlp.down_proj", trace.round(round_activations, case, h))
    head = weights["model.embed_tokens.weight" if case.tied else "lm_head.weight"]
    logits = linear(norm("model.norm", x), head)
    return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def step(case, weights, ids, dtype):
    """Loss, gradients and roundings of one step; `weights` f32, arithmetic in `dtype`."""
    parameters = {name: w.detach().clone().to(dtype).requires_grad_() for name, w in weights.items()}
    trace = Trace()
    value = loss(case, parameters, ids, trace)
    value.backward()
    return value.detach(), {name: p.grad for name, p in parameters.items()}, trace
