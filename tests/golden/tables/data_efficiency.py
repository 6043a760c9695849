"""Curricula, random layer token drop, progressive layer drop, sparse layouts."""
import itertools
import random

from .frame import attempt, is_error, table


def curriculum_run(config, last):
    """difficulty: get_difficulty(step); updated: update_difficulty() called for each step in turn."""
    from deepspeed.runtime.data_pipeline.curriculum_scheduler import CurriculumScheduler
    pure, stateful = CurriculumScheduler(config), CurriculumScheduler(config)
    return {"steps": last, "difficulty": [pure.get_difficulty(i) for i in range(last + 1)],
            "updated": [stateful.update_difficulty(i) for i in range(last + 1)]}


def curriculum_configs(ctx):
    lin = lambda lo, hi, total, step: dict(min_difficulty=lo, max_difficulty=hi, schedule_type="fixed_linear",
                                           schedule_config=dict(total_curriculum_step=total, difficulty_step=step))
    for args in ctx.pick([(2, 10, 8, 2), (8, 64, 20, 8), (7, 50, 13, 8), (1, 100, 30, 1), (64, 64, 10, 8), (10, 33, 9, 5),
                          (8, 40, 10, 16), (3, 20, 5, 7)],
                         [(4, 12, 9, 2), (16, 96, 25, 16), (9, 51, 17, 8), (5, 37, 11, 6), (24, 100, 12, 32)]):
        yield lin(*args)
        for degree in (2, 3, 1.5):
            c = lin(*args)
            c["schedule_type"] = "fixed_root"
            c["schedule_config"]["root_degree"] = degree
            yield c
    for diff, top in ctx.pick([([1, 2, 3, 4, 5], [2, 4, 6, 8]), ([10, 7], [3]), ([1, 1, 9], [0, 20])],
                              [([2, 4, 8], [5, 11]), ([3, 9, 1, 6], [1, 2, 30])]):
        yield dict(min_difficulty=min(diff), max_difficulty=max(diff), schedule_type="fixed_discrete",
                   schedule_config=dict(difficulty=diff, max_step=top))
    for bad in (dict(), dict(min_difficulty=1), dict(min_difficulty=1, max_difficulty=2),
                dict(min_difficulty=1, max_difficulty=2, schedule_type="step", schedule_config={}),
                dict(min_difficulty=1, max_difficulty=2, schedule_type="fixed_linear", schedule_config={}),
                dict(min_difficulty=1, max_difficulty=2, schedule_type="fixed_root",
                     schedule_config=dict(total_curriculum_step=3, difficulty_step=1)),
                dict(min_difficulty=1, max_difficulty=2, schedule_type="fixed_discrete",
                     schedule_config=dict(difficulty=[1, 2], max_step=[1, 2]))):
        yield bad


def random_ltd_run(config, last):
    from deepspeed.runtime.data_pipeline.data_routing.scheduler import RandomLTDScheduler
    s = RandomLTDScheduler(config)
    out = {"initial": s.get_current_seq(), "kept_tokens": [], "consumed_layer_tokens": []}
    for step in range(last + 1):
        s.update_seq(step)
        out["kept_tokens"].append(s.get_current_seq())
        out["consumed_layer_tokens"].append(s.state_dict()["consumed_layer_tokens"])
    return out


def random_ltd_configs(ctx):
    for lo, hi, steps, per in ctx.pick([(128, 512, 10, 16), (100, 500, 15, 30), (8, 64, 7, 8), (64, 64, 5, 8), (5, 37, 20, 4)],
                                       [(96, 384, 12, 24), (33, 200, 9, 16), (16, 256, 30, 8)]):
        for layers, ltd, batch in ((24, 22, 16), (4, 2, 3)):
            yield dict(total_layer_num=layers, random_ltd_layer_num=ltd, global_batch_size=batch,
                       layer_token_lr_schedule=dict(enabled=False),
                       random_ltd_schedule=dict(min_value=lo, max_value=hi, schedule_type="fixed_linear",
                                                schedule_config=dict(require_steps=steps, seq_per_step=per)))
    c = dict(total_layer_num=4, random_ltd_layer_num=2, global_batch_size=1, layer_token_lr_schedule=dict(enabled=True),
             random_ltd_schedule=dict(min_value=1, max_value=2, schedule_type="fixed_linear",
                                      schedule_config=dict(require_steps=1, seq_per_step=1)))
    yield c
    yield {**c, "layer_token_lr_schedule": dict(enabled=False),
           "random_ltd_schedule": {**c["random_ltd_schedule"], "schedule_type": "fixed_root"}}


@table("data_efficiency", "current")
def data_efficiency(ctx):
    for i, config in enumerate(curriculum_configs(ctx)):
        yield {"id": f"curriculum-{i}", "kind": "curriculum", "config": config, **attempt(curriculum_run, config, 34)}
    for i, config in enumerate(random_ltd_configs(ctx)):
        yield {"id": f"random-ltd-{i}", "kind": "random_ltd", "config": config, **attempt(random_ltd_run, config, 34)}


