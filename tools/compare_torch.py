#!/usr/bin/env python3
"""Steps ds_optim and torch.optim side by side: compare_torch.py LIBRARY

The same start and gradients for both, 50 updates of a 48 x 32 matrix, fp32. Prints the largest
difference of any weight after the last one, beside the distance that torch moved and the limit,
and fails above it.
"""
import ctypes
import json
import sys
import warnings

warnings.filterwarnings("ignore", message=".*NumPy")  # torch looks for it; nothing here needs it
import torch

STEPS, SHAPE = 50, (48, 32)


class Options(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("config_json", ctypes.c_char_p),
                ("threads", ctypes.c_int32)]


class Span(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("params", ctypes.c_void_p),
                ("grads", ctypes.c_void_p), ("states", ctypes.POINTER(ctypes.c_void_p)),
                ("numel", ctypes.c_int64), ("grad_dtype", ctypes.c_int32),
                ("no_decay", ctypes.c_int32), ("bf16_params", ctypes.c_void_p),
                ("rows", ctypes.c_int64), ("columns", ctypes.c_int64)]


class Optimizer:
    """ds_optim on one torch tensor."""

    def __init__(self, library, config, param, is_matrix):
        self.library, self.param, self.is_matrix = library, param, is_matrix
        self.handle = ctypes.c_void_p()
        options = Options(ctypes.sizeof(Options), json.dumps(config).encode(), 0)
        self.check(library.ds_optim_create(ctypes.byref(options), ctypes.byref(self.handle)))
        count = ctypes.c_int32()
        self.check(library.ds_optim_get_state_count(self.handle, is_matrix, ctypes.byref(count)))
        self.states = [torch.zeros_like(param) for _ in range(count.value)]

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.library.ds_error_peek_message().decode())

    def step(self, grad, step, lr):
        states = (ctypes.c_void_p * 2)(*[state.data_ptr() for state in self.states])
        rows, columns = self.param.shape if self.is_matrix else (0, 0)
        span = Span(ctypes.sizeof(Span), self.param.data_ptr(), grad.data_ptr(), states,
                    self.param.numel(), {torch.float32: 1, torch.bfloat16: 2}[grad.dtype], 0, None,
                    rows, columns)
        self.check(self.library.ds_optim_step(self.handle, ctypes.byref(span),
                                              ctypes.c_int64(step), ctypes.c_double(lr),
                                              ctypes.c_double(1.0)))


# Name, torch's class, arguments of both, ours alone, limit. Where nothing else is said the limit is
# 50 updates of half a unit of 4 each (1.2e-7): both round, differently.
ROUNDING = STEPS * 1.2e-7
CASES = [
    ("Adam", "Adam", dict(lr=1e-2), dict(adam_w_mode=False), ROUNDING),
    ("Adam, L2", "Adam", dict(lr=1e-2, weight_decay=0.1), dict(adam_w_mode=False), ROUNDING),
    ("AdamW", "AdamW", dict(lr=1e-2, weight_decay=0.1), {}, ROUNDING),
    ("AdamW, betas 0.8 0.95", "AdamW", dict(lr=1e-2, betas=(0.8, 0.95), weight_decay=0.01), {},
     ROUNDING),
    ("Adagrad", "Adagrad", dict(lr=1e-1, eps=1e-10), {}, ROUNDING),
    ("Adagrad, L2, lr_decay", "Adagrad", dict(lr=1e-1, lr_decay=0.1, weight_decay=0.1), {},
     ROUNDING),
    ("SGD", "SGD", dict(lr=1e-2, weight_decay=0.1), {}, ROUNDING),
    ("SGD, momentum", "SGD", dict(lr=1e-2, momentum=0.9, dampening=0.5), {}, ROUNDING),
    ("SGD, Nesterov", "SGD", dict(lr=1e-2, momentum=0.9, nesterov=True, weight_decay=0.1), {},
     ROUNDING),
    # torch iterates in bf16, here it is fp32; every update may lie 0.12 lr apart, the signs mixed.
    ("Muon", "Muon", dict(lr=1e-2, weight_decay=0.1, momentum=0.95), {}, 0.12 * 1e-2 * STEPS / 2),
]


def run(library, case, dtype):
    name, torch_name, both, ours, limit = case
    if not hasattr(torch.optim, torch_name):
        return None
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(SHAPE, generator=generator)
    reference = torch.nn.Parameter(start.clone())
    param = start.clone()
    torch_optimizer = getattr(torch.optim, torch_name)([reference], **both)
    params = {key: list(value) if isinstance(value, tuple) else value
              for key, value in both.items()}
    is_matrix = int(torch_name == "Muon")
    optimizer = Optimizer(library, {"type": torch_name, "params": {**params, **ours}}, param,
                          is_matrix)
    for step in range(1, STEPS + 1):
        grad = torch.randn(SHAPE, generator=generator).to(dtype)
        reference.grad = grad.float()
        torch_optimizer.step()
        optimizer.step(grad, step, both["lr"])
    library.ds_optim_destroy(optimizer.handle)
    moved = (reference.detach() - start).abs().max().item()
    return (param - reference.detach()).abs().max().item(), moved, limit


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.ds_error_peek_message.restype = ctypes.c_char_p
    library.ds_optim_destroy.argtypes = [ctypes.c_void_p]
    failed = 0
    print(f"torch {torch.__version__}, {STEPS} updates of {SHAPE[0]} x {SHAPE[1]}")
    print(f"{'rule':<24}{'gradients':<11}{'max difference':<16}{'moved':<9}{'limit':<10}")
    for case in CASES:
        for dtype, label in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
            result = run(library, case, dtype)
            if result is None:
                print(f"{case[0]:<24}{label:<11}this torch does not have it")
                continue
            difference, moved, limit = result
            good = difference <= limit
            failed += not good
            print(f"{case[0]:<24}{label:<11}{difference:<16.2g}{moved:<9.2g}{limit:<10.2g}"
                  f"{'' if good else 'TOO FAR'}")
    print("Lion and LAMB are not in torch.optim: see tests/unit/optim")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
