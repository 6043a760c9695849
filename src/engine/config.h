// ds_config.json: text in, one resolved struct out. Every key is honoured or refused by name.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "tensor/dtype.h"
#include "zero/placement.h"

namespace ds {

struct EngineConfig {
  // train_batch == micro_batch * accumulation * world
  int64_t train_batch = 1, micro_batch = 1, accumulation = 1;
  DType dtype = DType::kF32;
  double gradient_clipping = 1.0;  // 0: off
  int64_t steps_per_print = 0;     // a line in the log every so many steps; 0: none
  bool check_grad_overflow = true;
  zero::ZeroOptions zero;
  optim::AdamWOptions optimizer;
  optim::ScheduleOptions schedule;

  // The resolved values as ds_config.json text.
  std::string ToJson() const;
};

// `world` is the data-parallel world size. An empty text is an empty config.
Result<EngineConfig> ParseConfig(std::string_view json, int world);

}  // namespace ds
