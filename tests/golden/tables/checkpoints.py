"""Checkpoint folders of a tiny model."""
import itertools
import json
import os
import shutil
import subprocess
import sys

import deepspeed
from deepspeed import comm as dist
import torch

from .frame import Ctx, f32, plain
from .two_ranks import gathered, in_two_ranks, job_onebit


class TinyModel(torch.nn.Module):
    """Odd sizes, so that partitions need padding; one frozen and one shared weight."""

    def __init__(self, ctx):
        super().__init__()
        wide = ctx.pick(11, 13)
        self.embed = torch.nn.Linear(6, wide)
        self.norm = torch.nn.LayerNorm(wide)
        self.hidden = torch.nn.Linear(wide, wide, bias=False)
        self.head = torch.nn.Linear(wide, 3)
        self.register_buffer("offset", ctx.normal(3))
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(ctx.normal(*p.shape, scale=0.3))
        self.norm.bias.requires_grad_(False)

    def forward(self, x):
        h = torch.tanh(self.norm(self.embed(x)))
        return self.head(torch.tanh(self.hidden(h))) + self.offset


def write_safetensors(path, tensors):
    """The safetensors container: length of the header, JSON header, the raw data."""
    header, blobs, at = {}, [], 0
    for name in sorted(tensors):
        t = tensors[name].detach().to(torch.float32).contiguous()
        raw = t.numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        blobs.append(raw)
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def train_and_save(ctx, stage, precision, aligned, folder):
    """Three steps over two ranks; rank 0 also writes what a reader must recover."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
    model = TinyModel(ctx)
    config = {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 1, "steps_per_print": 1000,
              "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
              "optimizer": {"type": "AdamW", "params": {"lr": ctx.pick(0.01, 0.02), "betas": [0.9, 0.999], "eps": 1e-8,
                                                        "weight_decay": 0.01, "torch_adam": True}},
              "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10, "warmup_max_lr": 0.01}},
              "gradient_clipping": 1.0}
    if aligned:
        config["zero_optimization"]["parameter_alignment"] = True
    if precision == "bf16":
        config["bf16"] = {"enabled": True}
    engine, *_ = deepspeed.initialize(model=model, config=config,
                                      model_parameters=[p for p in model.parameters() if p.requires_grad])
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    batches = [[(ctx.normal(4, 6), ctx.normal(4, 3)) for _ in range(2)] for _ in range(3)]
    losses, norms = [], []
    for batch in batches:
        x, y = batch[dist.get_rank()]
        loss = ((engine(x.to(dtype)).float() - y)**2).mean()
        engine.backward(loss)
        engine.step()
        losses.append(gathered(float(loss)))
        norms.append(float(engine.get_global_grad_norm()))
    engine.save_checkpoint(folder, tag="step3", client_state={"note": "libdeepspeed golden"})
    expected, moments = {}, {}
    for name, p in engine.module.named_parameters():
        if p.requires_grad:
            expected[name] = safe_get_full_fp32_param(p).clone()
            for key in ("exp_avg", "exp_avg_sq"):
                moments[f"{name}/{key}"] = safe_get_full_optimizer_state(p, key).clone()
    if dist.get_rank() == 0:
        write_safetensors(os.path.join(folder, "expected_fp32.safetensors"), expected)
        write_safetensors(os.path.join(folder, "expected_adam.safetensors"), moments)
    facts = {"stage": stage, "precision": precision, "ranks": 2, "steps": 3, "tag": "step3", "config": config,
             "batches": plain([[[list(x.shape), f32(x), f32(y)] for x, y in b] for b in batches]), "loss": losses,
             "grad_norm": norms, "parameters": {n: list(t.shape) for n, t in expected.items()}}
    return engine, facts


def job_checkpoints(out, seed, variant):
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    kinds = list(itertools.product((1, 2, 3), ("bf16", "fp32"), (False, ))) + [(2, "bf16", True), (1, "fp32", True)]
    for stage, precision, aligned in kinds:
        folder = os.path.join(out, "checkpoints", f"zero{stage}_{precision}" + ("_aligned" if aligned else ""))
        os.makedirs(folder, exist_ok=True)
        engine, facts = train_and_save(Ctx(seed, variant, "checkpoints"), stage, precision, aligned, folder)
        dist.barrier()
        if dist.get_rank() == 0:
            merged = get_fp32_state_dict_from_zero_checkpoint(folder, tag="step3")
            write_safetensors(os.path.join(folder, "zero_to_fp32.safetensors"), {k: v for k, v in merged.items()})
            facts["consolidated"] = {k: list(v.shape) for k, v in merged.items()}
            with open(os.path.join(folder, "facts.json"), "w") as f:
                f.write("{" + ",\n".join(f"{json.dumps(k)}:{json.dumps(plain(v), separators=(',', ':'))}"
                                         for k, v in facts.items()) + "}\n")
            for name in ("zero_to_fp32.py", "zero_to_torch.py"):
                if os.path.exists(os.path.join(folder, name)):
                    os.remove(os.path.join(folder, name))
        dist.barrier()
        engine.destroy()


def convert_universal(out, stage, precision):
    """DeepSpeed's own converter, on the folder of one checkpoint."""
    source = os.path.join(out, "checkpoints", f"zero{stage}_{precision}", "step3")
    target = os.path.join(out, "checkpoints", f"universal_from_zero{stage}_{precision}")
    shutil.rmtree(target, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", source,
                           "--output_folder", os.path.join(target, "step3"), "--num_extract_workers", "1",
                           "--num_merge_workers", "1", "--inject_missing_state"], capture_output=True, text=True)
    print(f"universal from zero{stage}_{precision}: exit {done.returncode}"
          + ("" if done.returncode == 0 else "\n" + done.stderr[-1500:]), flush=True)


def write_checkpoints(out, seed, variant):
    shutil.rmtree(os.path.join(out, "checkpoints"), ignore_errors=True)
    if in_two_ranks("checkpoints", out, seed, variant):
        convert_universal(out, 1, "fp32")
        convert_universal(out, 2, "bf16")
        convert_universal(out, 3, "fp32")


JOBS = {"onebit": job_onebit, "checkpoints": job_checkpoints}
