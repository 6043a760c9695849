// The part of ShardedStore that takes parameters in and ends with Seal().
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fmt/ranges.h>

#include <utility>

#include "zero/sharded_store.h"

namespace ds::zero {
namespace {

// Parameters without a unit of their own share units of about this size: large enough to be worth a
// collective, small enough to be a window.
constexpr int64_t kSharedUnitElements = 4 << 20;
constexpr size_t kLongestName = 255;

}  // namespace

Status ShardedStore::CheckSpec(const ParamSpec& spec, const ParamValues& values) const {
  if (!failure_.ok()) return failure_;
  if (sealed_) {
    return InvalidState(
        "{}: registered after the engine was sealed with {} parameters (by a call, or the first "
        "use of one)",
        spec.name, param_count());
  }
  if (spec.name.empty() || spec.name.size() > kLongestName) {
    return InvalidArgument("parameter name has {} bytes, not 1 to {}", spec.name.size(),
                           kLongestName);
  }
  if (spec.unit.size() > kLongestName) {
    return InvalidArgument("{}: its unit's name has {} bytes, not 0 to {}", spec.name,
                           spec.unit.size(), kLongestName);
  }
  if (by_name_.contains(spec.name)) {
    return InvalidArgument("{}: registered twice, first as parameter {}", spec.name,
                           by_name_.at(spec.name));
  }
  int64_t numel = 1;
  for (const int64_t extent : spec.shape) {
    if (extent < 0 || __builtin_mul_overflow(numel, extent, &numel) || numel > int64_t{1} << 40) {
      return InvalidArgument("{}: shape [{}] has an extent below 0 or more than 2^40 elements",
                             spec.name, fmt::join(spec.shape, ", "));
    }
  }
  if (spec.group < 0 || spec.group >= group_count()) {
    return InvalidArgument("{}: group {}, there are {}", spec.name, spec.group, group_count());
  }
  if (spec.expert_group.size() > kLongestName) {
    return InvalidArgument("{}: its expert group's name has {} bytes, not 0 to {}", spec.name,
                           spec.expert_group.size(), kLongestName);
  }
  if (!values.zeros() && values.size() != numel) {
    return InvalidArgument("{}: {} initial values for {} elements", spec.name, values.size(),
                           numel);
  }
  return {};
}

const optim::UpdateRule* ShardedStore::RuleFor(const ParamSpec& spec) const {
  if (!spec.trainable) return nullptr;
  const optim::UpdateRule& rule = *rules_[spec.group];
  const bool matrix = spec.shape.size() >= 2 && !spec.auxiliary;
  return rule.scope() == optim::UpdateRule::Scope::kMatrix && !matrix ? &rule.other() : &rule;
}

std::string ShardedStore::NameFor(const ParamSpec& spec, const optim::UpdateRule* rule) const {
  std::string name = spec.unit.empty() ? fmt::format("unit.{}", units_.size()) : spec.unit;
  if (rule == nullptr) return name + ".frozen";
  if (spec.group > 0) name += fmt::format(".group{}", spec.group);
  return rule == rules_[spec.group].get() ? name : name + ".auxiliary";
}

Result<int> ShardedStore::UnitFor(const ParamSpec& spec) {
  const bool shared = spec.unit.empty();
  const optim::UpdateRule* rule = RuleFor(spec);
  const int64_t limit = std::min(kSharedUnitElements, options_.zero.reduce_bucket_size);
  bool continues = !open_units_.empty() && open_unit_ == spec.unit;
  for (const int u : open_units_) {
    if (!continues || units_[u]->rule() != rule) continue;
    if (!shared || units_[u]->elements() < limit) return u;
    continues = false;
  }
  const std::string base = NameFor(spec, rule);
  std::string name = base;
  if (!continues && user_units_.contains(spec.unit)) {
    return InvalidArgument("{}: its unit {} ended when parameter {} was registered", spec.name,
                           name, param_count() - 1);
  }
  // A caller may name a unit as those are that have no name, or as the frozen part of another.
  for (int n = 2; unit_names_.contains(name); ++n) name = fmt::format("{}.{}", base, n);
  if (!continues) DS_TRY(Sticky(PlaceOpenUnits()));  // a unit half placed is not tried again
  units_.push_back(std::make_unique<Unit>(context_, name, rule));
  unit_params_.emplace_back();
  unit_names_.insert(name);
  if (!shared) user_units_.insert(spec.unit);
  open_unit_ = spec.unit;
  open_units_.push_back(static_cast<int>(units_.size()) - 1);
  return open_units_.back();
}

Status ShardedStore::PlaceOpenUnits() {
  for (const int u : open_units_) DS_TRY(units_[u]->Place());
  open_units_.clear();
  return {};
}

Result<int> ShardedStore::AddGroup(std::unique_ptr<optim::UpdateRule> rule, std::string_view text) {
  if (!failure_.ok()) return failure_;
  if (sealed_) {
    return InvalidState("a parameter group after the engine was sealed with {} of them",
                        group_count());
  }
  Declaration d;
  d.text = text;
  d.digest = XXH3_64bits(d.text.data(), d.text.size());
  if (!rules_.empty()) group_declarations_.push_back(std::move(d));  // 0 is the config's
  rules_.push_back(std::move(rule));
  return group_count() - 1;
}

Declaration ShardedStore::Declare(const ParamSpec& spec, const ParamValues& values) const {
  Declaration d;
  d.text = fmt::format("{} [{}]", spec.name, fmt::join(spec.shape, ", "));
  if (!spec.unit.empty()) d.text += fmt::format(" in unit {}", spec.unit);
  if (!spec.weight_decay) d.text += " without decay";
  if (!spec.trainable) d.text += " frozen";
  if (spec.auxiliary) d.text += " auxiliary";
  if (spec.group > 0) d.text += fmt::format(" in group {}", spec.group);
  if (!spec.expert_group.empty()) d.text += fmt::format(" of experts {}", spec.expert_group);
  d.digest = XXH3_64bits_withSeed(d.text.data(), d.text.size(), values.digest());
  return d;
}

Result<ParamId> ShardedStore::Register(ParamSpec spec, ParamValues values) {
  DS_TRY(CheckSpec(spec, values));
  DS_ASSIGN(const int unit, UnitFor(spec));
  const int64_t numel = spec.numel();
  Declaration declaration = Declare(spec, values);
  const int64_t offset = units_[unit]->Append(spec, std::move(values));
  const ParamId id = param_count();
  declarations_.push_back(std::move(declaration));
  by_name_[spec.name] = id;
  unit_params_[unit].push_back(id);
  params_.push_back({.spec = std::move(spec), .unit = unit, .offset = offset, .numel = numel});
  return id;
}

Result<ParamId> ShardedStore::Find(const std::string& name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) {
    return Error(Code::kNotFound, "no parameter {} among {}", name, param_count());
  }
  return it->second;
}

int64_t ShardedStore::numel() const {
  int64_t sum = 0;
  for (const Param& param : params_) sum += param.numel;
  return sum;
}

void ShardedStore::DeclareSettings(std::string_view lines) {
  const std::vector<Declaration> more = SettingsOf(lines);
  model_settings_.insert(model_settings_.end(), more.begin(), more.end());
}

Status ShardedStore::Seal() {
  if (!failure_.ok()) return failure_;
  if (sealed_) return {};
  DS_TRY(Sticky(AgreeOnGroups(comm_, group_declarations_)));
  DS_TRY(Sticky(Agree(comm_, declarations_)));
  DS_TRY(Sticky(AgreeOn(comm_, "model", model_settings_)));
  DS_TRY(Sticky(PlaceOpenUnits()));
  DS_TRY(Sticky(ReserveForStep()));
  declarations_ = {};
  group_declarations_ = {};
  model_settings_ = {};
  reducer_->Expect(units_);
  sealed_ = true;
  return EndStep();
}

}  // namespace ds::zero
