"""Learning rates, step by step."""
import torch

from .frame import attempt, is_error, table

SCHEDULE_STEPS = 40
SCHEDULE_LATER = [50, 64, 75, 99, 100, 101, 128, 150, 199, 200, 250, 300, 499, 500, 501, 750, 1000, 1500, 2000, 2500]


def schedule_variants(ctx):
    """(type, params, group lrs) of all valid cases."""
    v = ctx.pick
    n = v([10, 15, 19, 33], [7, 12, 21, 38])
    out = []
    for steps in n + [1, 2]:
        for kind in ("log", "linear"):
            out.append(("WarmupLR", dict(warmup_min_lr=0.0, warmup_max_lr=v(0.001, 0.0025), warmup_num_steps=steps,
                                         warmup_type=kind), [0.01]))
    out += [("WarmupLR", dict(warmup_num_steps=v(20, 23)), [v(0.003, 0.0041)]),
            ("WarmupLR", dict(warmup_num_steps=v(20, 23), warmup_type="linear"), [0.003, v(0.0007, 0.0009)]),
            ("WarmupLR", dict(), [0.01]),
            ("WarmupLR", dict(warmup_min_lr=[1e-5, 2e-5], warmup_max_lr=[1e-3, v(5e-3, 6e-3)], warmup_num_steps=12),
             [0.1, 0.2]),
            ("WarmupLR", dict(warmup_min_lr=0.01, warmup_max_lr=0.001, warmup_num_steps=8, warmup_type="linear"),
             [0.1]),
            ("WarmupLR", dict(warmup_max_lr=0.001, warmup_num_steps=9, warmup_type="cubic"), [0.1])]
    for total, warm in v([(100, 10), (30, 30), (20, 33), (200, 1), (500, 100)], [(90, 12), (25, 25), (18, 29), (1000, 37)]):
        for kind in ("log", "linear"):
            out.append(("WarmupDecayLR", dict(total_num_steps=total, warmup_min_lr=v(0.0, 1e-5),
                                              warmup_max_lr=v(0.001, 0.002), warmup_num_steps=warm, warmup_type=kind),
                        [0.05]))
    out += [("WarmupDecayLR", dict(total_num_steps=v(1500, 1300)), [0.05]),
            ("WarmupDecayLR", dict(total_num_steps=50, warmup_max_lr=[1e-3, 2e-3], warmup_num_steps=5), [0.1, 0.2])]
    for total, warm, cos_min, warm_min in v(
            [(100, 10, 0.1, 0.2), (200, 20, 0.1, 0.2), (500, 30, 0.0, 0.2), (600, 300, 0.1, 0.0), (600, 550, 0.0, 0.0),
             (30, 30, 0.1, 0.1), (20, 33, 0.05, 0.0), (100, 1, 0.0001, 0.0)],
            [(80, 8, 0.12, 0.3), (250, 25, 0.0, 0.05), (400, 390, 0.2, 0.0), (15, 28, 0.01, 0.5), (1000, 2, 0.0, 0.0)]):
        for kind in ("log", "linear"):
            out.append(("WarmupCosineLR", dict(total_num_steps=total, warmup_num_steps=warm, cos_min_ratio=cos_min,
                                               warmup_min_ratio=warm_min, warmup_type=kind), [v(0.15, 0.07)]))
    out += [("WarmupCosineLR", dict(total_num_steps=v(1200, 1400)), [0.001]),
            ("WarmupCosineLR", dict(total_num_steps=60, warmup_num_steps=6), [0.001, v(0.03, 0.02)])]
    for lo, rate, size, stair in v(
            [(1e-4, 1e-5, 1, True), (1e-5, 1e-5, 1, False), (1e-4, 1e-3, 10, True), (1e-3, 1e-3, 10, False),
             (1e-2, 1e-2, 19, True), (1e-2, 1e-2, 19, False), (1e-3, 5.0, 7, True), (1e-3, 0.0, 7, False)],
            [(2e-4, 3e-5, 1, True), (2e-4, 2e-3, 13, True), (3e-3, 1e-3, 13, False), (1e-2, 0.5, 9, True)]):
        out.append(("LRRangeTest", dict(lr_range_test_min_lr=lo, lr_range_test_step_rate=rate,
                                        lr_range_test_step_size=size, lr_range_test_staircase=stair), [0.1]))
    out += [("LRRangeTest", dict(), [0.1]),
            ("LRRangeTest", dict(lr_range_test_min_lr=[1e-3, v(2e-3, 5e-3)], lr_range_test_step_size=4), [0.1, 0.2])]
    for lo, hi, rate, step, first, second in v(
            [(1e-5, 1e-2, 1e-3, 10, 10, None), (1e-3, 1e-1, 1e-2, 5, 20, 20), (1e-3, 1e-1, 0.1, 7, 12, 18),
             (1e-4, 1e-2, 0.5, 1, 7, 3), (1e-3, 1e-1, 0.1, 0, 11, None), (1e-3, 1e-1, 0.0, 4, 9, 6),
             (1e-4, 1e-2, 0.2, 3, 13, 0)],
            [(2e-5, 2e-2, 2e-3, 9, 11, None), (1e-3, 0.2, 0.3, 4, 14, 5), (1e-3, 1e-1, 0.1, 0, 8, 3),
             (1e-4, 3e-2, 0.2, 2, 6, 0)]):
        for mom in (True, False):
            out.append(("OneCycle", dict(cycle_min_lr=lo, cycle_max_lr=hi, decay_lr_rate=rate, decay_step_size=step,
                                         cycle_first_step_size=first, cycle_second_step_size=second,
                                         cycle_momentum=mom), [0.1]))
    for lo, hi, rate, first, second in v([(0.08, 0.09, 1e-3, 10, 10), (0.08, 0.9, 0.0, 6, 15), (0.85, 0.95, 0.1, 9, 4)],
                                         [(0.1, 0.2, 1e-2, 8, 11), (0.7, 0.99, 0.05, 12, 5)]):
        out.append(("OneCycle", dict(cycle_min_lr=1e-3, cycle_max_lr=1e-1, cycle_first_step_size=first,
                                     cycle_second_step_size=second, cycle_min_mom=lo, cycle_max_mom=hi,
                                     decay_mom_rate=rate, decay_step_size=v(10, 6), decay_lr_rate=v(0.0, 0.3)), [0.1]))
    for first, second, s1, s2 in v([(12, 18, 3, None), (12, 18, 4, 6), (10, 10, 5, 0), (9, 14, 0, 7), (7, 20, 7, 20)],
                                   [(15, 9, 5, None), (8, 22, 3, 5), (13, 13, 0, 4)]):
        out.append(("OneCycle", dict(cycle_min_lr=1e-3, cycle_max_lr=v(0.5, 0.3), cycle_first_step_size=first,
                                     cycle_second_step_size=second, cycle_first_stair_count=s1,
                                     cycle_second_stair_count=s2), [0.1]))
    out += [("OneCycle", dict(cycle_min_lr=[1e-3, 2e-3], cycle_max_lr=[0.1, v(0.2, 0.3)], cycle_min_mom=[0.8, 0.7],
                              cycle_max_mom=[0.9, 0.95], cycle_first_step_size=8, decay_step_size=3,
                              decay_lr_rate=0.1, decay_mom_rate=0.01), [0.1, 0.2]),
            ("OneCycle", dict(cycle_min_lr=1e-3, cycle_max_lr=0.1), [0.1])]
    return out


