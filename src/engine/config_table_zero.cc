// zero_optimization and what it offloads. deepspeed/runtime/zero/config.py, offload_config.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr std::string_view kPlace = "weights are gathered in place, without a bucket";
constexpr std::string_view kUnits =
    "weights and gradients travel by unit, whole: name the units "
    "(ds_param_desc.unit) to choose their size";
constexpr std::string_view kRaw = "weights and gradients travel as they are; bf16 halves them";
constexpr std::string_view kMemory =
    "state stays in memory in this release; stage 3 leaves the least "
    "of it on a rank";
// What a rank has is in the memory of its CPU with and without them.
constexpr std::string_view kInMemory = R"(["none","cpu"])";
constexpr std::string_view kNoModules = "there are no torch modules";

constexpr ConfigKey kZero[] = {
    {"stage", kInt, "0", "[0,3]",
     "what is sharded over the ranks: 1 optimizer state, 2 gradients too, 3 weights too",
     kHonoured},
    {"overlap_comm", kBool, "null", "",
     "gathers and reductions run beside the caller; null: at stage 3", kHonoured},
    {"reduce_bucket_size", kInt, "500000000", "[1,)",
     "elements that are reduced together, where the caller names no units", kHonoured},
    {"ignore_unused_parameters", kBool, "true", "", "false: a gradient that never came is an error",
     kHonoured},
    {"stage3_prefetch_bucket_size", kInt, "50000000", "[0,)",
     "elements that are gathered ahead of their use", kHonoured},
    OtherName("prefetch_bucket_size", "stage3_prefetch_bucket_size"),
    {"stage3_max_live_parameters", kInt, "1000000000", "[0,)",
     "gathered elements that are kept for reuse", kHonoured},
    OtherName("max_live_parameters", "stage3_max_live_parameters"),
    {"contiguous_gradients", kBool, "true", "", "copy gradients to one buffer as they come",
     Refused("gradients of a unit are always contiguous")},
    {"reduce_scatter", kBool, "true", "", "reduce-scatter instead of all-reduce",
     Refused("sharded gradients are always reduce-scattered")},
    {"allgather_partitions", kBool, "true", "", "all-gather instead of broadcasts",
     Refused("sharded weights are always all-gathered")},
    {"allgather_bucket_size", kInt, "500000000", "[0,)", "elements gathered at once (stage 1, 2)",
     Idle(kPlace)},
    {"use_multi_rank_bucket_allreduce", kBool, "true", "", "one bucket for several ranks",
     Refused(kUnits)},
    {"round_robin_gradients", kBool, "false", "", "spread the parts of a parameter over the ranks",
     Refused("every unit is cut into equal shards, so no rank copies more than another")},
    {"sub_group_size", kInt, "1000000000", "[0,)", "elements that are updated at once (stage 3)",
     Idle("the update is made in place, and needs no memory of its own")},
    {"stage3_param_persistence_threshold", kInt, "100000", "[0,)",
     "parameters below this size are never sharded", Refused(kUnits, "[0]")},
    OtherName("param_persistence_threshold", "stage3_param_persistence_threshold"),
    {"stage3_model_persistence_threshold", kInt, "9223372036854775807", "[0,)",
     "most elements that are never sharded", Idle("no parameter is kept unsharded")},
    OtherName("model_persistence_threshold", "stage3_model_persistence_threshold"),
    {"stage3_max_reuse_distance", kInt, "1000000000", "[0,)",
     "elements between two uses up to which a copy is kept",
     Refused("a copy is kept while stage3_max_live_parameters allows it")},
    OtherName("max_reuse_distance", "stage3_max_reuse_distance"),
    {"stage3_gather_16bit_weights_on_model_save", kBool, "false", "",
     "save whole weights, not shards",
     Idle("ds_param_read() and dspeed train --save give whole weights at every stage")},
    OtherName("gather_16bit_weights_on_model_save", "stage3_gather_16bit_weights_on_model_save"),
    OtherName("stage3_gather_fp16_weights_on_model_save",
              "stage3_gather_16bit_weights_on_model_save"),
    {"stage3_module_granularity_threshold", kInt, "0", "[0,)",
     "modules below this size are fetched as one", Refused(kUnits)},
    OtherName("module_granularity_threshold", "stage3_module_granularity_threshold"),
    {"stage3_use_all_reduce_for_fetch_params", kBool, "false", "",
     "fetch by all-reduce instead of all-gather", Refused(kUnits)},
    OtherName("use_all_reduce_for_fetch_params", "stage3_use_all_reduce_for_fetch_params"),
    {"stage3_allgather_sequential", kBool, "false", "", "gather parameters one by one",
     Refused(kUnits)},
    OtherName("allgather_sequential", "stage3_allgather_sequential"),
    {"load_from_fp32_weights", kBool, "true", "", "a resume restores fp32 master weights",
     Refused("a resume restores the fp32 master weights")},
    {"elastic_checkpoint", kBool, "false", "", "checkpoints that load at another world size",
     Idle("the state of a run loads at every world size")},
    {"offload_param", kSection, "null", "", "where weights are kept while nobody uses them",
     kHonoured},
    {"offload_optimizer", kSection, "null", "", "where optimizer state is kept", kHonoured},
    {"cpu_offload", kBool, "null", "", "old spelling of offload_optimizer.device \"cpu\"",
     Refused("write offload_optimizer.device \"cpu\"", "[false]")},
    {"cpu_offload_param", kBool, "null", "", "old spelling of offload_param.device \"cpu\"",
     Refused("write offload_param.device \"cpu\"", "[false]")},
    {"cpu_offload_use_pin_memory", kBool, "null", "", "DeepSpeed ignores it",
     Idle("nothing is offloaded")},
    {"zenflow", kSection, "null", "", "update important gradients at once, the rest late",
     Refused(kMemory)},
    {"legacy_stage1", kBool, "false", "", "the first implementation of stage 1",
     Refused("DeepSpeed's engine refuses it too; there is one stage 1")},
    {"zero_hpz_partition_size", kInt, "1", "[0,)",
     "stage 3: weights are sharded over groups of so many ranks, the rest over all; 0, 1: over all",
     kHonoured},
    {"zero_quantized_weights", kBool, "false", "", "gather weights in 8 bits", Refused(kRaw)},
    {"zero_quantized_nontrainable_weights", kBool, "false", "", "gather frozen weights in 8 bits",
     Refused(kRaw)},
    {"zero_quantized_gradients", kBool, "false", "", "reduce gradients in 4 bits", Refused(kRaw)},
    {"zeropp_loco_param", kMap, "null", "", "error feedback of quantised gradients",
     Refused("DeepSpeed dropped it after 0.19.6; gradients travel as they are")},
    {"mics_shard_size", kInt, "-1", "[-1,)",
     "stage 3: everything is sharded over groups of so many ranks (MiCS); below 1: over all",
     kHonoured},
    {"mics_hierarchical_params_gather", kBool, "false", "", "gather in two levels (MiCS)",
     Refused("a group gathers in one step")},
    {"memory_efficient_linear", kBool, "true", "", "a linear layer that keeps less for backward",
     Idle("layers are the caller's")},
    {"pipeline_loading_checkpoint", kBool, "false", "", "read a checkpoint stage by stage",
     Refused("there is no pipeline parallelism here")},
    {"override_module_apply", kBool, "true", "", "gather weights inside Module.apply",
     Idle(kNoModules)},
    {"log_trace_cache_warnings", kBool, "false", "", "log when the recorded order is broken",
     Idle("a broken order costs time only, and is recorded anew")},
    {"enable_sanity_checks", kBool, "false", "", "compare the ranks",
     Idle("ranks are always compared when registration ends")},
    {"save_muon_momentum_buffer_in_memory", kBool, "false", "", "keep Muon's momentum unsharded",
     Refused("optimizer state is sharded as zero_optimization.stage says")},
    {"compute_grad_norm", kBool, "true", "", "false: no norm, and so no clipping",
     Refused("the norm is always computed, for the check of overflow")},
    {"parameter_alignment", kBool, "false", "", "parameters start on 16 bytes",
     Idle("the layout of the state is the library's own")},
    {"leaf_module", kSection, "null", "", "modules that are fetched whole", kHonoured},
};

