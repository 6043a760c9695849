"""Ten steps of each optimizer, beside torch and a rule in double precision."""
import itertools
import math

import torch

from .frame import attempt, is_error, max_abs_diff, max_ulp, plain, table

OPT_SIZES = (1, 7, 37, 64)
OPT_STEPS = 10
OPT_SHOW = (1, 2, 5, 10)


def optimizer_inputs(ctx):
    """Start value and ten gradients for each size; a few gradients are exactly zero."""
    inputs = {}
    for n in OPT_SIZES:
        grads = [ctx.normal(n, scale=ctx.rng.choice([0.01, 0.1, 1.0])) for _ in range(OPT_STEPS)]
        if n > 4:
            for g in grads:
                g[3] = 0.0
            grads[4][2] = 0.0
        inputs[f"n{n}"] = (ctx.normal(n), grads)
    return inputs


def drive(make, p0, grads, dtype=torch.float32, schedule=None):
    """Steps an optimizer; answers the parameters seen at OPT_SHOW and its states at the end."""
    param = torch.nn.Parameter(p0.clone().to(dtype))
    optimizer = make([param])
    seen = {}
    for i, g in enumerate(grads, 1):
        for group in optimizer.param_groups:
            group.update(schedule[i - 1] if schedule else {})
        param.grad = g.clone().to(dtype)
        optimizer.step()
        if i in OPT_SHOW:
            seen[i] = param.detach().clone()
    state = {k: v.clone() for k, v in optimizer.state[param].items() if torch.is_tensor(v) and v.numel() == param.numel()
             and k not in ("step",)}
    return seen, state


def report(case, seen, state, reference=None, reference_name="torch"):
    """Adds the expected values, and how far the second route lies from them."""
    case["p"] = {k: v for k, v in seen.items()}
    case["state"] = state
    if reference is not None:
        last = max(seen)
        case["versus"] = {"route": reference_name, "max_abs_p": max_abs_diff(seen[last], reference[0][last]),
                          "max_ulp_p": max_ulp(seen[last], reference[0][last])}
    return case


class Float64Rule:
    """A plain double-precision optimizer, for the second route and for LAMB."""

    def __init__(self, rule, hyper):
        self.rule, self.hyper = rule, hyper

    def run(self, p0, grads, schedule=None):
        p, state, seen = p0.double(), {}, {}
        for t, g in enumerate(grads, 1):
            p = self.rule(p, g.double(), state, t, {**self.hyper, **(schedule[t - 1] if schedule else {})})
            if t in OPT_SHOW:
                seen[t] = p.clone()
        return seen, state


def rule_adam(p, g, s, t, h):
    b1, b2 = h["betas"]
    if not h["adamw_mode"]:
        g = g + h["weight_decay"] * p
    s["exp_avg"] = b1 * s.get("exp_avg", 0) + (1 - b1) * g
    s["exp_avg_sq"] = b2 * s.get("exp_avg_sq", 0) + (1 - b2) * g * g
    c1, c2 = (1 - b1**t, 1 - b2**t) if h["bias_correction"] else (1.0, 1.0)
    if h["adamw_mode"]:
        p = p * (1 - h["lr"] * h["weight_decay"])
    return p - h["lr"] / c1 * s["exp_avg"] / ((s["exp_avg_sq"] / c2).sqrt() + h["eps"])


def rule_lion(p, g, s, t, h):
    b1, b2 = h["betas"]
    m = s.get("exp_avg", torch.zeros_like(p))
    c = b1 * m + (1 - b1) * g
    p = p * (1 - h["lr"] * h["weight_decay"]) - torch.copysign(torch.full_like(c, h["lr"]), c)
    s["exp_avg"] = b2 * m + (1 - b2) * g
    return p


def rule_lamb(p, g, s, t, h):
    b1, b2 = h["betas"]
    s["exp_avg"] = b1 * s.get("exp_avg", 0) + (1 - b1) * g
    s["exp_avg_sq"] = b2 * s.get("exp_avg_sq", 0) + (1 - b2) * g * g
    v = s["exp_avg_sq"]
    denom = (v + h["eps"]).sqrt() if h["eps_inside_sqrt"] else v.sqrt() + h["eps"]
    u = s["exp_avg"] / denom + h["weight_decay"] * p
    wn, un = p.norm(), u.norm()
    coeff = float(min(max(wn / un, h["min_coeff"]), h["max_coeff"])) if wn != 0 and un != 0 else 1.0
    s.setdefault("coeff", []).append(coeff)
    step = h["lr"] * math.sqrt(1 - b2**t) / (1 - b1**t) if h["bias_correction"] else h["lr"]
    return p - step * coeff * u


