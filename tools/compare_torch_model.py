#!/usr/bin/env python3
"""A GPT-2 in PyTorch and its training step, for compare_torch_speed.py, which runs this file as a
process: a line of JSON says what to build, and each further line asks for steps and is answered.

As fast as PyTorch goes without code of one's own: scaled_dot_product_attention, fused AdamW,
clipping of all gradients at once, and torch.compile where it is asked for.
"""
import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")  # torch looks for numpy and NUMA; nothing here needs them
import torch
import torch.nn.functional as F


class Block(torch.nn.Module):
    def __init__(self, width, heads, bias):
        super().__init__()
        linear = lambda inputs, outputs: torch.nn.Linear(inputs, outputs, bias=bias)
        self.heads = heads
        self.ln_1, self.ln_2 = (torch.nn.LayerNorm(width, bias=bias) for _ in range(2))
        self.attn = torch.nn.ModuleDict({"c_attn": linear(width, 3 * width),
                                         "c_proj": linear(width, width)})
        self.mlp = torch.nn.ModuleDict({"c_fc": linear(width, 4 * width),
                                        "c_proj": linear(4 * width, width)})

    def forward(self, x):
        batch, tokens, width = x.shape
        split = lambda part: part.view(batch, tokens, self.heads, -1).transpose(1, 2)
        query, key, value = map(split, self.attn["c_attn"](self.ln_1(x)).split(width, dim=2))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attn["c_proj"](mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class Gpt2(torch.nn.Module):
    """Parameters have the names of a Hugging Face folder, without "transformer."."""

    def __init__(self, vocab, context, layers, heads, width, bias=True):
        super().__init__()
        self.wte = torch.nn.Embedding(vocab, width)
        self.wpe = torch.nn.Embedding(context, width)
        self.h = torch.nn.ModuleList(Block(width, heads, bias) for _ in range(layers))
        self.ln_f = torch.nn.LayerNorm(width, bias=bias)
        for name, param in self.named_parameters():
            if param.dim() == 2:
                deep = (2 * layers) ** -0.5 if name.endswith("c_proj.weight") else 1.0
                torch.nn.init.normal_(param, std=0.02 * deep)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(param)

    def forward(self, ids, targets):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def load(model, folder):
    """The weights of model.safetensors; matrices of products lie transposed there."""
    params = dict(model.named_parameters())
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            values = torch.frombuffer(bytearray(file.read(end - begin)), dtype=torch.float32)
            values = values.view(entry["shape"])
            param = params.pop(name.removeprefix("transformer."))
            transposed = "h." in name and len(entry["shape"]) == 2
            param.data.copy_(values.t() if transposed else values)
    if params:
        sys.exit(f"{folder}: no {', '.join(params)}")


def adamw(params, asked):
    """Fused, and decay for matrices alone."""
    params = list(params)
    groups = [{"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=asked["lr"], betas=tuple(asked["betas"]), fused=True)


class Training:
    """Steps of a GPT-2: `steps` of them give the seconds of each and the last loss."""

    def __init__(self, asked):
        self.model = Gpt2(**asked["model"])
        if asked.get("folder"):
            load(self.model, asked["folder"])
        if asked["dtype"] == "bf16 weights":
            self.model.bfloat16()
        self.autocast = asked["dtype"] == "bf16"
        self.forward = torch.compile(self.model) if asked["compile"] else self.model
        self.optimizer = adamw(self.model.parameters(), asked)
        self.count, self.asked = 0, asked
        shape = asked["batch"], asked["tokens"]
        if "text" in asked:  # as nanoGPT: windows of a text, from anywhere
            self.text = torch.tensor(asked["text"])
            torch.manual_seed(1)
        else:
            self.ids = torch.tensor(asked["ids"]).view(shape)
            self.targets = torch.tensor(asked["targets"]).view(shape)

    def draw(self):
        if "text" not in self.asked:
            return self.ids, self.targets
        tokens = self.asked["tokens"]
        starts = torch.randint(len(self.text) - tokens, (self.asked["batch"],)).tolist()
        return (torch.stack([self.text[i:i + tokens] for i in starts]),
                torch.stack([self.text[i + 1:i + 1 + tokens] for i in starts]))

    def step(self):
        if "warmup" in self.asked:  # what the schedule costs; its rates do not matter here
            for group in self.optimizer.param_groups:
                group["lr"] = self.asked["lr"] * min(1.0, self.count / self.asked["warmup"])
        self.count += 1
        ids, targets = self.draw()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = self.forward(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def answer(self, steps):
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            loss = self.step()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "value": loss.item()}


class Phase:
    """What follows backward, on gradients that are there: norm, clipping, AdamW, a bf16 copy of the
    weights where it is asked for, and zeros in the gradients."""

    def __init__(self, asked):
        pattern = torch.tensor(asked["pattern"])
        repeated = lambda shape: pattern.repeat(
            -(-torch.Size(shape).numel() // len(pattern)))[:torch.Size(shape).numel()].view(shape)
        self.params = [torch.nn.Parameter(repeated(shape).clone()) for shape in asked["shapes"]]
        self.grads = [repeated(shape).clone() for shape in asked["shapes"]]
        self.copies = [p.detach().bfloat16() for p in self.params] if asked["bf16"] else None
        self.to_none = asked["to_none"]
        self.optimizer = adamw(self.params, asked)

    def answer(self, steps):
        seconds = []
        for _ in range(steps):
            for param, grad in zip(self.params, self.grads):
                if param.grad is None:
                    param.grad = grad.clone()
                else:
                    param.grad.copy_(grad)
            start = time.perf_counter()
            norm = torch.nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
            self.optimizer.step()
            if self.copies:
                torch._foreach_copy_(self.copies, [param.detach() for param in self.params])
            self.optimizer.zero_grad(set_to_none=self.to_none)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "value": norm.item()}


def main():
    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    side = {"train": Training, "phase": Phase}[asked["kind"]](asked)
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(side.answer(int(line))), flush=True)


if __name__ == "__main__":
    main()