@table("progressive_layer_drop", "legacy")
def progressive_layer_drop(ctx):
    from deepspeed.runtime.progressive_layer_drop import ProgressiveLayerDrop
    for theta, gamma in itertools.product(ctx.pick((0.0, 0.1, 0.5, 0.9, 1.0), (0.3, 0.75)), ctx.pick((0.001, 0.1), (0.02,))):
        pld = ProgressiveLayerDrop(theta=theta, gamma=gamma)
        case = {"id": f"pld-{theta}-{gamma}", "theta": theta, "gamma": gamma, "initial": pld.get_theta(), "steps": [],
                "current_theta": []}
        for step in list(range(0, 20)) + [100, 1000, 5000]:
            pld.update_state(step)
            case["steps"].append(step)
            case["current_theta"].append(float(pld.get_theta()))
        yield case


def layout_case(name, kwargs, seq, seed):
    from deepspeed.ops.sparse_attention import sparsity_config as sc
    random.seed(seed)  # the random blocks come from Python's global generator
    layout = getattr(sc, name)(**kwargs).make_layout(seq)
    return {"layout": [["".join(str(int(x)) for x in row) for row in head] for head in layout]}


def layout_settings(ctx):
    b, seqs = 16, ctx.pick((64, 128, 208), (96, 160, 240))
    both = ("bidirectional", "unidirectional")
    for seq in seqs:
        yield "DenseSparsityConfig", dict(num_heads=2, block=b), seq
        for a, (local, glob), horizontal in itertools.product(both, ((4, 1), (4, 2), (2, 1), (3, 3)), (False, True)):
            yield "FixedSparsityConfig", dict(num_heads=2, block=b, num_local_blocks=local, num_global_blocks=glob, attention=a,
                                              horizontal_global_attention=horizontal), seq
        yield "FixedSparsityConfig", dict(num_heads=4, block=b, different_layout_per_head=True, num_local_blocks=4,
                                          num_global_blocks=1, num_different_global_patterns=4), seq
        for a, windows, (start, end), horizontal in itertools.product(both, ([4], [1, 2], [2, 3, 1]),
                                                                      (([0], None), ([0, 3], None), ([1], [3])), (False, True)):
            yield "VariableSparsityConfig", dict(num_heads=1, block=b, local_window_blocks=windows, global_block_indices=start,
                                                 global_block_end_indices=end, attention=a,
                                                 horizontal_global_attention=horizontal), seq
        for a, window, glob, rnd in itertools.product(both, (1, 3, 5), (1, 2), (0, 1)):
            yield "BigBirdSparsityConfig", dict(num_heads=1, block=b, num_random_blocks=rnd, num_sliding_window_blocks=window,
                                                num_global_blocks=glob, attention=a), seq
        for a, window, (start, end) in itertools.product(both, (1, 3), (([0], None), ([0, 2], None), ([0, 2], [1, 4]))):
            yield "BSLongformerSparsityConfig", dict(num_heads=1, block=b, num_sliding_window_blocks=window,
                                                     global_block_indices=start, global_block_end_indices=end,
                                                     attention=a), seq
        for a, window in itertools.product(both, (1, 3, 5)):
            yield "LocalSlidingWindowSparsityConfig", dict(num_heads=1, block=b, num_sliding_window_blocks=window,
                                                           attention=a), seq
    yield "FixedSparsityConfig", dict(num_heads=1, block=16, num_local_blocks=4, num_global_blocks=3), 64
    yield "FixedSparsityConfig", dict(num_heads=1, block=16, num_local_blocks=4, num_different_global_patterns=2), 64
    yield "FixedSparsityConfig", dict(num_heads=4, block=16, different_layout_per_head=True, num_local_blocks=4,
                                      num_global_blocks=2, num_different_global_patterns=3), 64
    yield "FixedSparsityConfig", dict(num_heads=1, block=16, attention="sideways"), 64
    yield "FixedSparsityConfig", dict(num_heads=1, block=16, attention="unidirectional",
                                      horizontal_global_attention=True), 64
    yield "DenseSparsityConfig", dict(num_heads=1, block=16), 65
    yield "BigBirdSparsityConfig", dict(num_heads=1, block=16, num_random_blocks=9), 64
    yield "BigBirdSparsityConfig", dict(num_heads=1, block=16, num_sliding_window_blocks=9), 64
    yield "VariableSparsityConfig", dict(num_heads=1, block=16, global_block_indices=[0, 1], global_block_end_indices=[2]), 64
    yield "VariableSparsityConfig", dict(num_heads=1, block=16, global_block_indices=[2], global_block_end_indices=[1]), 64
    yield "BSLongformerSparsityConfig", dict(num_heads=1, block=16, global_block_indices=[0, 9]), 64


@table("sparse_layouts", "legacy")
def sparse_layouts(ctx):
    for i, (name, kwargs, seq) in enumerate(layout_settings(ctx)):
        case = {"id": f"{name[:-14]}-{i}", "class": name, "config": kwargs, "seq_len": seq}
        got = attempt(layout_case, name, kwargs, seq, 7)
        if not is_error(got) and kwargs.get("num_random_blocks"):
            case["random"] = "blocks drawn by Python random.sample after random.seed(7)"
        yield {**case, **got}