def adam_hypers(ctx):
    lr = ctx.pick(1e-2, 3e-2)
    for adamw, bias, wd in itertools.product((True, False), (True, False), ctx.pick((0.0, 0.01, 0.1), (0.0, 0.05))):
        yield dict(lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=wd, adamw_mode=adamw, bias_correction=bias)
    for b, eps in ctx.pick((((0.8, 0.95), 1e-6), ((0.0, 0.9), 1e-8), ((0.9, 0.0), 1e-3)),
                           (((0.7, 0.99), 1e-4), ((0.95, 0.98), 1e-10))):
        yield dict(lr=1e-3, betas=b, eps=eps, weight_decay=0.01, adamw_mode=True, bias_correction=True)


def cases_adam(ctx, inputs):
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    for h, (name, (p0, grads)) in itertools.product(adam_hypers(ctx), inputs.items()):
        seen, state = drive(lambda ps: DeepSpeedCPUAdam(ps, **h), p0, grads)
        case = {"id": f"{'adamw' if h['adamw_mode'] else 'adam'}-bias{h['bias_correction']:d}-wd{h['weight_decay']}-"
                      f"b{h['betas'][0]},{h['betas'][1]}-{name}",
                "optimizer": "adam", "source": "DeepSpeedCPUAdam", "input": name, "hyper": h}
        ref = Float64Rule(rule_adam, h).run(p0, grads)
        report(case, seen, state, ref, "float64")
        if h["bias_correction"]:
            cls = torch.optim.AdamW if h["adamw_mode"] else torch.optim.Adam
            kw = dict(lr=h["lr"], betas=h["betas"], eps=h["eps"], weight_decay=h["weight_decay"])
            other, _ = drive(lambda ps: cls(ps, foreach=False, **kw), p0, grads)
            case["versus_torch"] = {"max_abs_p": max_abs_diff(seen[OPT_STEPS], other[OPT_STEPS]),
                                    "max_ulp_p": max_ulp(seen[OPT_STEPS], other[OPT_STEPS])}
        yield case


def cases_adam_schedules(ctx, inputs):
    """lr and betas change from step to step, as a scheduler would make them."""
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    h = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, adamw_mode=True, bias_correction=True)
    lrs = [{"lr": ctx.pick(0.01, 0.02) / i} for i in range(1, OPT_STEPS + 1)]
    moms = [{"lr": 0.01, "betas": (round(0.9 - ctx.pick(0.01, 0.015) * i, 4), 0.99)} for i in range(OPT_STEPS)]
    for label, schedule in (("lr", lrs), ("betas", moms)):
        for name in ("n7", "n37"):
            p0, grads = inputs[name]
            seen, state = drive(lambda ps: DeepSpeedCPUAdam(ps, **h), p0, grads, schedule=schedule)
            ref = Float64Rule(rule_adam, h).run(p0, grads, schedule)
            yield report({"id": f"adam-schedule-{label}-{name}", "optimizer": "adam", "source": "DeepSpeedCPUAdam",
                          "input": name, "hyper": h, "schedule": schedule}, seen, state, ref, "float64")


def cases_adam_dtypes(ctx, inputs):
    """Parameters (and gradients) in 16 bits; states in fp32 or in the parameter's type."""
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    h = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=ctx.pick(0.01, 0.02), adamw_mode=True,
             bias_correction=True)
    for dtype, wide, name in itertools.product((torch.bfloat16, torch.float16), (True, False), ("n7", "n37", "n64")):
        p0, grads = inputs[name]
        got = attempt(drive, lambda ps: DeepSpeedCPUAdam(ps, fp32_optimizer_states=wide, **h), p0, grads, dtype)
        case = {"id": f"adam-{plain(dtype)}-state{32 if wide else 16}-{name}", "optimizer": "adam",
                "source": "DeepSpeedCPUAdam", "input": name, "hyper": h, "param_dtype": dtype,
                "state_dtype": torch.float32 if wide else dtype}
        yield {**case, **got} if is_error(got) else report(case, *got)


def cases_adam_rollback(ctx, inputs):
    """adam_rollback undoes the last step (fp32 only)."""
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    h = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, adamw_mode=True, bias_correction=True)
    for name in ("n7", "n37"):
        p0, grads = inputs[name]
        param = torch.nn.Parameter(p0.clone())
        opt = DeepSpeedCPUAdam([param], **h)
        snaps = []
        for g in grads[:3]:
            param.grad = g.clone()
            opt.step()
            s = opt.state[param]
            snaps.append((param.detach().clone(), s["exp_avg"].clone(), s["exp_avg_sq"].clone()))
        s = opt.state[param]
        opt.ds_opt_adam.adam_rollback(opt.opt_id, s["step"], h["lr"], *h["betas"], h["eps"], h["weight_decay"], True,
                                      param.data, param.grad.data, s["exp_avg"], s["exp_avg_sq"])
        yield {"id": f"adam-rollback-{name}", "optimizer": "adam_rollback", "source": "DeepSpeedCPUAdam",
               "input": name, "hyper": h, "steps": 3, "p": {"3": snaps[2][0], "rolled_back": param.detach()},
               "state": {"exp_avg": s["exp_avg"], "exp_avg_sq": s["exp_avg_sq"]},
               "versus": {"route": "state after step 2", "max_abs_p": max_abs_diff(param.detach(), snaps[1][0])}}


