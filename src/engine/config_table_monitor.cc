// Logs, profilers, tuning. deepspeed/monitor/config.py, profiling/constants.py, comm/config.py,
// autotuning/constants.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr std::string_view kNoMonitor =
    "nothing is sent over a network; tensorboard and csv_monitor write the same curves as files";
constexpr std::string_view kJob = "\"DeepSpeedJobName\"";

constexpr ConfigKey kTensorboard[] = {
    {"enabled", kBool, "false", "",
     "write event files: lr, loss_scale in fp16, gradient norm; dspeed train adds the losses",
     kHonoured},
    {"output_path", kText, "\"\"", "", "folder", kHonoured},
    {"job_name", kText, kJob, "", "folder below it", kHonoured},
};
constexpr ConfigKey kCsv[] = {
    {"enabled", kBool, "false", "", "write the same curves as CSV files, one each", kHonoured},
    {"output_path", kText, "\"\"", "", "folder", kHonoured},
    {"job_name", kText, kJob, "", "folder below it", kHonoured},
};
constexpr ConfigKey kWandb[] = {
    {"enabled", kBool, "false", "", "send to Weights & Biases", Refused(kNoMonitor)},
    {"group", kText, "null", "", "group of the run"},
    {"team", kText, "null", "", "team of the run"},
    {"project", kText, "\"deepspeed\"", "", "project of the run"},
};
constexpr ConfigKey kComet[] = {
    {"enabled", kBool, "false", "", "send to Comet", Refused(kNoMonitor)},
    {"samples_log_interval", kInt, "100", "[1,)", "samples between entries"},
    {"project", kText, "null", "", "project of the run"},
    {"workspace", kText, "null", "", "workspace of the run"},
    {"api_key", kText, "null", "", "key of the account"},
    {"experiment_name", kText, "null", "", "name of the run"},
    {"experiment_key", kText, "null", "", "identity of the run"},
    {"online", kBool, "null", "", "send while training"},
    {"mode", kText, "null", "", "new or existing run"},
};
constexpr ConfigKey kFlops[] = {
    {"enabled", kBool, "false", "", "count the model's operations",
     Refused("the model is the caller's; dspeed train --log gives tokens and time of a step")},
    {"recompute_fwd_factor", kNumber, "0.0", "[0,)", "forward passes that are repeated"},
    {"profile_step", kInt, "1", "[0,)", "step that is measured"},
    {"module_depth", kInt, "-1", "[-1,)", "depth that is printed"},
    {"top_modules", kInt, "1", "[0,)", "modules that are printed"},
    {"detailed", kBool, "true", "", "print every module"},
    {"output_file", kText, "null", "", "file to write"},
};
constexpr ConfigKey kCommsLogger[] = {
    {"enabled", kBool, "false", "", "log collectives",
     Refused("collectives are not logged; the log sink shows what the engine does")},
    {"verbose", kBool, "false", "", "log each as it happens"},
    {"prof_all", kBool, "true", "", "log all kinds"},
    {"debug", kBool, "false", "", "log the caller"},
    {"prof_ops", kList, "[]", "", "kinds that are logged"},
};
constexpr ConfigKey kTimers[] = {
    {"throughput", kSection, "null", "", "samples per second", kHonoured},
};
constexpr ConfigKey kThroughput[] = {
    {"enabled", kBool, "true", "", "measure it",
     Idle("the caller measures; ds_engine_step() returns when its work is done")},
    {"synchronized", kBool, "true", "", "wait for the GPU first",
     Idle("the caller measures; ds_engine_step() returns when its work is done")},
};

constexpr ConfigKey kAutotuning[] = {
    {"enabled", kBool, "false", "", "search the config",
     Refused("nothing searches here; dspeed config shows what a value leads to")},
    {"fast", kBool, "true", "", "only micro-batch sizes"},
    {"results_dir", kText, "\"autotuning_results\"", "", "folder of results"},
    {"exps_dir", kText, "\"autotuning_exps\"", "", "folder of experiments"},
    {"overwrite", kBool, "true", "", "replace old results"},
    {"start_profile_step", kInt, "3", "[0,)", "first step that is measured"},
    {"end_profile_step", kInt, "5", "[0,)", "last step that is measured"},
    {"metric", kChoice, "\"throughput\"", "throughput|latency|flops", "what is best"},
    {"metric_path", kText, "null", "", "file with the metric"},
    {"tuner_type", kChoice, "\"gridsearch\"", "gridsearch|random|model_based", "how it searches"},
    {"tuner_early_stopping", kInt, "5", "[0,)", "trials without gain before it ends"},
    {"tuner_num_trials", kInt, "50", "[0,)", "most trials"},
    {"arg_mappings", kMap, "null", "", "keys as arguments of the script"},
    {"max_train_batch_size", kInt, "null", "[1,)", "largest batch"},
    {"min_train_batch_size", kInt, "1", "[1,)", "least batch"},
    {"max_train_micro_batch_size_per_gpu", kInt, "1024", "[1,)", "largest micro-batch"},
    {"min_train_micro_batch_size_per_gpu", kInt, "1", "[1,)", "least micro-batch"},
    {"num_tuning_micro_batch_sizes", kInt, "3", "[1,)", "micro-batch sizes that are tried"},
    {"mp_size", kInt, "1", "[1,)", "model-parallel ranks"},
    {"model_info", kSection, "null", "", "what is known of the model", kHonoured},
    {"model_info_path", kText, "null", "", "file with it"},
};
constexpr ConfigKey kModelInfo[] = {
    {"profile", kBool, "false", "", "find it out"},
    {"num_params", kInt, "null", "[0,)", "parameters"},
    {"hidden_size", kInt, "null", "[0,)", "width"},
    {"num_layers", kInt, "null", "[0,)", "layers"},
};

constexpr ConfigSection kSections[] = {
    {.path = "tensorboard", .keys = kTensorboard, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "csv_monitor", .keys = kCsv, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "wandb", .keys = kWandb, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "comet", .keys = kComet, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "flops_profiler", .keys = kFlops, .toggle = kEnabled, .off = kFalse},
    {.path = "comms_logger", .keys = kCommsLogger, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "timers", .keys = kTimers},
    {.path = "timers.throughput", .keys = kThroughput, .lax = true},
    {.path = "autotuning", .keys = kAutotuning, .toggle = kEnabled, .off = kFalse},
    {.path = "autotuning.model_info", .keys = kModelInfo},
};

}  // namespace

std::span<const ConfigSection> MonitorSections() { return kSections; }

}  // namespace ds
