#include "optim/schedule_params.h"

#include "base/edit_distance.h"
#include "optim/params.h"

namespace ds::optim {
namespace {

using Type = ScheduleOptions::Type;

void ReadWarmup(Params& params, ScheduleOptions& o) {
  params.Read("warmup_num_steps", o.warmup_num_steps, 1);
  std::string type = "log";
  params.ReadChoice("warmup_type", type, {"log", "linear"});
  o.warmup_type = type == "log" ? ScheduleOptions::Warmup::kLog : ScheduleOptions::Warmup::kLinear;
}

void ReadTotal(Params& params, ScheduleOptions& o) {
  params.Require("total_num_steps");
  params.Read("total_num_steps", o.total_num_steps, 1);
}

void ReadWarmupLR(Params& params, ScheduleOptions& o) {
  o.type = Type::kWarmupLR;
  ReadWarmup(params, o);
  params.Read("warmup_min_lr", o.warmup_min_lr, 0, kNoLimit);
  double most = 0;
  params.Read("warmup_max_lr", most, 0, kNoLimit);
  if (params.has("warmup_max_lr")) o.warmup_max_lr = most;
}

void ReadWarmupDecayLR(Params& params, ScheduleOptions& o) {
  ReadWarmupLR(params, o);
  o.type = Type::kWarmupDecayLR;
  // Without the key there is a rate of its own; null and "auto" ask for the optimizer's.
  if (!params.names("warmup_max_lr")) o.warmup_max_lr = 0.001;
  ReadTotal(params, o);
}

void ReadWarmupCosineLR(Params& params, ScheduleOptions& o) {
  o.type = Type::kWarmupCosineLR;
  ReadWarmup(params, o);
  ReadTotal(params, o);
  params.Read("warmup_min_ratio", o.warmup_min_ratio, 0, kNoLimit);
  params.Read("cos_min_ratio", o.cos_min_ratio, 0, kNoLimit);
}

void ReadOneCycle(Params& params, ScheduleOptions& o) {
  o.type = Type::kOneCycle;
  params.Require("cycle_min_lr");
  params.Require("cycle_max_lr");
  params.Read("cycle_min_lr", o.cycle_min_lr, 0, kNoLimit);
  params.Read("cycle_max_lr", o.cycle_max_lr, 0, kNoLimit);
  params.Read("cycle_first_step_size", o.cycle_first_step_size, 1);
  o.cycle_second_step_size = o.cycle_first_step_size;
  params.Read("cycle_second_step_size", o.cycle_second_step_size, 0);
  params.Read("cycle_first_stair_count", o.cycle_first_stair_count, 0);
  o.cycle_second_stair_count = o.cycle_first_stair_count;
  params.Read("cycle_second_stair_count", o.cycle_second_stair_count, 0);
  params.Read("decay_step_size", o.decay_step_size, 0);
  params.Read("decay_lr_rate", o.decay_lr_rate, 0, kNoLimit);
  params.Read("cycle_momentum", o.cycle_momentum);
  params.Read("cycle_min_mom", o.cycle_min_mom, 0, 1);
  params.Read("cycle_max_mom", o.cycle_max_mom, 0, 1);
  params.Read("decay_mom_rate", o.decay_mom_rate);
}

void ReadRangeTest(Params& params, ScheduleOptions& o) {
  o.type = Type::kLRRangeTest;
  params.Read("lr_range_test_min_lr", o.range_min_lr, 0, kNoLimit);
  params.Read("lr_range_test_step_size", o.range_step_size, 1);
  params.Read("lr_range_test_step_rate", o.range_step_rate, 0, kNoLimit);
  params.Read("lr_range_test_staircase", o.range_staircase);
}

constexpr struct {
  const char* type;
  void (*read)(Params& params, ScheduleOptions& o);
} kSchedules[] = {
    {"WarmupLR", ReadWarmupLR},
    {"WarmupDecayLR", ReadWarmupDecayLR},
    {"WarmupCosineLR", ReadWarmupCosineLR},
    {"OneCycle", ReadOneCycle},
    {"LRRangeTest", ReadRangeTest},
};

}  // namespace

Result<ScheduleOptions> ReadSchedule(const Json& section) {
  DS_ASSIGN(const TypeAndParams given, ReadTypeAndParams(section, "scheduler"));
  std::vector<std::string> names;
  std::string all;
  for (const auto& schedule : kSchedules) {
    if (schedule.type == given.type) {
      ScheduleOptions options;
      Params params(given.params, "scheduler.params");
      schedule.read(params, options);
      params.Neutral("last_batch_iteration", -1, "the iteration is an argument of the schedule");
      DS_TRY(params.Finish());
      return options;
    }
    names.emplace_back(schedule.type);
    all += fmt::format("{}{}", all.empty() ? "" : ", ", schedule.type);
  }
  const std::string_view near = Nearest(given.type, names);
  return Error(Code::kConfig, "scheduler.type is \"{}\"; there are {}{}", given.type, all,
               near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

}  // namespace ds::optim
