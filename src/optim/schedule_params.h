// A schedule from its config section. Keys and defaults are DeepSpeed's.
#pragma once

#include "base/json.h"
#include "optim/schedule.h"

namespace ds::optim {

// {"type": ..., "params": {...}}; `base_lr` is the optimizer's, which WarmupLR rises to where
// warmup_max_lr is absent. Code kConfig: a type or key that is unknown, with the nearest known
// one, or a value out of range.
Result<ScheduleOptions> ReadSchedule(const Json& section, double base_lr);

}  // namespace ds::optim
