"""Pipeline schedules, topologies and cuts of layers."""
import itertools

from .frame import attempt, error_of, is_error, plain, table

SHORT = {"LoadMicroBatch": "L", "ForwardPass": "F", "BackwardPass": "B", "SendActivation": "SA", "RecvActivation": "RA",
         "SendGrad": "SG", "RecvGrad": "RG", "ReduceTiedGrads": "RT", "ReduceGrads": "RD", "OptimizerStep": "OS",
         "CommitP2P": "CM"}


def instruction(cmd):
    text = SHORT[type(cmd).__name__] + (str(cmd.buffer_id) if hasattr(cmd, "buffer_id") else "")
    return text + (f"p{cmd.phase}" if hasattr(cmd, "phase") else "")


def schedule_case(cls, name, stages, micro, stage, **kw):
    try:
        sched = cls(micro_batches=micro, stages=stages, stage_id=stage, **kw)
        steps = [" ".join(instruction(c) for c in step) for step in sched.steps()]
    except Exception as exc:
        return {"id": f"{name}-{stages}-{micro}-{stage}", "schedule": name, "stages": stages, "micro_batches": micro,
                "stage": stage, "error": error_of(exc)}
    return {"id": f"{name}-{stages}-{micro}-{stage}", "schedule": name, "stages": stages, "micro_batches": micro,
            "stage": stage, "buffers": sched.num_pipe_buffers(), "steps": steps}


@table("pipe_schedules", "current")
def pipe_schedules(ctx):
    from deepspeed.runtime.pipe import schedule
    stages, micros = ctx.pick((range(1, 7), range(1, 10)), ((2, 5, 7, 8), (2, 7, 10, 13)))
    for s, m in itertools.product(stages, micros):
        for stage in range(s):
            yield schedule_case(schedule.TrainSchedule, "train", s, m, stage)
            yield schedule_case(schedule.InferenceSchedule, "inference", s, m, stage)
    yield schedule_case(schedule.DataParallelSchedule, "data_parallel", 1, 3, 0)
    if hasattr(schedule, "DualPipeVSchedule"):
        for s, m in ctx.pick([(1, 2), (1, 5), (2, 4), (2, 7), (3, 6), (4, 8), (4, 11), (2, 3)], [(2, 5), (3, 8), (5, 10)]):
            for stage in range(s):
                yield schedule_case(schedule.DualPipeVSchedule, "dualpipev", s, m, stage)
                yield schedule_case(schedule.DualPipeVSchedule, "dualpipev_forward", s, m, stage, forward_only=True)


def topology_case(name, topo):
    world = topo.world_size()
    case = {"id": f"{name}-{'x'.join(map(str, topo.dims))}", "kind": "topology", "axes": topo.axes, "dims": topo.dims,
            "coords": [list(topo.get_coord(r)) for r in range(world)],
            "comm_lists": {a: topo.get_axis_comm_lists(a) for a in topo.axes},
            "axis_lists": {a: [topo.get_axis_list(a, i) for i in range(topo.get_dim(a))] for a in topo.axes},
            "rank_repr": [topo.get_rank_repr(r) for r in range(world)],
            "rank_repr_all": [topo.get_rank_repr(r, omit_axes=[]) for r in range(world)]}
    a, b = topo.axes[0], topo.axes[-1]
    case["filter"] = {f"{a}=0,{b}={topo.get_dim(b) - 1}": topo.filter_match(**{a: 0, b: topo.get_dim(b) - 1})}
    return case


