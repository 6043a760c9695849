"""Muon: the orthogonal update, and its optimizer."""
import itertools
from unittest import mock

import torch

from .frame import attempt, is_error, max_abs_diff, plain, table
from .optimizers import OPT_SHOW, OPT_STEPS


def ns_runs_in(dtype):
    """Runs the Newton-Schulz iteration in `dtype` (None: what the method asks for on this CPU)."""
    from deepspeed.runtime.zero.muon import original_muon
    if dtype is None:
        return mock.patch.object(original_muon, "NS_METHODS", original_muon.NS_METHODS)
    return mock.patch.object(original_muon, "ns_compute_dtype", lambda method="gram": dtype)


def muon_once(shape, ctx, method, nesterov, dtype, **options):
    from deepspeed.runtime.zero.muon import original_muon
    grad, mom = ctx.normal(*shape), ctx.normal(*shape, scale=0.5)
    case = {"shape": shape, "ns_method": method, "nesterov": nesterov, "beta": 0.95, "ns_steps": 5, **options,
            "grad": grad.clone(), "momentum": mom.clone()}
    with ns_runs_in(dtype):
        case["ns_dtype"] = original_muon.ns_compute_dtype(method)
        update = attempt(original_muon.muon_update, grad, mom, beta=0.95, nesterov=nesterov, ns_method=method,
                         **options)
    case.update(update if is_error(update) else {"update": update, "momentum_after": mom})
    return case


def cases_muon_update(ctx):
    shapes = ctx.pick([(4, 4), (6, 3), (3, 6), (8, 16), (16, 8), (5, 12), (1, 7), (7, 1), (2, 3, 4, 2)],
                      [(5, 5), (9, 4), (4, 10), (6, 18), (12, 5), (3, 2, 2, 2)])
    for shape, method, nesterov in itertools.product(shapes, ("standard", "gram"), (True, False)):
        for dtype in (torch.float32, torch.bfloat16 if method == "standard" else torch.float16):
            yield {"id": f"muon-{method}-{nesterov:d}-{plain(dtype)}-{'x'.join(map(str, shape))}",
                   "kind": "update", **muon_once(shape, ctx, method, nesterov, dtype)}
    for method in ("standard", "gram"):
        for heads in (1, 2, 4, 3):
            yield {"id": f"muon-heads{heads}-{method}", "kind": "update",
                   **muon_once((8, 6), ctx, method, True, torch.float32, num_heads=heads)}
        yield {"id": f"muon-experts-{method}", "kind": "update",
               **muon_once((3, 6, 4), ctx, method, True, torch.float32, is_expert_group=True)}
        bad = muon_bad_gradient(ctx, method)
        yield {"id": f"muon-nonfinite-{method}", "kind": "update", **bad}
    yield {"id": "muon-native-dtypes", "kind": "note", **{m: native_ns_dtype(m) for m in ("standard", "gram")}}


def native_ns_dtype(method):
    from deepspeed.runtime.zero.muon import original_muon
    return original_muon.ns_compute_dtype(method)


def muon_bad_gradient(ctx, method):
    """A gradient with an inf: the momentum must stay as it was."""
    from deepspeed.runtime.zero.muon import original_muon
    grad, mom = ctx.normal(3, 4), ctx.normal(3, 4)
    grad[1, 2] = float("inf")
    case = {"shape": (3, 4), "ns_method": method, "nesterov": True, "beta": 0.95, "ns_steps": 5, "ns_dtype": "fp32",
            "grad": grad.clone(), "momentum": mom.clone()}
    with ns_runs_in(torch.float32):
        update = original_muon.muon_update(grad, mom, ns_method=method)
    return {**case, "update_is_finite": [bool(x) for x in torch.isfinite(update).reshape(-1)], "momentum_after": mom}


def cases_muon_optimizer(ctx):
    """MuonWithAuxAdam on one matrix and one vector, ten steps."""
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam
    for method, shape, dtype in itertools.product(("standard", "gram"), ctx.pick([(4, 6), (6, 4)], [(5, 8)]),
                                                  (torch.float32, torch.bfloat16)):
        if dtype == torch.bfloat16 and method == "gram":
            dtype = torch.float16
        w, b = torch.nn.Parameter(ctx.normal(*shape)), torch.nn.Parameter(ctx.normal(5))
        grads = [(ctx.normal(*shape), ctx.normal(5)) for _ in range(OPT_STEPS)]
        lr, alr, wd = ctx.pick((0.02, 3e-4, 0.1), (0.05, 1e-3, 0.01))
        groups = [dict(params=[w], lr=lr, momentum=0.95, weight_decay=wd, ns_method=method, use_muon=True),
                  dict(params=[b], lr=alr, weight_decay=wd, use_muon=False)]
        start = (w.detach().clone(), b.detach().clone())
        shown, torch_w = {}, muon_by_torch(start[0], [g[0] for g in grads], lr, wd)
        with ns_runs_in(dtype):
            opt = MuonWithAuxAdam(groups)
            for i, (gw, gb) in enumerate(grads, 1):
                w.grad, b.grad = gw.clone(), gb.clone()
                opt.step()
                if i in OPT_SHOW:
                    shown[i] = {"w": w.detach().clone(), "b": b.detach().clone()}
        yield {"id": f"muon-optimizer-{method}-{plain(dtype)}-{shape[0]}x{shape[1]}", "kind": "optimizer",
               "shape": shape, "ns_method": method, "ns_dtype": dtype, "muon": dict(lr=lr, momentum=0.95, weight_decay=wd),
               "adam": dict(lr=alr, betas=(0.9, 0.95), eps=1e-10, weight_decay=wd), "w0": start[0], "b0": start[1],
               "grads_w": [g[0] for g in grads], "grads_b": [g[1] for g in grads], "p": shown,
               "momentum": opt.state[w]["momentum_buffer"],
               "versus": {"route": "torch.optim.Muon (bf16)", "max_abs_p": None if torch_w is None else
                          max_abs_diff(w.detach(), torch_w)}}


def muon_by_torch(w0, grads, lr, wd):
    if not hasattr(torch.optim, "Muon"):
        return None
    w = torch.nn.Parameter(w0.clone())
    opt = torch.optim.Muon([w], lr=lr, weight_decay=wd, momentum=0.95, nesterov=True, ns_steps=5)
    for g in grads:
        w.grad = g.clone()
        opt.step()
    return w.detach()


@table("muon", "only_current")
def muon(ctx):
    yield from cases_muon_update(ctx)
    yield from cases_muon_optimizer(ctx)
