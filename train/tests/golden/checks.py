"""The same numbers obtained in other ways: finite differences, and the classes of transformers."""

import os

# transformers' quantizers are compiled where that is possible; compiled code may round elsewhere.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from reference import Case, Trace, int8, loss, ternary

try:
    import transformers
    from transformers.integrations.bitnet import ActQuant, WeightQuant, replace_with_bitnet_linear
except ImportError:
    transformers = None


def transformers_version():
    return f"transformers {transformers.__version__}" if transformers else "no transformers: not compared with it"


@torch.no_grad()
def finite_differences(case, weights, ids, gradients, trace):
    """The largest difference between autograd's derivatives and central differences of the loss with its roundings
    held fixed (see `Trace`), for three entries of every parameter, relative to the parameter's largest derivative.

    Steps of 1e-5 leave errors of about 1e-10 from the third derivative and 1e-11 from rounding, 1e-16 / 1e-5; and
    1e-6 at most where one passes the bend of a squared ReLU's slope."""
    weights = {name: w.double() for name, w in weights.items()}
    random = torch.Generator().manual_seed(1)
    worst = 0.0
    for name, w in weights.items():
        gradient = gradients[name].flatten()
        for i in torch.randint(w.numel(), (3,), generator=random).tolist():
            sides = []
            for by in (1e-5, -1e-5):
                moved = w.clone()
                moved.view(-1)[i] += by
                sides.append(loss(case, weights | {name: moved}, ids, Trace(frozen=trace)).item())
            slope = (sides[0] - sides[1]) / 2e-5
            worst = max(worst, abs(slope - gradient[i].item()) / gradient.abs().max().item())
    assert worst < 1e-6, f"{case.name}: autograd and finite differences differ by {worst}"
    return worst


def transformers_step(case, weights, ids, expected, gradients):
    """Loss and gradients in f32 of the model class in transformers that has the case's layout and scheme, as the
    largest relative differences; the norms there are in f32 whatever the model's type."""
    if transformers is None or case.layout == "1bitllm" or case.scheme not in ("fp16", "absmean"):
        return "-"
    common = {
        "hidden_size": case.hidden, "intermediate_size": case.intermediate, "num_hidden_layers": case.layers,
        "num_attention_heads": case.heads, "num_key_value_heads": case.kv_heads, "vocab_size": case.vocab,
        "rms_norm_eps": case.eps, "tie_word_embeddings": case.tied, "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": case.theta}, "attn_implementation": "eager",
    }
    if case.layout == "2b4t":
        model = transformers.BitNetForCausalLM(transformers.BitNetConfig(hidden_act="relu2", **common))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(hidden_act="silu", **common))
    if case.scheme == "absmean":
        online = transformers.BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="online")
        model = replace_with_bitnet_linear(model, ["lm_head"], online)
    state = dict(weights) if not case.tied else weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}
    model.load_state_dict({name: w.clone() for name, w in state.items()}, assign=True)
    model.tie_weights()
    logits = model.train()(ids[:, :-1]).logits
    value = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    value.backward()
    off = abs(value.item() / expected.item() - 1)
    named = dict(model.named_parameters())
    worst = max(float((named[k].grad - g).abs().max() / g.abs().max()) for k, g in gradients.items())
    # Two f32 computations of the same step.
    assert off < 1e-6 and worst < 1e-5, f"{case.name}: transformers' loss is {off} off, its gradients {worst}"
    return f"{type(model).__name__} {off:.1e} {worst:.1e}"


def quantizers():
    """absmean weights and int8 activations against transformers' own functions: equal to the bit."""
    if transformers is None:
        return "quantizers: not compared"
    random = torch.Generator().manual_seed(2)
    count = 0
    for rows, width in [(16, 16), (20, 16), (16, 20), (64, 96), (7, 5)]:
        for deviation in (1e-7, 0.02, 3.0):
            w, x = (deviation * torch.randn(rows, width, generator=random) for _ in range(2))
            x[0] = 0
            assert torch.equal(ternary(w, w.abs().mean()).value, WeightQuant.apply(w))
            assert torch.equal(int8(x, 1).value, ActQuant.apply(x))
            count += 2
    return f"quantizers: {count} tensors with the same bits as transformers' WeightQuant and ActQuant"