def cases_lion(ctx, inputs):
    from deepspeed.ops.lion import DeepSpeedCPULion
    hypers = [dict(lr=lr, betas=b, weight_decay=wd) for lr, b, wd in ctx.pick(
        [(1e-3, (0.9, 0.999), 0.0), (1e-3, (0.9, 0.99), 0.1), (1e-2, (0.95, 0.98), 0.01), (1e-2, (0.0, 0.5), 0.0)],
        [(2e-3, (0.9, 0.99), 0.0), (5e-3, (0.8, 0.95), 0.2)])]
    for i, h in enumerate(hypers):
        for name, (p0, grads) in inputs.items():
            seen, state = drive(lambda ps: DeepSpeedCPULion(ps, **h), p0, grads)
            state.pop("exp_avg_sq", None)
            ref = Float64Rule(rule_lion, h).run(p0, grads)
            yield report({"id": f"lion-{i}-{name}", "optimizer": "lion", "source": "DeepSpeedCPULion", "input": name,
                          "hyper": h}, seen, state, ref, "float64")


def cases_adagrad(ctx, inputs):
    from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad
    for i, (lr, eps, wd) in enumerate(ctx.pick([(1e-2, 1e-10, 0.0), (1e-2, 1e-8, 0.1), (0.1, 1e-3, 0.01)],
                                               [(2e-2, 1e-10, 0.0), (5e-2, 1e-6, 0.2)])):
        h = dict(lr=lr, eps=eps, weight_decay=wd)
        for name, (p0, grads) in inputs.items():
            seen, state = drive(lambda ps: DeepSpeedCPUAdagrad(ps, **h), p0, grads)
            other = drive(lambda ps: torch.optim.Adagrad(ps, foreach=False, **h), p0, grads)
            yield report({"id": f"adagrad-{i}-{name}", "optimizer": "adagrad", "source": "DeepSpeedCPUAdagrad",
                          "input": name, "hyper": h}, seen, state, other, "torch.optim.Adagrad")
            yield report({"id": f"torch-adagrad-{i}-{name}", "optimizer": "torch_adagrad",
                          "source": "torch.optim.Adagrad", "input": name, "hyper": h}, *other)


def cases_sgd(ctx, inputs):
    for i, h in enumerate(ctx.pick(
            [dict(lr=0.1), dict(lr=0.1, momentum=0.9), dict(lr=0.01, momentum=0.9, weight_decay=0.1),
             dict(lr=0.01, momentum=0.9, nesterov=True), dict(lr=0.01, momentum=0.8, dampening=0.5)],
            [dict(lr=0.05, momentum=0.95), dict(lr=0.02, momentum=0.7, weight_decay=0.05, nesterov=True)])):
        for name, (p0, grads) in inputs.items():
            yield report({"id": f"sgd-{i}-{name}", "optimizer": "sgd", "source": "torch.optim.SGD", "input": name,
                          "hyper": h}, *drive(lambda ps: torch.optim.SGD(ps, foreach=False, **h), p0, grads))


def cases_lamb(ctx, inputs):
    """The CUDA-only LAMB of DeepSpeed, restated as a double-precision formula."""
    base = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, bias_correction=True, eps_inside_sqrt=False,
                max_coeff=10.0, min_coeff=0.01)
    for i, change in enumerate(ctx.pick(
            [{}, dict(weight_decay=0.01), dict(bias_correction=False), dict(eps_inside_sqrt=True, eps=1e-3),
             dict(max_coeff=0.5, min_coeff=0.08, weight_decay=0.1)],
            [dict(weight_decay=0.02, lr=2e-2), dict(max_coeff=0.3, min_coeff=0.2)])):
        h = {**base, **change}
        for name, (p0, grads) in inputs.items():
            seen, state = Float64Rule(rule_lamb, h).run(p0, grads)
            yield report({"id": f"lamb-{i}-{name}", "optimizer": "lamb", "source": "formula", "input": name,
                          "hyper": h}, seen, state)


@table("optimizers", "only_current")
def optimizers(ctx):
    inputs = optimizer_inputs(ctx)
    for name, (p0, grads) in inputs.items():
        yield {"id": f"input-{name}", "input": name, "p0": p0, "grads": grads}
    for cases in (cases_adam, cases_adam_schedules, cases_adam_dtypes, cases_adam_rollback, cases_lion, cases_adagrad,
                  cases_sgd, cases_lamb):
        yield from cases(ctx, inputs)
