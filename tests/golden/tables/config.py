"""What the config reader accepts, refuses and makes of it."""
import base64
import json
import os
import tempfile

import deepspeed

from .frame import attempt, is_error, plain, table, world_of


def look_up(cfg, path):
    value = cfg
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def decide(config, path, world, raw=None):
    """How DeepSpeedConfig decides: the value at `path` of the parsed config, or the error."""
    def parse():
        with world_of(world):
            cfg = deepspeed.DeepSpeedConfig(raw if raw is not None else json.loads(json.dumps(config)))
        return cfg
    got = attempt(parse)
    if is_error(got):
        return {"error": got["error"]}
    value = attempt(look_up, got, path)
    return value if is_error(value) else {"value": value}


def config_scalars(v):
    """(key, values, where the parsed value is found)"""
    yield "steps_per_print", v([10, 0, None], [7]), "steps_per_print"
    yield "gradient_clipping", v([0.0, 1.0, -1.0, "auto"], [0.25, 3]), "gradient_clipping"
    yield "prescale_gradients", [True], "prescale_gradients"
    yield "gradient_predivide_factor", v([2.0, 0], [8.0]), "gradient_predivide_factor"
    yield "gradient_allreduce_op", v(["mean", "SUM", "avg", None, 3], ["sum", "Mean", "max"]), "gradient_allreduce_op"
    yield "managed_gradient_accumulation", [False], "managed_gradient_accumulation"
    yield "communication_data_type", v(["fp16", "FP32", "bf16", "int8"], ["Bf16", "half"]), "communication_data_type"
    yield "seq_parallel_communication_data_type", v(["bf16", "x"], ["FP16"]), "seq_parallel_communication_data_type"
    yield "zero_allow_untested_optimizer", [True], "zero_allow_untested_optimizer"
    yield "zero_force_ds_cpu_optimizer", [False], "zero_force_ds_cpu_optimizer"
    yield "wall_clock_breakdown", [True], "wall_clock_breakdown"
    yield "memory_breakdown", [True], "memory_breakdown"
    yield "dump_state", [True], "dump_state"
    yield "dataloader_drop_last", [True], "dataloader_drop_last"
    yield "use_data_before_expert_parallelism", [True], "use_data_before_expert_parallel_"
    yield "use_data_before_expert_parallel", [True], "use_data_before_expert_parallel_"
    yield "log_level", v(["info", 3], ["debug"]), "log_level"
    yield "disable_allgather", [True], "disable_allgather"
    yield "vocabulary_size", v([50257, 64], [32001]), "train_batch_size"
    yield "no_such_top_level_key", [1], "train_batch_size"
    for old in ("amp", "nebula", "compression_training", "quantize_training", "eigenvalue", "sparse_attention", "elasticity",
                "curriculum_learning", "progressive_layer_drop"):
        yield old, [{"enabled": False}], "train_batch_size"
    yield "sparse_gradients", [False], "train_batch_size"
    yield "graph_harvesting", [False], "train_batch_size"


