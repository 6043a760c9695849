"""What needs two ranks: jobs of two processes, and the 1-bit optimizers."""
import math
import os
import socket
import subprocess
import sys
import types
from unittest import mock

from deepspeed import comm as dist
import numpy as np
import torch

from .frame import Ctx, write_table

MAKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "make_golden.py")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def in_two_ranks(job, out, seed, variant, legacy=None):
    """Runs this script twice as the ranks of one gloo job; answers whether both ended well."""
    env = dict(os.environ, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port())
    if legacy:
        env["PYTHONPATH"] = legacy
    command = [sys.executable, MAKER, "--job", job, "--out", out, "--seed", str(seed),
               "--variant", str(variant)]
    ranks = [subprocess.Popen(command, env=dict(env, RANK=str(r), LOCAL_RANK=str(r)), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE if r == 0 else subprocess.DEVNULL) for r in range(2)]
    errors = ranks[0].communicate(timeout=900)[1]
    if ranks[0].returncode:
        ranks[1].kill()
    codes = [r.wait(timeout=60) for r in ranks]
    if any(codes):
        print(f"{job}: ranks ended with {codes}\n{errors.decode()[-2500:]}", flush=True)
    return not any(codes)


class Packer:
    """Stands in for the bit packing op, which is not built for the CPU: 8 signs a byte, first in the high bit."""

    @staticmethod
    def packbits(tensor, size, rank):
        return torch.from_numpy(np.packbits((tensor.reshape(-1) >= 0).numpy()))

    @staticmethod
    def unpackbits(tensor, size, rank):
        return torch.from_numpy(np.unpackbits(tensor.numpy())).float().mul_(2).sub_(1)


def lenient_all_gather(tensor_list, tensor, group=None, async_op=False):
    """gloo insists on equal shapes, and the backend sends a scalar for a list of one."""
    return torch.distributed.all_gather(tensor_list, tensor.reshape(tensor_list[0].shape), group=group)


def compressed_backend():
    from deepspeed.runtime.comm.compressed import CompressedBackend
    dist.all_gather = lenient_all_gather
    backend = CompressedBackend.__new__(CompressedBackend)
    backend.world_group = dist.new_group(ranks=range(dist.get_world_size()))
    backend.size, backend.rank, backend.packer = dist.get_world_size(), dist.get_rank(), Packer
    return backend


def gathered(value):
    """The value of every rank, in rank order."""
    box = [None] * dist.get_world_size()
    torch.distributed.all_gather_object(box, value)
    return box


def job_onebit(out, seed, variant):
    """Repeated compressed all-reduce with error feedback; written by rank 0."""
    backend, cases = compressed_backend(), []
    for n, rounds in Ctx(seed, variant, "onebit").pick([(16, 4), (64, 3), (23, 3), (1, 2), (130, 2)], [(32, 4), (41, 3), (7, 2)]):
        world = backend.size
        unit = world * (world * 8 // math.gcd(world, 8))
        padded = -(-n // unit) * unit if n % unit else n
        ctx = Ctx(seed, variant, f"onebit{n}")
        every = [[ctx.normal(n) for _ in range(world)] for _ in range(rounds)]
        werr, serr = torch.zeros(padded), torch.zeros(padded // world)
        case = {"id": f"allreduce-{n}", "kind": "compressed_allreduce", "ranks": world, "size": n, "padded": padded,
                "rounds": []}
        for inputs in every:
            buf = inputs[backend.rank].clone()
            result = backend.compressed_allreduce(buf, werr, serr, 0)
            result = buf if result is None else result
            case["rounds"].append({"inputs": inputs, "result": result.clone(), "worker_error": gathered(werr.clone()),
                                   "server_error": gathered(serr.clone())})
        cases.append(case)
    cases += onebit_adam(seed, variant, backend)
    if dist.get_rank() == 0:
        write_table(os.path.join(out, "onebit.json"), "onebit", cases, seed, variant,
                    "arithmetic of DeepSpeed 0.19.6; the bit packing op is replaced, see README")


def onebit_adam(seed, variant, backend):
    """OnebitAdam over two ranks, through its warm-up into the compressed stage."""
    from deepspeed.runtime.fp16.onebit.adam import OnebitAdam
    cases = []
    for freeze, wd, n in Ctx(seed, variant, "onebit-adam").pick([(3, 0.0, 16), (3, 0.01, 23), (6, 0.01, 40)], [(4, 0.02, 32)]):
        ctx = Ctx(seed, variant, f"onebit-adam{n}")
        p0 = ctx.normal(n)
        grads = [[ctx.normal(n) for _ in range(backend.size)] for _ in range(8)]
        param = torch.nn.Parameter(p0.clone())
        engine = types.SimpleNamespace(enable_backward_allreduce=True, pipeline_parallelism=False, mpu=None,
                                       local_rank=backend.rank)
        from deepspeed.runtime.comm import compressed
        with mock.patch.object(compressed, "PackbitsBuilder", lambda: types.SimpleNamespace(load=lambda: Packer)):
            opt = OnebitAdam([param], deepspeed=engine, lr=0.01, freeze_step=freeze, weight_decay=wd,
                             comm_backend_name="compressed")
        seen = []
        for per_rank in grads:
            mean = torch.stack(per_rank).mean(0)
            param.grad = (mean if engine.enable_backward_allreduce else per_rank[backend.rank]).clone()
            opt.step()
            s = opt.state[param]
            seen.append({"engine_allreduce": engine.enable_backward_allreduce, "p": param.detach().clone(),
                         "exp_avg": s["exp_avg"].clone(), "exp_avg_sq": s["exp_avg_sq"].clone()})
        cases.append({"id": f"onebit-adam-{freeze}-{wd}-{n}", "kind": "onebit_adam", "ranks": backend.size, "size": n,
                      "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": wd, "freeze_step": freeze, "p0": p0,
                      "grads": grads, "after_step": seen})
    return cases