INVALID_SCHEDULES = [
    ("WarmupLR", dict(warmup_num_steps=0), 1), ("WarmupLR", dict(warmup_num_steps=-3), 1),
    ("WarmupLR", dict(warmup_num_steps=2.5), 1), ("WarmupLR", dict(warmup_num_steps="10"), 1),
    ("WarmupLR", dict(warmup_min_lr=[0.1]), 2), ("WarmupLR", dict(warmup_max_lr=[0.1, 0.2, 0.3]), 2),
    ("WarmupLR", dict(no_such_key=1), 1),
    ("WarmupDecayLR", dict(), 1), ("WarmupDecayLR", dict(total_num_steps=10, warmup_num_steps=0), 1),
    ("WarmupCosineLR", dict(), 1), ("WarmupCosineLR", dict(total_num_steps=10, warmup_num_steps=0), 1),
    ("WarmupCosineLR", dict(total_num_steps=10, warmup_max_lr=0.1), 1),
    ("LRRangeTest", dict(lr_range_test_step_size=0), 1), ("LRRangeTest", dict(lr_range_test_step_size=-5), 1),
    ("LRRangeTest", dict(lr_range_test_step_size=1.5), 1), ("LRRangeTest", dict(lr_range_test_min_lr=[0.1]), 2),
    ("OneCycle", dict(), 1), ("OneCycle", dict(cycle_min_lr=0.1), 1),
    ("OneCycle", dict(cycle_min_lr=[0.1], cycle_max_lr=0.2), 2),
    ("OneCycle", dict(cycle_min_lr=0.1, cycle_max_lr=[0.2]), 2),
] + [("OneCycle", dict(cycle_min_lr=0.1, cycle_max_lr=0.2, cycle_first_step_size=a, cycle_second_step_size=b), 1)
     for a, b in [(0, 0), (0, None), (-1, None), (0, 100), (100, -1)]]