def config_sections(v):
    """(section, body, where the parsed value is found)"""
    z = "zero_config."
    yield "zero_optimization", {"stage": v(2, 1)}, z + "stage"
    for bad in v([4, -1, "2", 1.5, None], [5, "three"]):
        yield "zero_optimization", {"stage": bad}, z + "stage"
    for old in (True, False):
        yield "zero_optimization", old, z + "stage"
    yield "zero_optimization", {}, z + "stage"
    yield "zero_optimization", {"stage": 2, "grad_hooks": True}, z + "stage"
    yield "zero_optimization", {"stage": 1, "legacy_stage1": True}, z + "stage"
    for stage in (0, 1, 2, 3):
        yield "zero_optimization", {"stage": stage}, z + "overlap_comm"
    yield "zero_optimization", {"stage": 3, "overlap_comm": False}, z + "overlap_comm"
    for key, value, at in v([("reduce_bucket_size", 5e8, "reduce_bucket_size"), ("reduce_bucket_size", 5.5, "reduce_bucket_size"),
                             ("reduce_bucket_size", -1, "reduce_bucket_size"), ("reduce_bucket_size", "auto", "reduce_bucket_size"),
                             ("allgather_bucket_size", 7, "allgather_bucket_size"), ("reduce_scatter", "yes", "reduce_scatter"),
                             ("reduce_scatter", "maybe", "reduce_scatter"), ("sub_group_size", 1e9, "sub_group_size"),
                             ("round_robin_gradients", 1, "round_robin_gradients"),
                             ("zero_hpz_partition_size", 0, "zero_hpz_partition_size"),
                             ("zero_hpz_partition_size", -1, "zero_hpz_partition_size")],
                            [("reduce_bucket_size", 1e6, "reduce_bucket_size"), ("allgather_bucket_size", "auto",
                                                                                   "allgather_bucket_size"),
                             ("sub_group_size", -5, "sub_group_size"), ("contiguous_gradients", "off", "contiguous_gradients")]):
        yield "zero_optimization", {"stage": 2, key: value}, z + at
    for alias, name, value in v([("stage3_prefetch_bucket_size", "prefetch_bucket_size", 1000),
                                 ("prefetch_bucket_size", "prefetch_bucket_size", 1000),
                                 ("stage3_param_persistence_threshold", "param_persistence_threshold", "auto"),
                                 ("stage3_max_live_parameters", "max_live_parameters", 1e9),
                                 ("stage3_max_reuse_distance", "max_reuse_distance", 3),
                                 ("stage3_gather_16bit_weights_on_model_save", "gather_16bit_weights_on_model_save", True),
                                 ("stage3_gather_fp16_weights_on_model_save", "gather_16bit_weights_on_model_save", True)],
                                [("param_persistence_threshold", "param_persistence_threshold", 64),
                                 ("stage3_module_granularity_threshold", "module_granularity_threshold", 9)]):
        yield "zero_optimization", {"stage": 3, alias: value}, z + name
    yield "zero_optimization", {"stage": 2, "cpu_offload": True}, z + "offload_optimizer"
    yield "zero_optimization", {"stage": 2, "cpu_offload": False}, z + "offload_optimizer"
    yield "zero_optimization", {"stage": 3, "cpu_offload_param": True}, z + "offload_param"
    yield "zero_optimization", {"stage": 2, "cpu_offload": True, "offload_optimizer": {"device": "cpu"}}, z + "offload_optimizer"
    yield "zero_optimization", {"stage": 3, "cpu_offload_param": True, "offload_param": {"device": "cpu"}}, z + "offload_param"
    yield "zero_optimization", {"stage": 3, "cpu_offload_use_pin_memory": True}, z + "stage"
    for body in v([{}, {"device": "cpu"}, {"device": "nvme"}, {"device": "nvme", "nvme_path": "swap_here"}, {"device": "gpu"},
                   {"device": None}, {"ratio": 0.5}, {"ratio": 1.5}, {"ratio": -0.1}, {"buffer_count": -1},
                   {"device": "cpu", "unknown": 1}, {"pipeline_read": True}, {"pipeline_read": True, "pipeline_write": True}],
                  [{"device": "cpu", "ratio": 0.25}, {"ratio": 2}, {"buffer_count": 0}, {"super_offload": True}]):
        yield "zero_optimization", {"stage": 3, "offload_optimizer": body}, z + "offload_optimizer"
    for body in v([{}, {"device": "cpu", "pin_memory": False}, {"max_in_cpu": 5, "buffer_size": 1e8}, {"buffer_size": -2},
                   {"ratio": 0.5}], [{"device": "nvme"}, {"buffer_count": 9}]):
        yield "zero_optimization", {"stage": 3, "offload_param": body}, z + "offload_param"
    yield "zero_optimization", {"stage": 2, "zenflow": {"topk_ratio": v(0.2, 0.05)}}, z + "zenflow"
    yield "zero_optimization", {"stage": 2, "zenflow": {"topk_ratio": 1.5}}, z + "zenflow"
    yield "zero_optimization", {"stage": 2, "zenflow": {"select_strategy": "epochs"}}, z + "zenflow"
    yield "zero_optimization", {"stage": 3, "mics_shard_size": 2}, z + "stage"
    yield "zero_optimization", {"stage": 3, "zeropp_loco_param": {"err_beta": 0.8}}, z + "stage"
    for body in v([{"enabled": True}, {"enabled": True, "loss_scale": 128}, {"enabled": True, "loss_scale": -1},
                   {"enabled": True, "loss_scale": True}, {"enabled": True, "loss_scale": float("inf")},
                   {"enabled": "auto"}, {"enabled": True, "loss_scale_window": 0}, {"enabled": True, "min_loss_scale": 0},
                   {"enabled": True, "initial_scale_power": 32}, {"enabled": True, "initial_scale_power": -1},
                   {"enabled": True, "hysteresis": 0}, {"enabled": True, "fp16_opt_level": "O2"},
                   {"enabled": True, "fp16_master_weights_and_grads": True}],
                  [{"enabled": True, "loss_scale": 0.5}, {"enabled": True, "loss_scale_window": -4},
                   {"enabled": True, "consecutive_hysteresis": True}, {"enabled": True, "min_loss_scale": "auto"}]):
        yield "fp16", body, "float16_config"
    for body in v([{"enabled": True}, {"enabled": True, "immediate_grad_update": True}, {"enabled": True, "check_overflow": True},
                   {"enabled": True, "check_grad_overflow": False}, {"enabled": True, "bf16_master_weights_and_grads": True},
                   {"enabled": True, "bf16_optimizer_states": True}], [{"enabled": "auto"}, {"enabled": 1}]):
        yield "bf16", body, "bfloat16_config"
    yield "bfloat16", {"enabled": True}, "bfloat16_config.enabled"
    for body in v([{"type": "Adam", "params": {"lr": 0.1}}, {"type": "ADAMW"}, {"type": "SGD"}, {"type": "sgd"}, {"type": "muon"},
                   {"type": "OneBitAdam"}, {"params": {"lr": 1}}, {}], [{"type": "Lion"}, {"type": "ZeroOneAdam"}, {"type": "RAdam"}]):
        yield "optimizer", body, "optimizer_name"
    yield "optimizer", {"type": "Adam", "params": {"max_grad_norm": 1.0}}, "optimizer_params"
    yield "optimizer", {"type": "Adam", "legacy_fusion": True}, "optimizer_legacy_fusion"
    for body in v([{"type": "WarmupLR", "params": {"warmup_num_steps": 5}}, {"type": "NoSuch"}, {}], [{"type": "OneCycle"}]):
        yield "scheduler", body, "scheduler_name"
    for mode in v(["Warn", "ignore", "FAIL", "never"], ["fail", "off"]):
        yield "checkpoint", {"tag_validation": mode}, "checkpoint_tag_validation_fail"
    yield "checkpoint", {"tag_validation": "ignore"}, "checkpoint_tag_validation_enabled"
    yield "checkpoint", {"load_universal": True}, "load_universal_checkpoint"
    yield "checkpoint", {"parallel_write": {"pipeline_stage": True}}, "checkpoint_parallel_write_pipeline"
    yield "checkpoint", {"parallel_write": {"pipeline_stage": "x"}}, "checkpoint_parallel_write_pipeline"
    yield "checkpoint", {"writer": {"type": "fast"}}, "checkpoint_config"
    yield "checkpoint", {"writer": {"type": "slow"}}, "checkpoint_config"
    yield "checkpoint", {"checkpoint_serialization": False}, "checkpoint_config"
    yield "data_types", {"grad_accum_dtype": v("fp32", "bf16")}, "grad_accum_dtype"
    yield "data_types", {"grad_accum_dtype": "nonsense"}, "grad_accum_dtype"
    yield "data_types", {"param_dtype": "bf16", "buffer_dtype": "fp32"}, "param_dtype"
    yield "data_types", {"keep_in_fp32_modules": ["norm"]}, "keep_in_fp32_modules"
    yield "data_types", {"keep_in_fp32_modules": "norm"}, "keep_in_fp32_modules"
    for body in v([{}, {"block_size": 4096, "thread_count": 3}, {"queue_depth": 0}, {"use_gds": True}], [{"single_submit": True}]):
        yield "aio", body, "aio_config"
    for body in v([{}, {"partition_activations": True, "unknown": 1}, {"number_checkpoints": 4}], [{"cpu_checkpointing": True}]):
        yield "activation_checkpointing", body, "activation_checkpointing_config.__dict__"
    for body in v([{"enabled": True}, {"enabled": True, "typo": 1}, {"prof_ops": ["all_reduce"]}], [{"verbose": True}]):
        yield "comms_logger", body, "comms_config.__dict__"
    for name in ("tensorboard", "wandb", "csv_monitor", "comet"):
        yield name, {"enabled": False, "typo": 1}, "monitor_config." + name
    yield "csv_monitor", {"enabled": False, "output_path": "logs", "job_name": v("a", "b")}, "monitor_config.csv_monitor"
    yield "flops_profiler", {"enabled": True, "module_depth": v(2, 3), "typo": 1}, "flops_profiler_config.__dict__"
    yield "flops_profiler", {"enabled": True}, "wall_clock_breakdown"
    for body in v([{"enabled": True, "max_out_tokens": 0}, {"inference_tp_size": 2}, {"typo": 1}], [{"max_out_tokens": 7}]):
        yield "hybrid_engine", body, "hybrid_engine"
    yield "pipeline", {"stages": v(4, 3), "typo": 1}, "pipeline"
    for body in v([{"deepcompile": True}, {"typo": 1}, {"passes": ["z1"]}], [{"double_buffer": False}]):
        yield "compile", body, "compile_config"
    yield "timers", {"throughput": {"enabled": False}}, "timers_config"
    yield "timers", {"throughput": {"typo": 1}}, "timers_config"
    for body in v([{"autotp_size": 2}, {"typo": 1}, {"tp": {"tp_size": 2}}], [{"autotp_size": 4}]):
        yield "tensor_parallel", body, "tensor_parallel_config.autotp_size"
    for body in v([{"enabled": True, "autoep_size": 2}, {"enabled": True, "autoep_size": 0}, {"typo": 1}, {"load_balance_coeff": 0.1}],
                  [{"enabled": True, "autoep_size": 4}]):
        yield "expert_parallel", body, "expert_parallel_config.__dict__"
    for body in v([{"enabled": True, "dtype": "bfloat16"}, {"enabled": True, "dtype": "int4"}, {"enabled": True,
                                                                                              "lower_precision_safe_modules": [1]}],
                  [{"enabled": True, "dtype": "fp16"}]):
        yield "torch_autocast", body, "torch_autocast_dtype"
    yield "data_efficiency", {"enabled": True}, "data_efficiency_config"
    yield "data_efficiency", {"enabled": True, "data_routing": {"enabled": True, "random_ltd": {"enabled": True}}}, "data_efficiency_config"
    yield "autotuning", {"enabled": False, "metric": v("latency", "flops")}, "autotuning_config.metric"
    yield "weight_quantization", {"num_bits": 4}, "weight_quantization_config"
    yield "weight_quantization", {"typo": 4}, "weight_quantization_config"
    yield "datastates_ckpt", {}, "datastates_config.__dict__"