@table("topology", "current")
def topology(ctx):
    from deepspeed.runtime.pipe.topology import (PipeDataParallelTopology, PipeModelDataParallelTopology,
                                                 ProcessTopology, _prime_factors)
    from deepspeed.utils.groups import _get_expert_parallel_ranks
    for p, d in ctx.pick([(1, 1), (1, 4), (2, 2), (4, 2), (3, 5)], [(2, 3), (5, 1), (6, 2)]):
        yield topology_case("pipe_data", PipeDataParallelTopology(num_pp=p, num_dp=d))
    for p, m, d in ctx.pick([(1, 1, 1), (2, 2, 2), (4, 2, 1), (2, 4, 3), (1, 2, 4)], [(2, 3, 2), (3, 2, 2), (2, 1, 5)]):
        yield topology_case("pipe_model_data", PipeModelDataParallelTopology(num_pp=p, num_mp=m, num_dp=d))
    for axes, dims in ctx.pick([(["a", "b"], [2, 3]), (["x", "y", "z"], [2, 3, 4]), (["row"], [5])],
                               [(["u", "v", "w", "t"], [2, 2, 3, 2]), (["x", "y"], [4, 3])]):
        yield topology_case("custom", ProcessTopology(axes=axes, dims=dims))
    t = PipeModelDataParallelTopology(2, 2, 2)
    for i, (what, call) in enumerate([("get_rank(pipe=0,data=1)", lambda: t.get_rank(pipe=0, data=1)),
                                      ("get_rank(pipe=2,data=0,model=0)", lambda: t.get_rank(pipe=2, data=0, model=0)),
                                      ("get_coord(8)", lambda: t.get_coord(8)), ("get_dim('none')", lambda: t.get_dim("none")),
                                      ("get_axis_comm_lists('none')", lambda: t.get_axis_comm_lists("none"))]):
        got = attempt(call)
        yield {"id": f"call-{i}", "kind": "call", "dims": [2, 2, 2], "axes": t.axes, "call": what,
               **(got if is_error(got) else {"value": got})}
    for w, tp, ep, pp, first in itertools.product(ctx.pick((4, 8, 16), (6, 12, 24)), (1, 2), (1, 2, 4), (1, 2), (False, True)):
        got = attempt(_get_expert_parallel_ranks, w, tp, ep, pp, first)
        case = {"id": f"moe-{w}-{tp}-{ep}-{pp}-{first:d}", "kind": "moe_groups", "world": w, "tensor": tp, "expert": ep,
                "pipe": pp, "data_before_expert": first}
        yield {**case, **(got if is_error(got) else {"expert_groups": got[0], "expert_data_groups": got[1]})}
    for n in ctx.pick((1, 2, 12, 97, 360), (8, 30, 101)):
        yield {"id": f"primes-{n}", "kind": "prime_factors", "n": n, "factors": attempt(_prime_factors, n)}
    yield from partition_cases(ctx)


def partition_cases(ctx):
    from deepspeed.runtime.utils import partition_balanced, partition_uniform
    for n, p in itertools.product(ctx.pick((0, 1, 3, 4, 7, 10, 24), (2, 5, 9, 31)), (1, 2, 3, 4, 8)):
        yield {"id": f"uniform-{n}-{p}", "kind": "partition_uniform", "items": n, "parts": p,
               "bounds": plain(attempt(partition_uniform, n, p))}
    lists = ctx.pick([[1, 2, 1], [1, 1, 1, 1], [1] * 5, [1, 1, 1, 1, 0, 1], [0, 0, 5, 0], [9, 1, 1, 1, 1], [3, 7, 1, 9, 4, 2],
                      [0.5, 0.25, 2.0, 1.5], [10**9, 1, 10**9, 1]], [[2, 2, 1, 5], [0, 0, 0, 0, 0], [1.5, 0.1, 0.1, 2.5, 0.7]])
    for _ in range(ctx.pick(14, 20)):
        lists.append([ctx.rng.randint(0, 50) for _ in range(ctx.rng.randint(2, 18))])
    for i, weights in enumerate(lists):
        for p in (1, 2, 3, 4, 6):
            got = plain(attempt(partition_balanced, weights, p))
            case = {"id": f"balanced-{i}-{p}", "kind": "partition_balanced", "weights": weights, "parts": p, "bounds": got}
            if not is_error(got):
                sums = [sum(weights[a:b]) for a, b in zip(got, got[1:])]
                case["cost"] = max(sums) - min(sums)
            yield case
