"""Batch sizes that many world sizes divide."""
import itertools
import os
from unittest import mock

import deepspeed

from .frame import attempt, plain, table


def elastic(config, world, micro):
    from deepspeed.elasticity import compute_elastic_config
    with mock.patch.dict(os.environ):
        os.environ.pop("WORLD_SIZE", None)
        out = compute_elastic_config(config, deepspeed.__version__, world_size=world, return_microbatch=micro)
    names = ("batch", "valid_gpus", "micro_batch")
    return dict(zip(names, plain(list(out))))


def elastic_configs(ctx):
    base = dict(enabled=True, max_train_batch_size=10000, micro_batch_sizes=[8, 12, 16, 17], min_gpus=32, max_gpus=1500,
                min_time=20, version=0.1)
    yield base
    for top, micros in ctx.pick([(32, [1, 2, 3, 7]), (100, [8, 10, 12]), (2000, [2, 4, 6]), (64, [64]), (16, [17]),
                                 (1, [1]), (10**6, [7, 11, 13]), (720720, [1]), (60, [4, 4, 6])],
                                [(48, [1, 5, 6]), (150, [9, 14, 15]), (3000, [2, 3, 8]), (128, [128]), (12, [13]),
                                 (250000, [6, 10])]):
        for larger in (True, False):
            yield {**base, "max_train_batch_size": top, "micro_batch_sizes": micros, "min_gpus": 1, "max_gpus": 10000,
                   "prefer_larger_batch": larger}
    for _ in range(ctx.pick(20, 30)):
        micros = sorted(ctx.rng.sample(range(1, 33), ctx.rng.randint(1, 4)))
        yield {**base, "max_train_batch_size": ctx.rng.randint(32, 4000), "micro_batch_sizes": micros,
               "min_gpus": ctx.rng.choice([1, 2, 4]), "max_gpus": ctx.rng.choice([8, 64, 1024]),
               "prefer_larger_batch": ctx.rng.random() < 0.5}


def elastic_bad(ctx):
    ok = dict(enabled=True, max_train_batch_size=100, micro_batch_sizes=[2, 4], min_gpus=1, max_gpus=8, version=0.1)
    drop = lambda *keys: {k: v for k, v in ok.items() if k not in keys}
    yield {}
    yield {"elasticity": {}}
    for change in (dict(enabled=False), dict(version=0.3), dict(version=0.15), dict(micro_batch_sizes=5),
                   dict(micro_batch_sizes=["a", None, 0.5]), dict(micro_batch_sizes=[2, -1]),
                   dict(micro_batch_sizes=[0]), dict(micro_batch_sizes=[]), dict(min_gpus=-1), dict(max_gpus=-1),
                   dict(min_gpus=9, max_gpus=8), dict(min_time=-1), dict(model_parallel_size=2),
                   dict(model_parallel_size=-1), dict(num_gpus_per_node=-1), dict(micro_batch_sizes=[101])):
        yield {"elasticity": {**ok, **change}}
    yield {"elasticity": drop("micro_batch_sizes")}
    yield {"elasticity": drop("max_train_batch_size")}
    yield {"elasticity": drop("version", "min_gpus", "max_gpus")}


@table("elasticity", "legacy")
def elasticity(ctx):
    for i, e in enumerate(elastic_configs(ctx)):
        got = attempt(elastic, {"elasticity": e}, 0, False)
        yield {"id": f"v1-{i}", "elasticity": e, "world": 0, **got}
        valid = got.get("valid_gpus") or []
        worlds = sorted({valid[0], valid[len(valid) // 2], valid[-1], valid[-1] + 1}) if valid else [1]
        for w in worlds:
            yield {"id": f"v1-{i}-w{w}", "elasticity": e, "world": w, **attempt(elastic, {"elasticity": e}, w, True)}
    for i, (e, per_node, mp, w) in enumerate(itertools.product(
            list(elastic_configs(ctx))[:ctx.pick(6, 5)], (1, 8), (1, 4), (1, 8, 16, 24, 64))):
        e = {**e, "version": 0.2, "num_gpus_per_node": per_node, "model_parallel_size": mp,
             "min_gpus": 1, "max_gpus": 1024}
        yield {"id": f"v2-{i}", "elasticity": e, "world": w, **attempt(elastic, {"elasticity": e}, w, True)}
    for i, config in enumerate(elastic_bad(ctx)):
        for w in (0, 4):
            yield {"id": f"bad-{i}-w{w}", "config": config, "world": w, **attempt(elastic, config, w, False)}
    yield {"id": "v2-no-world", "elasticity": {**next(elastic_configs(ctx)), "version": 0.2}, "world": 0,
           **attempt(elastic, {"elasticity": {**next(elastic_configs(ctx)), "version": 0.2}}, 0, False)}
