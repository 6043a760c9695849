"""The dynamic loss scale under patterns of overflow."""
import itertools
import types

import torch

from .frame import error_of, plain, table


def overflow_patterns(ctx):
    n = ctx.pick(40, 48)
    fixed = {"clean": "0" * n, "all": "1" * 24, "alternate": "01" * (n // 2), "late": "0" * 13 + "1" * 9 + "0" * 18,
             "every5": "00001" * (n // 5), "pairs": "0110" * (n // 4), "burst": "0001110000011111000000001000000000001100"}
    for i in range(ctx.pick(4, 6)):
        p = ctx.rng.choice([0.1, 0.3, 0.5])
        fixed[f"random{i}"] = "".join("1" if ctx.rng.random() < p else "0" for _ in range(n))
    return fixed


def run_scaler(make, pattern):
    """scale[i] and hysteresis[i] are the state after update i; an overflow means the step is skipped."""
    scaler = make()
    scales, hysteresis = [], []
    for i, bit in enumerate(pattern):
        try:
            scaler.update_scale(bit == "1")
        except Exception as exc:
            return {"scale": scales, "hysteresis": hysteresis, "error_at": i, "error": error_of(exc)}
        scales.append(float(scaler.cur_scale))
        hysteresis.append(getattr(scaler, "cur_hysteresis", None))
    return {"scale": scales, "hysteresis": hysteresis}


class Stage0Scaler:
    """The loss-scale rule of the stage-0 fp16 optimizers, driven without a model."""

    def __init__(self, unfused, args):
        from deepspeed.runtime.fp16.fused_optimizer import FP16_Optimizer
        from deepspeed.runtime.fp16.loss_scaler import LossScaleConfig, LossScaleProfile
        from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
        cls = FP16_UnfusedOptimizer if unfused else FP16_Optimizer
        profile = LossScaleProfile.UNFUSED if unfused else LossScaleProfile.FUSED
        self.self = types.SimpleNamespace(verbose=False, loss_scale_config=LossScaleConfig(
            torch.float16, True, 1.0, args, profile=profile))
        self.update = cls._update_scale

    @property
    def cur_scale(self):
        return self.self.loss_scale_config.cur_scale

    def update_scale(self, overflow):
        self.update(self.self, overflow)


@table("loss_scale", "current")
def loss_scale(ctx):
    from deepspeed.runtime.fp16.loss_scaler import CreateLossScaler, DynamicLossScaler
    patterns = overflow_patterns(ctx)
    settings = [dict(init_scale=2.0**p, scale_window=w, min_scale=m, delayed_shift=h, consecutive_hysteresis=c)
                for p, w, m, h, c in ctx.pick(
                    [(16, 2, 1, 1, False), (16, 2, 1, 2, False), (16, 2, 1, 2, True), (8, 5, 1, 1, False),
                     (8, 5, 1, 3, False), (8, 5, 1, 3, True), (4, 1000, 1, 1, False), (4, 4, 0.25, 1, False),
                     (32, 3, 128, 2, False), (3, 1, 1, 4, True)],
                    [(15, 3, 1, 1, False), (15, 3, 1, 2, False), (10, 4, 2, 3, True), (5, 1000, 1, 1, False),
                     (20, 6, 64, 2, False), (4, 2, 0.5, 2, True)])]
    for s, setting in enumerate(settings):
        for name, pattern in patterns.items():
            for raises in ((True, False) if name in ("all", "burst") else (True,)):
                make = lambda: DynamicLossScaler(raise_error_at_min_scale=raises, **setting)
                yield {"id": f"dynamic-{s}-{name}-{int(raises)}", "kind": "dynamic", "settings": setting,
                       "raise_error_at_min_scale": raises, "overflow": pattern, **run_scaler(make, pattern)}
    stage0 = ctx.pick([None, dict(init_scale=2.0**8, scale_window=2, min_scale=1.0),
                       dict(init_scale=2.0**4, scale_window=5, min_scale=0.25)],
                      [None, dict(init_scale=2.0**9, scale_window=3, min_scale=2.0)])
    for s, args in enumerate(stage0):
        for unfused in (False, True):
            for name, pattern in patterns.items():
                yield {"id": f"stage0-{s}-{int(unfused)}-{name}", "kind": "stage0_unfused" if unfused else "stage0_fused",
                       "settings": args, "overflow": pattern, **run_scaler(lambda: Stage0Scaler(unfused, args), pattern)}
    for dtype, scale in itertools.product([torch.float16, torch.bfloat16, torch.float32], ctx.pick([1.0, 128.0], [64.0])):
        yield {"id": f"static-{plain(dtype)}-{scale}", "kind": "static", "dtype": dtype, "static_loss_scale": scale,
               "overflow": "0110", **run_scaler(lambda: CreateLossScaler(dtype, scale, False, None), "0110")}
