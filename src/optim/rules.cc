#include "optim/rules.h"

#include <algorithm>

#include "base/edit_distance.h"
#include "base/lower.h"

namespace ds::optim {
namespace {

constexpr RuleEntry kRules[] = {
    {"Adam", CreateAdam}, {"AdamW", CreateAdamW}, {"Adagrad", CreateAdagrad}, {"SGD", CreateSgd},
    {"Lion", CreateLion}, {"Lamb", CreateLamb},   {"Muon", CreateMuon},
};

}  // namespace

std::span<const RuleEntry> Rules() { return kRules; }

Result<std::unique_ptr<UpdateRule>> CreateRule(const Json& section) {
  DS_ASSIGN(const TypeAndParams given, ReadTypeAndParams(section, "optimizer", "legacy_fusion"));
  std::vector<std::string> names;
  std::string all;
  for (const RuleEntry& rule : kRules) {
    if (Lower(rule.type) == Lower(given.type)) {
      Params params(given.params, "optimizer.params");
      std::unique_ptr<UpdateRule> created = rule.create(params);
      DS_TRY(params.Finish());
      return created;
    }
    names.push_back(Lower(rule.type));
    all += fmt::format("{}{}", all.empty() ? "" : ", ", rule.type);
  }
  const std::string_view near = Nearest(Lower(given.type), names);
  return Error(Code::kConfig, "optimizer.type is \"{}\"; there are {}{}", given.type, all,
               near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

}  // namespace ds::optim
