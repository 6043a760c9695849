#include "engine/config_keys.h"

#include <algorithm>
#include <numeric>

namespace ds {
namespace {

constexpr std::string_view kZero = "zero_optimization";
constexpr std::string_view kOnlyTwoTypes = "training is in fp32 or bf16 in this release";
constexpr std::string_view kNoOffload = "state stays in memory in this release";
constexpr std::string_view kNoMonitor = "training is logged by the caller (dspeed train --log)";
constexpr std::string_view kNoProfiler = "there is no profiler in this release";
constexpr std::string_view kNoCompression = "there is no compression in this release";
constexpr std::string_view kDropped = "DeepSpeed dropped it after 0.19.6, and it is not here yet";
constexpr std::string_view kUnits = "weights and gradients travel by unit, whole";
constexpr std::string_view kOff = "[false, null]";
constexpr std::string_view kSectionOff = R"([{}, null, {"enabled": false}])";

// Defaults and meanings: deepspeed/runtime/config.py, runtime/zero/config.py of 0.19.8.
constexpr ConfigKey kKeys[] = {
    {"", "train_batch_size", "", ""},
    {"", "train_micro_batch_size_per_gpu", "", ""},
    {"", "gradient_accumulation_steps", "", ""},
    {"", "gradient_clipping", "", ""},
    {"", "steps_per_print", "", ""},
    {"", "optimizer", "", ""},
    {"", "scheduler", "", ""},
    {"", "bf16", "", ""},
    {"", "bfloat16", "", ""},
    {"", "zero_optimization", "", ""},
    {"", "fp16", kOnlyTwoTypes, kSectionOff},
    {"", "amp", kDropped, kSectionOff},
    {"", "torch_autocast", "the weights have one dtype; see bf16", kSectionOff},
    {"", "data_types", "gradients are kept in the training dtype in this release",
     R"([{}, {"grad_accum_dtype": null}])"},
    {"", "managed_gradient_accumulation", "the library counts the micro-batches", "[true]"},
    {"", "prescale_gradients", "gradients are summed in fp32 and scaled once, after the sum",
     "[false]"},
    {"", "gradient_predivide_factor", "gradients are summed in fp32 and scaled once", "[1, 1.0]"},
    {"", "gradient_allreduce_op", "gradients are averaged over the ranks", R"(["mean"])"},
    {"", "sparse_gradients", kDropped, kOff},
    {"", "communication_data_type", "gradients travel in the training dtype", "[null]"},
    {"", "seq_parallel_communication_data_type", "there is no sequence parallelism yet",
     R"([null, "fp32"])"},
    {"", "sequence_parallel_size", "there is no sequence parallelism in this release", "[1]"},
    {"", "disable_allgather", "weights are gathered where they are sharded", "[false]"},
    {"", "zero_allow_untested_optimizer", "every optimizer here is tested with every stage",
     "[false, true]"},
    {"", "zero_force_ds_cpu_optimizer", "the optimizer is always the library's", "[true]"},
    {"", "dump_state", "ask for the resolved config instead", "[false]"},
    {"", "wall_clock_breakdown", kNoProfiler, "[false]"},
    {"", "memory_breakdown", "ask for the memory account instead", "[false]"},
    {"", "flops_profiler", kNoProfiler, kSectionOff},
    {"", "autotuning", "there is no autotuning in this release", kSectionOff},
    {"", "comms_logger", kNoProfiler, "[]"},
    {"", "tensorboard", kNoMonitor, kSectionOff},
    {"", "csv_monitor", kNoMonitor, kSectionOff},
    {"", "wandb", kNoMonitor, kSectionOff},
    {"", "comet", kNoMonitor, kSectionOff},
    {"", "activation_checkpointing", "recomputation belongs to the model", "[{}]"},
    {"", "aio", kNoOffload, "[{}]"},
    {"", "checkpoint", "checkpoints are the caller's in this release", "[{}]"},
    {"", "elasticity", kDropped, kSectionOff},
    {"", "compression_training", kNoCompression, "[{}]"},
    {"", "quantize_training", kDropped, kSectionOff},
    {"", "sparse_attention", kDropped, "[{}, null]"},
    {"", "progressive_layer_drop", kDropped, kSectionOff},
    {"", "curriculum_learning", kDropped, kSectionOff},
    {"", "eigenvalue", kDropped, kSectionOff},
    {"", "graph_harvesting", kDropped, "[false]"},
    {"", "nebula", kDropped, kSectionOff},
    {"", "data_efficiency", "sampling is the caller's in this release", kSectionOff},
    {"", "pipeline", "there is no pipeline parallelism in this release", "[{}]"},
    {"", "tensor_parallel", "there is no tensor parallelism in this release", "[{}]"},
    {"", "expert_parallel", "there is no expert parallelism in this release", "[{}]"},
    {"", "hybrid_engine", "there is no hybrid engine in this release", kSectionOff},
    {"", "compile", "there is nothing to compile at run time", kSectionOff},
    {"", "timers", kNoProfiler, "[{}]"},
    {"", "weight_quantization", kNoCompression, "[{}]"},
    {"", "use_data_before_expert_parallelism", "there are no experts in this release", "[false]"},
    {"", "vocabulary_size", "the library does not know the model", "[null]"},
    {"", "dataloader_drop_last", "the library does not load the caller's data", "[false]"},
    {"", "log_level", "set the level of the log sink (ds_log_set_sink)", "[null]"},
    {"", "disable_python_gc", "there is no Python inside", "[false]"},
    {"", "checkpoint_tag_validation", "checkpoints are the caller's in this release", "[]"},

    {"optimizer", "type", "", ""},
    {"optimizer", "params", "", ""},
    {"optimizer", "legacy_fusion", "every update is fused", "[false]"},
    {"optimizer.params", "lr", "", ""},
    {"optimizer.params", "betas", "", ""},
    {"optimizer.params", "eps", "", ""},
    {"optimizer.params", "weight_decay", "", ""},
    {"optimizer.params", "bias_correction", "", ""},
    {"optimizer.params", "adam_w_mode", "", ""},
    {"optimizer.params", "torch_adam", "there is no torch inside", "[false]"},
    {"optimizer.params", "amsgrad", "not part of DeepSpeed's Adam either", "[false]"},
    {"optimizer.params", "fp32_optimizer_states", "optimizer states are fp32", "[true]"},
    {"optimizer.params", "max_grad_norm", "use gradient_clipping at the top level", "[]"},

    {"scheduler", "type", "", ""},
    {"scheduler", "params", "", ""},
    {"scheduler.params", "warmup_min_lr", "", ""},
    {"scheduler.params", "warmup_max_lr", "", ""},
    {"scheduler.params", "warmup_num_steps", "", ""},
    {"scheduler.params", "warmup_type", "", ""},
    {"scheduler.params", "total_num_steps", "", ""},
    {"scheduler.params", "warmup_min_ratio", "", ""},
    {"scheduler.params", "cos_min_ratio", "", ""},
    {"scheduler.params", "last_batch_iteration", "a resume restores the schedule", "[-1]"},

    {"bf16", "enabled", "", ""},
    {"bf16", "check_grad_overflow", "", ""},
    {"bf16", "immediate_grad_update", "gradients are reduced unit by unit", "[false]"},
    {"bf16", "bf16_master_weights_and_grads", "master weights are fp32", "[false]"},
    {"bf16", "bf16_optimizer_states", "optimizer states are fp32", "[false]"},

    {kZero, "stage", "", ""},
    {kZero, "overlap_comm", "", ""},
    {kZero, "reduce_bucket_size", "", ""},
    {kZero, "ignore_unused_parameters", "", ""},
    {kZero, "stage3_prefetch_bucket_size", "", ""},
    {kZero, "prefetch_bucket_size", "", ""},
    {kZero, "stage3_max_live_parameters", "", ""},
    {kZero, "max_live_parameters", "", ""},
    {kZero, "contiguous_gradients", "gradients of a unit are always contiguous", "[true]"},
    {kZero, "reduce_scatter", "sharded gradients are always reduce-scattered", "[true]"},
    {kZero, "allgather_partitions", "sharded weights are always all-gathered", "[true]"},
    {kZero, "allgather_bucket_size", kUnits, "[500000000, 5e8]"},
    {kZero, "use_multi_rank_bucket_allreduce", kUnits, "[true]"},
    {kZero, "round_robin_gradients", kUnits, "[false]"},
    {kZero, "sub_group_size", kUnits, "[1000000000, 1e9]"},
    {kZero, "stage3_param_persistence_threshold", kUnits, "[0]"},
    {kZero, "param_persistence_threshold", kUnits, "[0]"},
    {kZero, "stage3_model_persistence_threshold", kUnits, "[0]"},
    {kZero, "model_persistence_threshold", kUnits, "[0]"},
    {kZero, "stage3_max_reuse_distance", "copies are kept up to stage3_max_live_parameters",
     "[1000000000, 1e9]"},
    {kZero, "max_reuse_distance", "copies are kept up to stage3_max_live_parameters",
     "[1000000000, 1e9]"},
    {kZero, "stage3_gather_16bit_weights_on_model_save", "saving gathers unit by unit",
     "[true, false]"},
    {kZero, "gather_16bit_weights_on_model_save", "saving gathers unit by unit", "[true, false]"},
    {kZero, "stage3_module_granularity_threshold", kUnits, "[0]"},
    {kZero, "module_granularity_threshold", kUnits, "[0]"},
    {kZero, "stage3_use_all_reduce_for_fetch_params", kUnits, "[false]"},
    {kZero, "use_all_reduce_for_fetch_params", kUnits, "[false]"},
    {kZero, "stage3_allgather_sequential", kUnits, "[false]"},
    {kZero, "allgather_sequential", kUnits, "[false]"},
    {kZero, "load_from_fp32_weights", "a resume restores the fp32 master weights", "[true]"},
    {kZero, "elastic_checkpoint", "checkpoints are the caller's in this release", "[false]"},
    {kZero, "offload_param", kNoOffload, R"([null, {}, {"device": "none"}])"},
    {kZero, "offload_optimizer", kNoOffload, R"([null, {}, {"device": "none"}])"},
    {kZero, "cpu_offload", kNoOffload, kOff},
    {kZero, "cpu_offload_param", kNoOffload, kOff},
    {kZero, "cpu_offload_use_pin_memory", kNoOffload, kOff},
    {kZero, "zenflow", kNoOffload, "[null]"},
    {kZero, "legacy_stage1", "DeepSpeed refuses it too", "[false]"},
    {kZero, "zero_hpz_partition_size", "there is no hierarchical sharding yet", "[1]"},
    {kZero, "zero_quantized_weights", kNoCompression, "[false]"},
    {kZero, "zero_quantized_nontrainable_weights", kNoCompression, "[false]"},
    {kZero, "zero_quantized_gradients", kNoCompression, "[false]"},
    {kZero, "zeropp_loco_param", kNoCompression, "[null]"},
    {kZero, "mics_shard_size", "there is no hierarchical sharding yet", "[-1]"},
    {kZero, "mics_hierarchical_params_gather", "there is no hierarchical sharding yet", "[false]"},
    {kZero, "memory_efficient_linear", "layers are the caller's", "[true, false]"},
    {kZero, "pipeline_loading_checkpoint", "there are no pipelines yet", "[false]"},
    {kZero, "override_module_apply", "there are no torch modules", "[true, false]"},
    {kZero, "log_trace_cache_warnings", "there is no trace cache", "[false]"},
    {kZero, "enable_sanity_checks", "ranks are always compared", "[true, false]"},
    {kZero, "save_muon_momentum_buffer_in_memory", "there is no Muon yet", "[false]"},
    {kZero, "compute_grad_norm", "the norm is always computed", "[true]"},
    {kZero, "parameter_alignment", "parameters always start on 16 bytes", "[true, false]"},
    {kZero, "leaf_module", "there are no torch modules", "[null, {}]"},
};

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::span<const ConfigKey> ConfigKeys() { return kKeys; }

const ConfigKey* FindConfigKey(std::string_view section, std::string_view name) {
  for (const ConfigKey& key : kKeys) {
    if (key.section == section && key.name == name) return &key;
  }
  return nullptr;
}

std::string NearestConfigKey(std::string_view section, std::string_view name) {
  std::string nearest;
  int least = static_cast<int>(name.size() / 3) + 2;
  for (const ConfigKey& key : kKeys) {
    if (key.section != section) continue;
    if (const int distance = EditDistance(key.name, name); distance < least) {
      least = distance;
      nearest = key.name;
    }
  }
  return nearest;
}

}  // namespace ds