def config_contradictions(v):
    """Whole configs, each with two keys which do not go together (or just do)."""
    yield {"fp16": {"enabled": True}, "bf16": {"enabled": True}}, "train_batch_size"
    yield {"fp16": {"enabled": False}, "bf16": {"enabled": True}}, "bfloat16_config.enabled"
    yield {"bf16": {"enabled": False}, "bfloat16": {"enabled": True}}, "bfloat16_config.enabled"
    for stage in (2, 3):
        yield {"gradient_allreduce_op": "sum", "zero_optimization": {"stage": stage}}, "gradient_allreduce_op"
    yield {"gradient_allreduce_op": "sum", "zero_optimization": {"stage": 2, "zenflow": {}}}, "gradient_allreduce_op"
    yield {"gradient_allreduce_op": "sum", "compile": {"deepcompile": True}}, "gradient_allreduce_op"
    for stage in (0, 2):
        yield {"fp16": {"enabled": True, "fp16_master_weights_and_grads": True},
               "zero_optimization": {"stage": stage}}, "float16_config.fp16_master_weights_and_grads"
        yield {"bf16": {"enabled": True, "bf16_master_weights_and_grads": True},
               "zero_optimization": {"stage": stage}}, "bfloat16_config.bf16_master_weights_and_grads"
    yield {"bf16": {"enabled": True, "bf16_optimizer_states": True}, "zero_optimization": {"stage": 2}}, "bfloat16_config"
    yield {"bf16": {"enabled": True, "bf16_optimizer_states": True, "bf16_master_weights_and_grads": True},
           "zero_optimization": {"stage": 2}}, "bfloat16_config.bf16_optimizer_states"
    yield {"zero_optimization": {"stage": 1, "offload_param": {"device": "cpu"}}}, "zero_config.offload_param"
    yield {"zero_optimization": {"stage": 0, "offload_optimizer": {"device": "cpu"}}}, "zero_config.offload_optimizer"
    yield {"zero_optimization": {"stage": 2, "prefetch_bucket_size": 1, "stage3_prefetch_bucket_size": 2}}, "zero_config.prefetch_bucket_size"
    yield {"zero_optimization": {"stage": 3, "elastic_checkpoint": True}}, "zero_config.elastic_checkpoint"
    yield {"zero_optimization": {"stage": 3, "zero_quantized_weights": True}, "torch_autocast": {"enabled": True}}, "zero_config.stage"
    yield {"zero_optimization": {"stage": 2, "reduce_scatter": True}, "prescale_gradients": True}, "prescale_gradients"
    yield {"scheduler": {"type": "WarmupLR"}, "optimizer": {"type": "Adam", "params": {}}}, "scheduler_params"
    yield {"zero_optimization": {"stage": 2, "compute_grad_norm": False}}, "gradient_clipping"
    yield {"zero_optimization": {"stage": v(3, 0), "compute_grad_norm": False}}, "zero_config.compute_grad_norm"
    yield {"zero_optimization": {"stage": v(2, 1), "parameter_alignment": True}}, "zero_config.parameter_alignment"
    yield {"disable_python_gc": True}, "disable_python_gc"
    yield {"zero_optimization": {"stage": 2, "compute_grad_norm": False}, "gradient_clipping": 0.0}, "zero_config.compute_grad_norm"
    yield {"zero_optimization": {"allgather_size": v(3000, 4000)}}, "zero_config.allgather_bucket_size"
    yield {"zero_optimization": True, "allgather_size": v(3000, 4000)}, "zero_config.allgather_bucket_size"


