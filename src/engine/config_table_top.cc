// Keys of the top level. Defaults and meanings: deepspeed/runtime/config.py, constants.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr std::string_view kClock =
    "nothing is printed in the midst of a step; dspeed train --log gives the time of every step "
    "and of "
    "its phases, --trace what each rank does when";

constexpr ConfigKey kTop[] = {
    {"train_batch_size", kInt, "null", "[1,)",
     "samples per optimizer step, over all ranks and micro-batches", kHonoured},
    {"train_micro_batch_size_per_gpu", kInt, "null", "[1,)", "samples per rank and micro-batch",
     kHonoured},
    {"gradient_accumulation_steps", kInt, "null", "[1,)", "micro-batches per optimizer step",
     kHonoured},
    {"gradient_clipping", kNumber, "1.0", "[0,)",
     "largest norm of all gradients together; 0 leaves them as they are", kHonoured},
    {"steps_per_print", kInt, "null", "[0,)",
     "a line in the log every so many steps; 0 or null: none", kHonoured},
    {"optimizer", kSection, "null", "", "the update rule", kHonoured},
    {"scheduler", kSection, "null", "", "the learning rate over time; null: constant", kHonoured},
    {"bf16", kSection, "null", "", "training in bfloat16 with fp32 master weights", kHonoured},
    OtherName("bfloat16", "bf16"),
    {"zero_optimization", kSection, "null", "",
     "what is sharded over the ranks; true and false are stage 1 and 0", kHonoured},
    {"allgather_size", kInt, "500000000", "[0,)",
     "allgather_bucket_size beside the old zero_optimization: true",
     Idle("weights are gathered in place, without a bucket")},
    {"fp16", kSection, "null", "", "training in fp16 with a loss scale"},
    {"amp", kSection, "null", "", "mixed precision by Apex"},
    {"torch_autocast", kSection, "null", "", "mixed precision by torch.autocast"},
    {"data_types", kSection, "null", "", "dtypes beside that of the weights", kHonoured},
    {"managed_gradient_accumulation", kBool, "true", "",
     "the engine counts the micro-batches; false: every step updates",
     Refused("the engine counts the micro-batches; set gradient_accumulation_steps to 1 for an "
             "update at every step")},
    {"prescale_gradients", kBool, "false", "", "divide gradients before they are summed",
     Refused("gradients are divided once, after the sum over the ranks")},
    {"gradient_predivide_factor", kNumber, "1.0", "",
     "part of the division that is done before the sum",
     Refused("gradients are divided once, after the sum over the ranks")},
    {"gradient_allreduce_op", kWord, "\"mean\"", "mean|sum",
     "what becomes of the gradients of the ranks",
     Refused("gradients are averaged; multiply the learning rate by the number of ranks, or the "
             "loss before the backward pass")},
    {"communication_data_type", kWord, "null", "fp16|bf16|fp32",
     "dtype in which gradients travel; null: the training dtype",
     Refused("gradients travel in the training dtype; see bf16")},
    {"seq_parallel_communication_data_type", kWord, "\"fp32\"", "fp16|bf16|fp32",
     "dtype of the reduction over sequence-parallel ranks",
     Refused("there is no sequence parallelism here", "[null]")},
    {"sequence_parallel_size", kInt, "1", "[1,)", "ranks that share one sequence",
     Refused("there is no sequence parallelism here; every rank is a data-parallel one")},
    {"disable_allgather", kBool, "false", "", "broadcast updated weights instead of gathering",
     Idle("DeepSpeed reads it and does not use it")},
    {"zero_allow_untested_optimizer", kBool, "false", "",
     "let ZeRO wrap an optimizer it does not know",
     Idle("every optimizer here is tested with every stage")},
    {"zero_force_ds_cpu_optimizer", kBool, "true", "",
     "insist on DeepSpeed's own optimizer when it is offloaded",
     Idle("the optimizer is always the library's")},
    {"dump_state", kBool, "false", "", "print the engine's state when it is created",
     Refused("ask for it: ds_engine_get_config() or dspeed config")},
    {"wall_clock_breakdown", kBool, "false", "", "log the time of forward, backward and step",
     Refused(kClock)},
    {"memory_breakdown", kBool, "false", "", "log memory at every stage of a step",
     Refused("ask for it: ds_engine_get_memory()")},
    {"flops_profiler", kSection, "null", "", "counts operations of the model"},
    {"autotuning", kSection, "null", "", "searches the fastest config"},
    {"comms_logger", kSection, "null", "", "logs every collective"},
    {"tensorboard", kSection, "null", "", "training curves for TensorBoard", kHonoured},
    {"csv_monitor", kSection, "null", "", "training curves as CSV files", kHonoured},
    {"wandb", kSection, "null", "", "training curves for Weights & Biases"},
    {"comet", kSection, "null", "", "training curves for Comet"},
    {"timers", kSection, "null", "", "how throughput is measured", kHonoured},
    {"activation_checkpointing", kSection, "null", "",
     "recomputing activations instead of keeping them", kHonoured},
    {"aio", kSection, "null", "", "reading and writing offloaded state", kHonoured},
    {"checkpoint", kSection, "null", "", "how checkpoints are written and read", kHonoured},
    {"checkpoint_tag_validation", kAny, "null", "", "an old place of checkpoint.tag_validation",
     Refused("write checkpoint.tag_validation")},
    {"datastates_ckpt", kAny, "null", "", "checkpoints by DataStates-LLM",
     Refused("there is no such engine here; checkpoints are the library's own", "[false]")},
    {"data_efficiency", kSection, "null", "",
     "curriculum learning and random layer-token dropping"},
    {"pipeline", kSection, "null", "", "pipeline parallelism"},
    {"tensor_parallel", kSection, "null", "", "tensor parallelism"},
    {"expert_parallel", kSection, "null", "", "expert parallelism"},
    {"hybrid_engine", kSection, "null", "", "generation with the weights in training"},
    {"compile", kSection, "null", "", "DeepCompile"},
    {"weight_quantization", kSection, "null", "", "quantised weights for inference", kHonoured},
    {"use_data_before_expert_parallelism", kBool, "false", "", "order of ranks with experts",
     Refused("there is no expert parallelism here; every rank is a data-parallel one")},
    {"vocabulary_size", kInt, "null", "[1,)", "DeepSpeed warns unless it is a multiple of 8",
     Idle("the library does not see the vocabulary")},
    {"dataloader_drop_last", kBool, "false", "", "drop the last batch when it is not full",
     Idle("the caller feeds the batches")},
    {"log_level", kText, "null", "", "level of the log",
     Refused("set it in the log sink: ds_log_set_sink()")},
    {"disable_python_gc", kBool, "false", "", "run Python's collector at steps only",
     Idle("there is no Python inside")},
    {"sparse_gradients", kBool, "false", "", "reduce embedding gradients as rows",
     Refused("DeepSpeed dropped it after 0.19.6; gradients are reduced dense", "[null]")},
    {"graph_harvesting", kBool, "false", "", "CUDA graph around the update",
     Refused("DeepSpeed dropped it after 0.19.6; the update is one kernel a shard", "[null]")},
    {"elasticity", kSection, "null", "", "batch sizes that fit many numbers of ranks"},
    {"compression_training", kSection, "null", "", "quantisation and pruning while training",
     kHonoured},
    {"quantize_training", kSection, "null", "", "mixture of quantisation (MoQ)"},
    {"eigenvalue", kSection, "null", "", "eigenvalues of the layers, for MoQ"},
    {"sparse_attention", kSection, "null", "", "block-sparse attention",
     Refused("DeepSpeed dropped it after 0.19.6; attention belongs to the model", "[{}]")},
    {"progressive_layer_drop", kSection, "null", "", "skipping layers more often as training goes"},
    {"curriculum_learning", kSection, "null", "", "sequence length that grows (the old place)"},
    {"nebula", kSection, "null", "", "checkpoints by Azure Nebula"},
};

constexpr ConfigSection kSections[] = {{.path = "", .keys = kTop}};

}  // namespace

std::span<const ConfigSection> TopSections() { return kSections; }

}  // namespace ds