def adamw_with(lrs):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return torch.optim.AdamW(groups, lr=lrs[0])


def build_schedule(kind, params, lrs, last=-1):
    from deepspeed.runtime import lr_schedules
    optimizer = adamw_with(lrs)
    return optimizer, getattr(lr_schedules, kind)(optimizer, last_batch_iteration=last, **params)


def one_or_all(values):
    return values[0] if len(values) == 1 else list(values)


def schedule_state(optimizer):
    groups = optimizer.param_groups
    return one_or_all([g["lr"] for g in groups]), one_or_all([list(g["betas"]) for g in groups])


def run_schedule(kind, params, lrs, last):
    """lr[i] (and betas[i]) is what the optimizer holds after call i+1 of step()."""
    optimizer, sched = build_schedule(kind, params, lrs, last)
    momentum = kind == "OneCycle" and params.get("cycle_momentum", True)
    lr0, mom0 = schedule_state(optimizer)
    first, firstmom, later = [], [], {}
    end = max(SCHEDULE_LATER) + 1
    for calls in range(1, end + 1):
        sched.step()
        lr, mom = schedule_state(optimizer)
        if calls <= SCHEDULE_STEPS:
            first.append(lr)
            firstmom.append(mom)
        elif calls in SCHEDULE_LATER:
            later[calls] = [lr, mom] if momentum else [lr]
    out = {"initial_lr": lr0, "lr": first, "later": later, "state_dict": sched.state_dict()}
    if momentum:
        out.update(initial_betas=mom0, betas=firstmom)
    return out


@table("lr_schedules", "current")
def lr_schedules(ctx):
    for i, (kind, params, lrs) in enumerate(schedule_variants(ctx)):
        case = {"id": f"{kind}-{i}", "type": kind, "params": params, "group_lr": lrs}
        yield {**case, **attempt(run_schedule, kind, params, lrs, -1)}
        if i % 7 == 0:
            yield {**case, "id": f"{kind}-{i}-resume", "last_batch_iteration": 11,
                   **attempt(run_schedule, kind, params, lrs, 11)}
    for i, (kind, params, groups) in enumerate(INVALID_SCHEDULES):
        answer = attempt(build_schedule, kind, params, [0.1] * groups)
        yield {"id": f"invalid-{i}", "type": kind, "params": params, "group_lr": [0.1] * groups,
               **(answer if is_error(answer) else {"accepted": True})}
