"""Gates of a mixture of experts."""
import itertools
import math
from unittest import mock

import numpy as np
import torch

from .frame import attempt, f32, is_error, table


def sparse(combine):
    return [[int(s), int(e), int(c), float(str(np.float32(combine[s, e, c])))]
            for s, e, c in combine.nonzero().tolist()]


def gate_answer(result):
    l_aux, combine, mask, counts = result
    assert mask.nonzero().tolist() == combine.nonzero().tolist()
    return {"capacity": combine.shape[2], "l_aux": f32(l_aux)[0], "exp_counts": counts.tolist(),
            "combine": sparse(combine)}


def top1_keeps_first(logits, answer, used=None):
    """Whether the tokens kept by each expert are the first ones in token order."""
    choice = torch.softmax(logits, 1).argmax(1).tolist()
    if used is not None:
        choice = [c if u else -1 for c, u in zip(choice, used.tolist())]
    kept = {}
    for s, e, _, _ in answer["combine"]:
        kept.setdefault(e, set()).add(s)
    return all(kept.get(e, set()) == set([s for s, c in enumerate(choice) if c == e][:answer["capacity"]])
               for e in set(choice) - {-1})


def given_noise(moe, name, values):
    """Replaces a random source of the gate by given numbers."""
    return mock.patch.dict(getattr(moe, name), {torch.device("cpu"): lambda shape: values}, clear=True)


def gating_options(ctx):
    return list(itertools.product(ctx.pick((1.0, 0.5, 1.25), (1.0, 0.75)), ctx.pick((0, 4), (1, 3)), (True, False)))


def cases_top1(moe, ctx, label, logits):
    S, E = logits.shape
    for cf, low, drop in gating_options(ctx):
        base = {"logits": label, "k": 1, "capacity_factor": cf, "min_capacity": low, "drop_tokens": drop}
        got = attempt(lambda: gate_answer(moe.top1gating(logits.clone(), cf, low, drop_tokens=drop, use_rts=False)))
        if not is_error(got):
            got["keeps_first"] = top1_keeps_first(logits, got)
        yield {"id": f"top1-{label}-{cf}-{low}-{drop:d}", **base, "use_rts": False, **got}
        if drop:
            pri = torch.tensor(np.round(ctx.np.random((S, E)), 4), dtype=torch.float32)
            with given_noise(moe, "exp_selection_uniform_map", pri):
                got = attempt(lambda: gate_answer(moe.top1gating(logits.clone(), cf, low, use_rts=True)))
            yield {"id": f"top1-rts-{label}-{cf}-{low}", **base, "use_rts": True, "uniform": pri, **got}
    used = torch.tensor([int(ctx.rng.random() < 0.7) for _ in range(S)])
    got = attempt(lambda: gate_answer(moe.top1gating(logits.clone(), 1.0, 2, used_token=used, use_rts=False)))
    if not is_error(got):
        got["keeps_first"] = top1_keeps_first(logits, got, used)
        yield {"id": f"top1-used-{label}", "logits": label, "k": 1, "capacity_factor": 1.0, "min_capacity": 2,
               "drop_tokens": True, "use_rts": False, "used_token": used.tolist(), **got}


def cases_top2(moe, ctx, label, logits):
    for cf, low, drop in gating_options(ctx):
        base = {"logits": label, "k": 2, "capacity_factor": cf, "min_capacity": low, "drop_tokens": drop}
        yield {"id": f"top2-{label}-{cf}-{low}-{drop:d}", **base, "second_sampling": False, **attempt(
            lambda: gate_answer(moe.top2gating(logits.clone(), cf, low, drop_tokens=drop,
                                               top2_2nd_expert_sampling=False)))}
    noise = torch.tensor(np.round(ctx.np.gumbel(size=tuple(logits.shape)), 4), dtype=torch.float32)
    with given_noise(moe, "gumbel_map", noise):
        yield {"id": f"top2-noise-{label}", "logits": label, "k": 2, "capacity_factor": 1.0, "min_capacity": 2,
               "drop_tokens": True, "second_sampling": True, "gumbel": noise, **attempt(
                   lambda: gate_answer(moe.top2gating(logits.clone(), 1.0, 2)))}


def cases_topk(moe, ctx, label, logits):
    for k in (1, 2, 3, 4, 6):
        for (cf, low, drop), policy in itertools.product(gating_options(ctx), ("probs", "position")):
            if k > logits.shape[1] and (cf, low, drop) != gating_options(ctx)[0]:
                continue
            if not drop and policy == "position":
                continue
            yield {"id": f"topk-{k}-{label}-{cf}-{low}-{drop:d}-{policy}", "logits": label, "k": k, "function": "topk",
                   "capacity_factor": cf, "min_capacity": low, "drop_tokens": drop, "drop_policy": policy,
                   **attempt(lambda: gate_answer(moe.topkgating(logits.clone(), k, cf, low, drop_tokens=drop,
                                                                drop_policy=policy)))}


def cases_capacity(moe, ctx):
    grid = itertools.product(ctx.pick((1, 7, 10, 30, 64, 100, 1000), (3, 12, 50, 77, 640)), (1, 3, 4, 8, 60),
                             ctx.pick((1.0, 1.1, 1.2, 1.25, 0.7, 2.4), (1.0, 1.3, 0.9, 3.3)), (0, 4, 8))
    for s, e, cf, low in grid:
        c = moe._capacity(torch.zeros(s, e), torch.tensor(cf), torch.tensor(low))
        case = {"id": f"capacity-{s}-{e}-{cf}-{low}", "function": "capacity", "tokens": s, "experts": e,
                "capacity_factor": cf, "min_capacity": low, "capacity": int(c)}
        in_double = max(math.ceil(s / e * cf), low)
        yield {**case, **({"in_double": in_double} if in_double != int(c) else {})}


@table("moe_gating", "current")
def moe_gating(ctx):
    from deepspeed.moe import sharded_moe as moe
    for s, e in ctx.pick([(8, 4), (16, 4), (12, 6), (64, 8)], [(10, 4), (20, 5), (9, 3), (48, 8)]):
        label = f"{s}x{e}"
        logits = ctx.normal(s, e, scale=1.5)
        yield {"id": f"logits-{label}", "logits": label, "values": logits}
        yield from cases_top1(moe, ctx, label, logits)
        yield from cases_top2(moe, ctx, label, logits)
        yield from cases_topk(moe, ctx, label, logits)
    yield from cases_capacity(moe, ctx)
