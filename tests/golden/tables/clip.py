"""Norms and clipping, of an engine and of each of its optimizers."""
import inspect
import itertools
import math
import types

import torch

from .frame import attempt, is_error, table


def norm_buffers(ctx):
    """Named lists of gradients."""
    big, tiny = ctx.normal(5, scale=1e4), ctx.normal(6, scale=0.01)
    out = {"one": [ctx.normal(1)], "small": [ctx.normal(7), ctx.normal(3)], "many": [ctx.normal(n) for n in (1, 5, 9, 2)],
           "zeros": [torch.zeros(4), torch.zeros(2)], "big": [big, tiny], "unit": [torch.tensor([0.6, 0.8])],
           "huge": [torch.tensor([3e19, 4e19])], "over": [torch.tensor([3e38, 3e38])],
           "subnormal": [torch.tensor([1e-39, 2e-39, 1e-30])]}
    for label, value in (("inf", math.inf), ("ninf", -math.inf), ("nan", math.nan)):
        bad = ctx.normal(5)
        bad[2] = value
        out[label] = [ctx.normal(3), bad]
    return out


def params_with(grads):
    params = [torch.nn.Parameter(torch.zeros_like(g)) for g in grads]
    for p, g in zip(params, grads):
        p.grad = g.clone()
    return params


def clip_engine(grads, max_norm, norm_type):
    from deepspeed.runtime.utils import clip_grad_norm_
    params = params_with(grads)
    total = clip_grad_norm_(params, max_norm, norm_type)
    return {"norm": total, "grads_after": [p.grad for p in params]}


def clip_bf16_optimizer(grads, max_norm):
    from deepspeed.runtime.utils import clip_tensors_by_global_norm, get_global_norm_of_tensors
    tensors = [g.clone() for g in grads]
    norm = get_global_norm_of_tensors(tensors)
    clip_tensors_by_global_norm(tensors, max_norm=max_norm, global_norm=norm)
    return {"norm": norm, "grads_after": tensors}


def clip_zero(stage, grads, max_norm, scale):
    """The unscale-and-clip of the ZeRO optimizers; `norm` is that of the still scaled gradients."""
    tensors = [g.clone() for g in grads]
    total = torch.stack([torch.linalg.vector_norm(t.double()) for t in tensors]).pow(2).sum().float().sqrt()
    me = types.SimpleNamespace(clip_grad=max_norm, loss_scale=scale, device="cpu")
    if stage == 3:
        from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3 as Zero
        flat = torch.cat(tensors)
        me.fp32_partitioned_groups_flat = [types.SimpleNamespace(grad=flat)]
        inspect.unwrap(Zero.unscale_and_clip_grads)(me, 0, total)
        tensors = [flat]
    else:
        from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer as Zero
        Zero.unscale_and_clip_grads(me, tensors, total)
    return {"norm": total, "grads_after": tensors}


def clip_fp16_optimizer(grads, max_norm, scale):
    from deepspeed.runtime.fp16.fused_optimizer import FP16_Optimizer
    from deepspeed.runtime.utils import get_global_norm, get_weight_norm
    tensors = [g.clone() for g in grads]
    norms = [get_weight_norm([t]) for t in tensors]
    total = get_global_norm(norm_list=norms)
    me = types.SimpleNamespace(clip_grad=max_norm, loss_scale_config=types.SimpleNamespace(cur_scale=scale))
    combined = FP16_Optimizer.unscale_and_clip_grads(me, tensors, total)
    return {"group_norms": norms, "norm": total, "combined_scale": combined, "grads_after": tensors}


def skips_step(answer):
    """Whether the optimizer drops the step on this norm instead of clipping (0.19.8 only)."""
    from deepspeed.runtime import utils
    if is_error(answer) or not hasattr(utils, "is_invalid_grad_norm"):
        return {}
    return {"skipped": utils.is_invalid_grad_norm(answer["norm"])}


@table("clip_norm", "current")
def clip_norm(ctx):
    for case in clip_norm_cases(ctx):
        if case["kind"] in ("bf16_optimizer", "zero1", "zero3", "fp16_optimizer"):
            case.update(skips_step(case))
        yield case


def clip_norm_cases(ctx):
    from deepspeed.runtime.utils import get_global_norm
    buffers = norm_buffers(ctx)
    maxima = ctx.pick((1.0, 0.1, 1e6), (0.5, 2.0))
    for (name, grads), top in itertools.product(buffers.items(), maxima):
        base = {"grads": grads, "max_norm": top}
        for p in (2, 1, 3, math.inf):
            if p == 2 or top == maxima[0]:
                yield {"id": f"engine-{name}-{top}-p{p}", "kind": "engine", **base, "norm_type": p,
                       **attempt(clip_engine, grads, top, p)}
        yield {"id": f"bf16-{name}-{top}", "kind": "bf16_optimizer", **base, **attempt(clip_bf16_optimizer, grads, top)}
        for scale in ctx.pick((1.0, 65536.0), (1.0, 1024.0)):
            for stage in (1, 3):
                yield {"id": f"zero{stage}-{name}-{top}-{scale}", "kind": f"zero{stage}", **base, "loss_scale": scale,
                       **attempt(clip_zero, stage, grads, top, scale)}
            yield {"id": f"fp16-{name}-{top}-{scale}", "kind": "fp16_optimizer", **base, "loss_scale": scale,
                   **attempt(clip_fp16_optimizer, grads, top, scale)}
    for stage, scale in itertools.product((1, 3), (1.0, 256.0)):
        yield {"id": f"zero{stage}-off-{scale}", "kind": f"zero{stage}", "grads": buffers["small"], "max_norm": 0.0,
               "loss_scale": scale, **attempt(clip_zero, stage, buffers["small"], 0.0, scale)}
    for i, norms in enumerate([[], [0.0], [3.0, 4.0], [1e-3, 2.5, 7.0], [-1.0], [3.0, -1.0], [math.inf, 1.0],
                               [math.nan, 1.0], [1e200, 1e200]]):
        yield {"id": f"global-{i}", "kind": "global_norm", "norms": norms,
               "norm": attempt(get_global_norm, norms)}
