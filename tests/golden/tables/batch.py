"""How batch, micro batch and accumulation make one another."""
import itertools

import deepspeed

from .frame import attempt, table, world_of


def resolve_batch(config, world):
    with world_of(world):
        cfg = deepspeed.DeepSpeedConfig(dict(config))
    return {"resolved": [cfg.train_batch_size, cfg.train_micro_batch_size_per_gpu, cfg.gradient_accumulation_steps]}


BATCH_KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


@table("batch_triangle", "current")
def batch_triangle(ctx):
    grid = ctx.pick(([None, 4, 8, 24, 33], [None, 1, 2, 3, 8], [None, 1, 2, 3]),
                    ([None, 6, 16, 48, 35], [None, 1, 4, 5, 6], [None, 1, 2, 4]))
    rows = list(itertools.product(*grid))
    odd = [(0, None, None), (-8, None, None), (8, 0, None), (8, -1, None), (8, None, 0), (None, 0, None),
           (None, 2, 0), (None, None, -1), (8.0, None, None), (8.5, None, None), ("8", None, None),
           (None, "auto", None), (None, 2.0, None), (True, None, None), (8, "2", None), (None, 2, True),
           (7, 7, None), (1, 2, None)]
    for world in (1, 2, 3, 4, 8):
        for values in rows + (odd if world in (1, 4) else []):
            config = {k: x for k, x in zip(BATCH_KEYS, values) if x is not None}
            answer = attempt(resolve_batch, config, world)
            yield {"id": f"w{world}-" + "-".join(map(repr, values)), "world": world, "config": config, **answer}
    for world, sp in ((4, 2), (8, 2), (8, 4), (4, 3), (2, 4)):
        for values in ((None, 2, None), (8, None, None), (None, 2, 3), (16, 2, None)):
            config = {k: x for k, x in zip(BATCH_KEYS, values) if x is not None}
            config["sequence_parallel_size"] = sp
            yield {"id": f"w{world}-sp{sp}-{values}", "world": world, "config": config,
                   **attempt(resolve_batch, config, world)}
