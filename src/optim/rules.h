// The update rules by name. A new one is a file with its Create function, declared here, and a row
// of the list in rules.cc.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "optim/params.h"
#include "optim/update_rule.h"

namespace ds::optim {

using CreateRuleFn = std::unique_ptr<UpdateRule> (*)(Params& params);

// Each reads its hyper-parameters, whose names and defaults are DeepSpeed's; `params` keeps errors.
std::unique_ptr<UpdateRule> CreateAdam(Params& params);
std::unique_ptr<UpdateRule> CreateAdamW(Params& params);
std::unique_ptr<UpdateRule> CreateAdagrad(Params& params);
std::unique_ptr<UpdateRule> CreateSgd(Params& params);
std::unique_ptr<UpdateRule> CreateLion(Params& params);
std::unique_ptr<UpdateRule> CreateLamb(Params& params);
std::unique_ptr<UpdateRule> CreateMuon(Params& params);

struct RuleEntry {
  const char* type;  // compared without case
  CreateRuleFn create;
};
std::span<const RuleEntry> Rules();

// The rule of a config section {"type": ..., "params": {...}}. Code kConfig: a type or key that is
// unknown, with the nearest known one, or a value out of range.
Result<std::unique_ptr<UpdateRule>> CreateRule(const Json& section);

}  // namespace ds::optim