def config_texts():
    """Configs given as text: HJSON in a file, base64, duplicate keys, a missing file."""
    text = '{\n  # a comment\n  train_batch_size: 8,\n  "steps_per_print": 3,\n}'
    twice = '{"train_batch_size": 8, "train_batch_size": 16, "steps_per_print": 3}'
    deep = '{"train_batch_size": 8, "steps_per_print": 3, "zero_optimization": {"stage": 1, "stage": 2}}'
    for label, body in (("hjson", text), ("duplicate", twice), ("duplicate-nested", deep), ("broken", "{train"), ("list", "[1]")):
        yield f"file-{label}", body, "file"
        yield f"base64-{label}", body, "base64"
    yield "path-missing", "no_such_file.json", "path"


def text_source(body, how, folder):
    if how == "path":
        return body
    if how == "base64":
        return base64.urlsafe_b64encode(body.encode()).decode()
    path = os.path.join(folder, "c.json")
    with open(path, "w") as out:
        out.write(body)
    return path


@table("config_cases", "current")
def config_cases(ctx):
    base, seen = {"train_batch_size": 8}, {}
    cases = [({key: value}, path) for key, values, path in config_scalars(ctx.pick) for value in values]
    cases += [({name: body}, path) for name, body, path in config_sections(ctx.pick)]
    cases += list(config_contradictions(ctx.pick))
    cases += [({"sequence_parallel_size": 2}, "train_micro_batch_size_per_gpu"), ({}, "gradient_clipping"),
              ({}, "steps_per_print"), ({}, "float16_config"), ({}, "bfloat16_config"), ({}, "zero_config")]
    for body, path in cases:
        config = {**base, **body}
        name = "+".join(body) or "default"
        seen[name] = seen.get(name, 0) + 1
        answers = {w: decide(config, path, w) for w in (1, 4)}
        case = {"id": f"{name}-{seen[name]}", "config": config, "at": path, "world1": answers[1]}
        yield {**case, "world4": "same" if plain(answers[1]) == plain(answers[4]) else answers[4]}
    with tempfile.TemporaryDirectory() as folder:
        for name, body, how in config_texts():
            got = decide(None, "steps_per_print", 1, raw=text_source(body, how, folder))
            if "error" in got:
                got["error"]["message"] = got["error"]["message"].replace(folder, "FOLDER")
            yield {"id": name, "text": body, "given_as": how, "at": "steps_per_print", "world1": got}