constexpr ConfigKey kOffloadParam[] = {
    {"device", kChoice, "\"none\"", "none|cpu|nvme", "where weights wait; cpu: where they are",
     Refused(kMemory, kInMemory)},
    {"nvme_path", kText, "null", "", "folder on the disk"},
    {"buffer_count", kInt, "5", "[0,)", "buffers between disk and memory"},
    {"buffer_size", kInt, "100000000", "[0,)", "elements of a buffer"},
    {"max_in_cpu", kInt, "1000000000", "[0,)", "elements that stay in memory"},
    {"pin_memory", kBool, "true", "", "lock the pages of the buffers"},
};

constexpr ConfigKey kOffloadOptimizer[] = {
    {"device", kChoice, "\"none\"", "none|cpu|nvme",
     "where optimizer state is kept; cpu: where it is", Refused(kMemory, kInMemory)},
    {"nvme_path", kText, "null", "", "folder on the disk"},
    {"buffer_count", kInt, "4", "[0,)", "buffers between disk and memory"},
    {"pin_memory", kBool, "true", "", "lock the pages of the buffers"},
    {"pipeline_read", kBool, "false", "", "read the next part during an update"},
    {"pipeline_write", kBool, "false", "", "write the last part during an update"},
    {"fast_init", kBool, "false", "", "begin without copies"},
    {"ratio", kNumber, "1.0", "[0,1]", "part of the state that is offloaded"},
    {"super_offload", kBool, "false", "", "update on the CPU during backward"},
    {"cpuadam_cores_perc", kNumber, "0.8", "(0,1]", "part of the cores that update"},
};

