"""The merge methods of mergekit 0.1.5, step by step.

Written from the papers, mergekit's documentation and experiments with it as a black box. Every function takes tensors that
are in the working dtype D already, and gives back a tensor in D. A torch operation on bf16 computes in f32 and rounds its
result to D once, a sum included; a Python number that it takes is a f32, not rounded to D.

Two things of mergekit depend on torch rather than on a formula, and can be switched to what another program would do:
ORDER_OF_EQUALS, which of equal magnitudes comes first, and SUMS, the order in which a whole tensor is summed in f32.
"""

import torch

F32, F64 = torch.float32, torch.float64

# "torch": argsort and topk as torch has them, which is by index for an argsort of at most 16 elements only; "index": lower first
ORDER_OF_EQUALS = "torch"
# "torch": in f32 in torch's order, and torch's sin and acos; "f64": each in f64, rounded to D
SUMS = "torch"


def whole(x: torch.Tensor, function, *args, **kwargs) -> torch.Tensor:
    """A reduction or a function of an angle, in the precision that SUMS says."""
    return function(x, *args, **kwargs) if SUMS == "torch" else function(x.to(F64), *args, **kwargs).to(x.dtype)


def fma(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """a·b + c of f32 tensors with one rounding: the product is exact in f64, the sum is rounded to odd before f32."""
    product, c = a.to(F64) * b.to(F64), c.to(F64)
    total = product + c
    t = total - product
    error = (product - (total - t)) + (c - t)
    bits = total.view(torch.int64)
    towards = torch.where((error > 0) == (total > 0), 1, -1)
    nudge = (error != 0) & (bits % 2 == 0) & (total != 0) & total.isfinite()
    return torch.where(nudge, bits + towards, bits).view(F64).to(F32)


def sum_of_models(parts: list[torch.Tensor]) -> torch.Tensor:
    """Sum over the models, in f32 from +0 in their order, rounded to D once. As torch does up to 4 models."""
    total = torch.zeros_like(parts[0], dtype=F32)
    for part in parts:
        total = total + part.float()
    return total.to(parts[0].dtype)


def sum_of_weights(ws: torch.Tensor) -> torch.Tensor:
    """Sum of up to 7 numbers in f32: four lanes, what is left over on the first, then the lanes in order."""
    lanes, full = [torch.zeros((), dtype=F32)] * 4, len(ws) // 4 * 4
    for i, w in enumerate(ws):
        lane = i % 4 if i < full else 0
        lanes[lane] = lanes[lane] + w.float()
    return (((lanes[0] + lanes[1]) + lanes[2]) + lanes[3]).to(ws.dtype)


def linear(xs: list[torch.Tensor], ws: list[float], normalize: bool = True) -> torch.Tensor:
    """Weighted mean: all in f32 with fused multiply-adds, one rounding to D at the end."""
    weights = torch.tensor(ws, dtype=F32)
    total = torch.zeros_like(xs[0], dtype=F32)
    for x, w in zip(xs, weights):
        total = fma(x.float(), w, total)
    if normalize:
        total = total / sum_of_weights(weights)  # without a threshold: a sum of 0 gives inf or nan
    return total.to(xs[0].dtype)


def first(keys: torch.Tensor, k: int, *, descending: bool) -> torch.Tensor:
    """Indices in order of the keys, the first k of them."""
    return keys.reshape(-1).argsort(descending=descending, stable=ORDER_OF_EQUALS == "index")[:k]


def masked(d: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """d with everything but some flat indices set to 0."""
    mask = torch.zeros(d.numel(), dtype=d.dtype)
    mask[indices] = 1
    return d * mask.reshape(d.shape)


def magnitude(d: torch.Tensor, density: float) -> torch.Tensor:
    """The trim of TIES: the largest magnitudes of the whole tensor, at least one."""
    k = max(1, int(density * d.numel())) if density > 0 else 0
    return masked(d, first(d.abs(), k, descending=True))


def breadcrumbs(d: torch.Tensor, density: float, gamma: float = 0.01) -> torch.Tensor:
    """Without the largest and the smallest magnitudes of the whole tensor; nothing is kept where int(density·n) is 0."""
    n = d.numel()
    kept, top = int(density * n), int(gamma * n)
    bottom = n - kept - top
    if bottom < 0:
        top, bottom = top + bottom, 0
    return masked(d, first(d.abs(), n - top, descending=False)[bottom:])


def dare(d: torch.Tensor, density: float) -> torch.Tensor:
    """Each element is kept with the probability density, rounded to D."""
    return d * torch.bernoulli(torch.full(d.shape, density, dtype=d.dtype))


def della(d: torch.Tensor, density: float, epsilon: float = 0.15) -> torch.Tensor:
    """Each element is kept with a probability that grows with the rank of its magnitude along dimension 1.

    A tensor of one dimension is one row. A row of one element is 0/0, where mergekit fails; so is a tensor without dimensions.
    """
    if not 0 < density - epsilon <= density + epsilon < 1:
        raise ValueError("density ± epsilon must be inside (0, 1)")
    rows = d.reshape(1, -1) if d.dim() < 2 else d
    rank = rows.abs().argsort(dim=1).argsort(dim=1)
    p = density - epsilon + 2 * epsilon * rank / (rows.shape[1] - 1)
    return d * torch.bernoulli(p.to(d.dtype)).reshape(d.shape)


def rescaled(d: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What is kept, scaled so that its magnitudes sum to what those of d do. This is also the rescaling of DARE and DELLA."""
    before, after = whole(d.abs(), torch.sum), whole(kept.abs(), torch.sum)
    return kept if after < 1e-7 else kept * (before / after)


def task_vectors(base, xs, ws, trim=None, consensus=False, normalize=False, lambda_=1.0, rescale=False, **settings):
    """task_arithmetic, ties, dare_*, della*, breadcrumbs*: `settings` has a list, one value a model, for each setting of trim."""
    D = base.dtype
    ds = []
    for i, x in enumerate(xs):
        d = x - base
        if trim is not None and settings["density"][i] < 1:
            kept = trim(d, **{name: values[i] for name, values in settings.items()})
            d = rescaled(d, kept) if rescale else kept
        ds.append(d)
    weights = torch.tensor(ws, dtype=D)
    weighted = [d * w for d, w in zip(ds, weights)]
    if consensus:
        sign = torch.where(sum_of_models(weighted) >= 0, 1, -1)  # 0 counts as positive
        agree = [(part.sign() == sign).to(D) for part in weighted]  # a part of 0 agrees with nothing
        total = sum_of_models([part * a for part, a in zip(weighted, agree)])
        divisor = sum_of_models([w * a for w, a in zip(weights, agree)])
        divisor = torch.where(divisor == 0, 1, divisor)
    else:
        total = sum_of_models(weighted)
        divisor = sum_of_weights(weights)
        divisor = torch.where(divisor.float().abs() < 1e-8, 1, divisor)
    if normalize:
        total = total / divisor
    if lambda_ != 1:
        total = total * lambda_
    return base + total


def slerp(base: torch.Tensor, other: torch.Tensor, t: float) -> torch.Tensor:
    """The whole tensor is one vector; all in f32, one rounding to D at the end."""
    a, b, t = base.float(), other.float(), torch.tensor(t, dtype=F32)
    na, nb = whole(a, torch.norm), whole(b, torch.norm)
    cosine = whole((a / na if na > 1e-8 else a) * (b / nb if nb > 1e-8 else b), torch.sum)
    if cosine.abs() > 0.9995:
        return ((1 - t) * a + t * b).to(base.dtype)
    angle = whole(cosine, torch.acos)
    sine = whole(angle, torch.sin)
    sa, sb = whole((1 - t) * angle, torch.sin) / sine, whole(t * angle, torch.sin) / sine
    return (sa * a + sb * b).to(base.dtype)


def nuslerp(a, b, wa, wb, base=None, flatten=True, row_wise=False):
    """Every operation rounds to D. Vectors: the whole tensor, else along dimension 0 (row_wise) or along the last."""
    t = 0.5 if abs(wa + wb) < 1e-6 else wb / (wa + wb)
    shape = a.shape
    if base is not None:
        a, b = a - base, b - base
    if flatten or a.dim() < 2:
        a, b, row_wise = a.reshape(-1), b.reshape(-1), True
    dim = {"dim": 0 if row_wise else -1, "keepdim": True}
    na, nb = (whole(x, torch.norm, **dim).clamp_min(1e-7) for x in (a, b))
    cosine = whole(a / na * (b / nb), torch.sum, **dim).clamp(-1, 1)
    angle = whole(cosine, torch.acos)
    sa, sb = whole((1 - t) * angle, torch.sin), whole(t * angle, torch.sin)
    out = (sa * a + sb * b) / whole(angle, torch.sin)
    out = torch.where(cosine.abs() >= 1, (1 - t) * a + t * b, out).reshape(shape)
    return out if base is None else base + out


def model_stock(base: torch.Tensor, xs: list[torch.Tensor], filter_wise: bool = False) -> torch.Tensor:
    """Every operation rounds to D. t is not clamped: it is negative where the vectors point away from each other."""
    n, by_row = len(xs), filter_wise and base.dim() > 1
    ds = [x - base if by_row else (x - base).reshape(-1) for x in xs]
    dim = {"dim": -1, "keepdim": True}
    cosines = []
    for i, p in enumerate(ds):
        for q in ds[i + 1 :]:
            norms = whole(p, torch.norm, **dim) * whole(q, torch.norm, **dim)
            cosines.append((whole(p * q, torch.sum, **dim) / norms.clamp_min(1e-6)).clamp(-1, 1))
    cosine = torch.stack(cosines).mean(0)
    divisor = 1 + (n - 1) * cosine
    t = torch.where(divisor.float().abs() < 1e-6, 0, n * cosine / divisor)
    t = t if by_row else t.reshape(())
    total = torch.zeros_like(base)
    for x in xs:
        total = total + x
    return t * (total / n) + (1 - t) * base


def sce(base: torch.Tensor, xs: list[torch.Tensor], select_topk: float = 1.0) -> torch.Tensor:
    """Every operation rounds to D."""
    D, n = base.dtype, len(xs)
    ds = [x - base for x in xs]
    if select_topk < 1:
        variance = whole(torch.stack(ds), torch.var, dim=0, unbiased=False).reshape(-1)
        k = int(torch.tensor(select_topk, dtype=F32) * torch.count_nonzero(variance))  # in f32, of those that differ at all
        if ORDER_OF_EQUALS == "torch":
            chosen = variance.topk(k).indices
        else:
            chosen = first(variance, k, descending=True)
        ds = [masked(d, chosen) for d in ds]
    squares = torch.stack([whole(d**2, torch.mean) for d in ds])
    total = squares.sum()
    weights = torch.full_like(squares, 1 / n) if total < 1e-6 else squares / total
    sign = torch.where(sum_of_models(ds) >= 0, 1, -1)  # of the vectors before their weights
    agree = [(d.sign() == sign).to(D) for d in ds]
    ws = [w * a for w, a in zip(weights, agree)]
    return base + sum_of_models([d * w for d, w in zip(ds, ws)]) / sum_of_models(ws).clamp_min(1e-6)
