// A schedule from its config section. Keys and defaults are DeepSpeed's.
#pragma once

#include "base/json.h"
#include "optim/schedule.h"

namespace ds::optim {

// {"type": ..., "params": {...}}. Code kConfig: a type or key that is unknown, with the nearest
// known one, or a value out of range.
Result<ScheduleOptions> ReadSchedule(const Json& section);

}  // namespace ds::optim