constexpr ConfigKey kZenflow[] = {
    {"topk_ratio", kNumber, "0.1", "(0,1)", "part of the gradients that counts as important"},
    {"select_strategy", kChoice, "\"auto\"", "auto|step|epoch", "unit of the interval below"},
    {"select_interval", kAny, "\"auto\"", "", "how often they are chosen"},
    {"update_interval", kAny, "\"auto\"", "", "how often the rest is applied"},
    {"overlap_step", kBool, "false", "", "update the rest beside the next steps"},
    {"offload", kBool, "false", "", "keep what was chosen on the CPU"},
    {"auto_ratio", kNumber, "0.99", "(0,1)", "threshold of the automatic choice"},
    {"full_warm_up_rounds", kInt, "0", "[0,)", "steps before it begins"},
    {"pt_reserved_cores_perc", kNumber, "0.5", "(0,1]", "part of the cores left to torch"},
};

constexpr ConfigKey kLeaf[] = {
    {"classes", kList, "[]", "", "names of classes", Idle(kNoModules)},
    {"names", kList, "[]", "", "names of modules", Idle(kNoModules)},
    {"name_suffixes", kList, "[]", "", "ends of names of modules", Idle(kNoModules)},
};

constexpr std::string_view kDevice = "device";
constexpr ConfigSection kSections[] = {
    {.path = "zero_optimization", .keys = kZero, .lax = true},
    {.path = "zero_optimization.offload_param",
     .keys = kOffloadParam,
     .toggle = kDevice,
     .off = kInMemory,
     .lax = true},
    {.path = "zero_optimization.offload_optimizer",
     .keys = kOffloadOptimizer,
     .toggle = kDevice,
     .off = kInMemory,
     .lax = true},
    {.path = "zero_optimization.zenflow", .keys = kZenflow, .lax = true},
    {.path = "zero_optimization.leaf_module", .keys = kLeaf, .lax = true},
};

}  // namespace

std::span<const ConfigSection> ZeroSections() { return kSections; }

}  // namespace ds
