"""Five steps of AdamW with clipped gradients.

`adamw.safetensors` holds, for a parameter `decayed` (weight decay 0.1) and a parameter `plain` (none):

    p.<parameter>.0              before the first step
    g.<parameter>.1 ... 5        gradients, before clipping
    p.<parameter>.1 ... 5        after each step
    lr                           f64 [5]
    norm                         f64 [5]: of both gradients together, before clipping

Betas 0.9 and 0.95, eps 1e-8, decoupled weight decay; gradients are multiplied by min(1, 1 / (norm + 1e-6)). Inputs
are f32, computed in f64. The gradients of the first and the fourth step are short enough not to be clipped; one
entry is always zero and one is so small that eps decides its steps.
"""

import numpy as np
import torch

BETAS, EPS, DECAY, LIMIT = (0.9, 0.95), 1e-8, 0.1, 1.0
RATES = [0.01, 0.02, 0.015, 0.01, 0.005]
LENGTHS = [0.1, 1.0, 3.0, 0.2, 0.7]  # Deviation of the gradients in each step.
SHAPES = {"decayed": (3, 5), "plain": (7,)}


def inputs():
    random = np.random.default_rng(0)
    start = {k: random.standard_normal(s).astype(np.float32) for k, s in SHAPES.items()}
    gradients = []
    for length in LENGTHS:
        step = {k: (length * random.standard_normal(s)).astype(np.float32) for k, s in SHAPES.items()}
        step["decayed"][0, 0] = 0.0
        step["plain"][0] *= 1e-8
        gradients.append(step)
    return start, gradients


def by_torch(start, gradients, dtype):
    parameters = {k: torch.from_numpy(p).to(dtype).clone().requires_grad_() for k, p in start.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [parameters["decayed"]], "weight_decay": DECAY},
         {"params": [parameters["plain"]], "weight_decay": 0.0}],
        lr=0.0, betas=BETAS, eps=EPS,
    )
    for rate, step in zip(RATES, gradients):
        for name, p in parameters.items():
            p.grad = torch.from_numpy(step[name]).to(dtype).clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), LIMIT)
        optimizer.step()
        yield {k: p.detach().clone() for k, p in parameters.items()}, norm.item()


def by_hand(start, gradients):
    """The update as the AdamW paper states it, in f64."""
    p = {k: v.astype(np.float64) for k, v in start.items()}
    first, second = ({k: np.zeros(s) for k, s in SHAPES.items()} for _ in range(2))
    for t, (rate, step) in enumerate(zip(RATES, gradients), start=1):
        step = {k: g.astype(np.float64) for k, g in step.items()}
        norm = np.sqrt(sum((g**2).sum() for g in step.values()))
        for name, g in step.items():
            g = g * min(1.0, LIMIT / (norm + 1e-6))
            first[name] = BETAS[0] * first[name] + (1 - BETAS[0]) * g
            second[name] = BETAS[1] * second[name] + (1 - BETAS[1]) * g**2
            m, v = first[name] / (1 - BETAS[0] ** t), second[name] / (1 - BETAS[1] ** t)
            decay = DECAY if name == "decayed" else 0.0
            p[name] = p[name] - rate * decay * p[name] - rate * m / (np.sqrt(v) + EPS)
        yield {k: v.copy() for k, v in p.items()}


def golden():
    """Tensors of the file, and how far f32 and a second implementation are from it, in words."""
    start, gradients = inputs()
    tensors = {f"p.{k}.0": torch.from_numpy(v) for k, v in start.items()}
    norms, rough_off, hand_off = [], 0.0, 0.0
    steps = zip(gradients, by_torch(start, gradients, torch.float64), by_torch(start, gradients, torch.float32),
                by_hand(start, gradients))
    for t, (gradient, (after, norm), (rough, _), hand) in enumerate(steps, start=1):
        norms.append(norm)
        for name, p in after.items():
            tensors[f"g.{name}.{t}"] = torch.from_numpy(gradient[name])
            tensors[f"p.{name}.{t}"] = p.float()
            rough_off = max(rough_off, float((rough[name].double() - p).abs().max()))
            hand_off = max(hand_off, float(np.abs(hand[name] - p.numpy()).max()))
    assert hand_off < 1e-14, f"torch.optim.AdamW is {hand_off} off the paper's formula"
    assert min(norms) < LIMIT < max(norms)
    tensors["lr"] = torch.tensor(RATES, dtype=torch.float64)
    tensors["norm"] = torch.tensor(norms, dtype=torch.float64)
    return tensors, f"f32 within {rough_off:.1e} of f64, the paper's formula within {hand_off:.1e}"
