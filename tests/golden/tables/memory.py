"""Memory estimates of the stages."""
import itertools

from .frame import table


@table("memory_estimates", "current")
def memory_estimates(ctx):
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as zero2
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as zero3
    sizes = ctx.pick([(1, 1), (1000, 1000), (124439808, 38597376), (1e9, 1e8), (2851e6, 32e6), (7 * 10**9 + 3, 131072000),
                      (175 * 10**9, 1812 * 10**6)],
                     [(17, 5), (355 * 10**6 + 7, 51 * 10**6), (13 * 10**9 + 1, 163840001)])
    for (total, layer), gpus, nodes, factor in itertools.product(sizes, ctx.pick((1, 3, 8), (2, 7)),
                                                                 ctx.pick((1, 4), (1, 3)), (1.5, 1.0)):
        base = {"params": total, "gpus_per_node": gpus, "nodes": nodes, "buffer_factor": factor}
        for off in (True, False):
            cpu, gpu = zero2(total, gpus, nodes, off, factor)
            yield {"id": f"z2-{total}-{gpus}-{nodes}-{factor}-{off:d}", "stage": 2, **base, "cpu_offload": off,
                   "cpu_bytes": cpu, "gpu_bytes": gpu}
        for off, offp, init in itertools.product((True, False), repeat=3):
            cpu, gpu, largest = zero3(total, layer, gpus, nodes, off, offp, init, factor)
            yield {"id": f"z3-{total}-{gpus}-{nodes}-{factor}-{off:d}{offp:d}{init:d}", "stage": 3, **base,
                   "largest_layer": layer, "cpu_offload": off, "cpu_offload_params": offp, "zero_init": init,
                   "cpu_bytes": cpu, "gpu_bytes": gpu, "largest_layer_bytes": largest}
