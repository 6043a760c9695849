// ds_config.json: text in, one resolved struct out. Every key is honoured or refused by name
// (config_keys.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "engine/config_check.h"
#include "engine/monitor.h"
#include "optim/loss_scale.h"
#include "optim/schedule.h"
#include "tensor/dtype.h"
#include "zero/placement.h"

namespace ds {

struct EngineConfig {
  // train_batch == micro_batch * accumulation * world
  int64_t train_batch = 1, micro_batch = 1, accumulation = 1;
  DType dtype = DType::kF32;
  double gradient_clipping = 1.0;      // 0: off
  int64_t steps_per_print = 0;         // a line in the log every so many steps; 0: none
  bool check_grad_overflow = true;     // bf16; the others always check
  optim::LossScaleOptions loss_scale;  // fp16
  zero::ZeroOptions zero;
  MonitorOptions monitor;
  // {"type": ..., "params": {...}} with all that is given or has a default: what optim::CreateRule
  // reads, and the schedule as text; null where there is none.
  Json optimizer = {{"type", "AdamW"}, {"params", Json::object()}};
  Json scheduler;
  optim::ScheduleOptions schedule;

  // The resolved values as a ds_config.json has them.
  Json ToJson() const;
};

// A config with all that was found on the way. `config` is of use when there are no problems.
struct ConfigReading {
  EngineConfig config;
  CheckedConfig checked;
};
// `world` is the data-parallel world size; `json` is an object.
ConfigReading ReadConfig(const Json& json, int world);

// The object in a text; an empty text is an empty config.
Result<Json> ParseConfigText(std::string_view text);
// Both, with the first problem as the error.
Result<EngineConfig> ParseConfig(std::string_view text, int world);

}  // namespace ds
