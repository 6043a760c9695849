#!/usr/bin/env python3
"""The library's side of compare_torch_speed.py, through ctypes: a GPT-2 and its training step, or
what follows backward alone. A process like compare_torch_model.py, asked and answered alike.
"""
import array
import ctypes
import json
import math
import sys
import time

F32, BF16 = 1, 2


class Struct(ctypes.Structure):
    """One of the API's: struct_size comes first, and what is not named is 0."""

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


def struct(name, /, **fields):
    return type(name, (Struct,), {"_fields_": [("struct_size", ctypes.c_size_t), *fields.items()]})


INT32, INT64, DOUBLE = ctypes.c_int32, ctypes.c_int64, ctypes.c_double
TEXT, ADDRESS = ctypes.c_char_p, ctypes.c_void_p
EngineOptions = struct("EngineOptions", config_json=TEXT, comm=ADDRESS)
ModelOptions = struct("ModelOptions", seed=ctypes.c_uint64, cache_tokens=INT64, recompute=INT32,
                      lora_rank=INT64, lora_alpha=DOUBLE, lora_targets=TEXT, base=TEXT,
                      lora_dropout=DOUBLE, lora_embeddings=INT32, vocab=INT64)
TokenBatch = struct("TokenBatch", batch=INT64, tokens=INT64, ids=ADDRESS, targets=ADDRESS,
                    first_keys=ADDRESS, first_sequence=INT64)
Loss = struct("Loss", sum=DOUBLE, mean=DOUBLE, tokens=INT64)
StepInfo = struct("StepInfo", applied=INT32, skipped=INT32, step=INT64, grad_norm=DOUBLE, lr=DOUBLE,
                  clip_factor=DOUBLE, loss_scale=DOUBLE)
ParamDesc = struct("ParamDesc", name=TEXT, shape=ADDRESS, ndim=INT32, no_decay=INT32, init=ADDRESS,
                   unit=TEXT, frozen=INT32, group=INT32, auxiliary=INT32, experts=TEXT)


class Tensor(ctypes.Structure):
    _fields_ = [("data", ADDRESS), ("shape", ADDRESS), ("numel", INT64), ("dtype", INT32),
                ("ndim", INT32)]


class GradView(ctypes.Structure):
    _fields_ = [("grad", Tensor), ("accumulate", INT32)]


class Library:
    def __init__(self, path):
        self.loaded = ctypes.CDLL(path)
        self.loaded.ds_error_peek_message.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        if getattr(self.loaded, name)(*arguments) != 0:
            sys.exit(f"{name}: {self.loaded.ds_error_peek_message().decode()}")

    def engine(self, asked):
        config = {"train_micro_batch_size_per_gpu": asked.get("batch", 1), "gradient_clipping": 1.0,
                  "bf16": {"enabled": asked["dtype"] == "bf16"},
                  "optimizer": {"type": "AdamW", "params": {"lr": asked["lr"],
                                                            "betas": asked["betas"],
                                                            "weight_decay": 0.1}}}
        options = EngineOptions(config_json=json.dumps(config).encode())
        handle = ADDRESS()
        self.call("ds_engine_create", ctypes.byref(options), ctypes.byref(handle))
        return handle


class Training:
    """Steps of a GPT-2: `steps` of them give the seconds of each and the last loss."""

    def __init__(self, library, asked):
        self.library, self.engine, self.model = library, library.engine(asked), ADDRESS()
        library.call("ds_model_load", self.engine, asked["folder"].encode(), None,
                     ctypes.byref(self.model))
        self.arrays = [array.array("i", asked[name]) for name in ("ids", "targets")]
        ids, targets = (values.buffer_info()[0] for values in self.arrays)
        self.batch = TokenBatch(batch=asked["batch"], tokens=asked["tokens"], ids=ids,
                                targets=targets)

    def answer(self, steps):
        loss, seconds = Loss(), []
        for _ in range(steps):
            start = time.perf_counter()
            self.library.call("ds_model_forward_backward", self.model, ctypes.byref(self.batch),
                              DOUBLE(0), ctypes.byref(loss))
            self.library.call("ds_engine_step", self.engine, None)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "value": loss.mean}


class Phase:
    """What follows backward, on gradients that are there: norm, clipping, AdamW, and bf16 weights
    where the engine is of bf16. The next gradient overwrites this one, so there are no zeros."""

    def __init__(self, library, asked):
        self.library, self.params, self.info = library, [], StepInfo()
        self.engine = library.engine(asked)
        largest = max(math.prod(shape) for shape in asked["shapes"])
        pattern = array.array("f", asked["pattern"])
        weights = pattern * -(-largest // len(pattern))
        self.grads = weights
        if asked["dtype"] == "bf16":  # the upper halves; the pattern has no more than that
            halves = array.array("H", pattern.tobytes())[1::2]
            self.grads = halves * -(-largest // len(pattern))
        for number, shape in enumerate(asked["shapes"]):
            param = ADDRESS()
            extents = (INT64 * len(shape))(*shape)
            desc = ParamDesc(name=f"p{number}".encode(), ndim=len(shape), no_decay=len(shape) < 2,
                             shape=ctypes.cast(extents, ADDRESS), init=weights.buffer_info()[0])
            library.call("ds_param_register", self.engine, ctypes.byref(desc), ctypes.byref(param))
            self.params.append((param, math.prod(shape) * self.grads.itemsize))

    def answer(self, steps):
        seconds = []
        for _ in range(steps):
            for param, size in self.params:
                view = GradView()
                self.library.call("ds_param_begin_grad", param, ctypes.byref(view))
                ctypes.memmove(view.grad.data, self.grads.buffer_info()[0], size)
                self.library.call("ds_param_end_grad", param)
            start = time.perf_counter()
            self.library.call("ds_engine_step", self.engine, ctypes.byref(self.info))
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "value": self.info.grad_norm}


class Folder:
    """A model of random weights, written for both sides to read."""

    def __init__(self, library, asked):
        engine, model = library.engine(asked), ADDRESS()
        options = ModelOptions(seed=1)
        library.call("ds_model_create", engine, json.dumps(asked["config"]).encode(),
                     ctypes.byref(options), ctypes.byref(model))
        library.call("ds_model_save", model, asked["folder"].encode())


def main():
    asked = json.loads(sys.stdin.readline())
    library = Library(asked["library"])
    side = {"train": Training, "phase": Phase, "folder": Folder}[asked["kind"]](library, asked)
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        print(json.dumps(side.answer(int(line))), flush=True)


if __name__ == "__main__":
    main()
