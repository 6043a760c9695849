#include "base/failpoint.h"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/edit_distance.h"

namespace ds::failpoint {

std::atomic<bool> armed = true;  // until the environment was read

namespace {

constexpr Point kPoints[] = {
    {"entry", "every function of the C ABI that returns a status, before its first check"},
    {"alloc", "device::Buffer::Create: parameters, gradients, moments, windows"},
    {"device.shared_heap", "before memory that other processes can map is had"},
    {"hook", "before a hook of the caller is called"},
    {"comm.all_gather", "a rank, before it meets its peers"},
    {"comm.reduce_scatter", "the same"},
    {"comm.all_reduce", "the same"},
    {"comm.barrier", "the same"},
    {"comm.broadcast", "the same"},
    {"comm.all_to_all", "the same"},
    {"comm.all_to_all_v", "the same"},
    {"comm.send", "before a rank meets its peer"},
    {"comm.recv", "the same"},
    {"comm.split", "before a rank meets its peers"},
    {"comm.duplicate", "the same, when an engine is created"},
    {"comm.segment", "before memory that processes share is made, or mapped by another"},
    {"file.create", "a file that is replaced atomically or grows: before it is opened"},
    {"file.write", "the same, before bytes are written"},
    {"file.commit", "the same, before it is synced and renamed"},
};

enum class Action { kCount, kFail, kOutOfMemory, kThrow, kDelay };

struct Plan {
  std::string name;
  int rank = -1;      // any
  int64_t first = 1;  // the passage that it acts at
  bool repeats = false;
  Action action = Action::kCount;
  int argument = 0;  // the code of kFail, the milliseconds of kDelay
  int64_t hits = 0;
};

std::mutex mutex;  // guards what follows
std::vector<Plan> plans;
bool environment_was_read = false;
Status malformed;  // what is wrong with the environment: every passage says it

// Cuts `text` at the first `mark`: returns what stands before it, leaves what stands behind.
std::string_view CutAt(std::string_view& text, char mark) {
  const size_t at = text.find(mark);
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return head;
}

template <typename T>
Status ReadNumber(std::string_view plan, std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error == std::errc() && end == text.data() + text.size() && out >= 0) return {};
  return InvalidArgument("failpoint '{}': '{}' is not a number from 0", plan, text);
}

Status CheckName(std::string_view plan, std::string_view name) {
  std::string_view nearest;
  int least = 1000;
  for (const Point& point : kPoints) {
    const int distance = EditDistance(point.name, name.substr(0, 100));
    if (distance < least) {
      least = distance;
      nearest = point.name;
    }
  }
  if (least == 0) return {};
  return InvalidArgument("failpoint '{}': there is no '{}', the nearest is '{}'", plan, name,
                         nearest);
}

Status ReadAction(std::string_view text, std::string_view action, Plan& plan) {
  const std::string_view word = CutAt(action, ':');
  const bool takes_number = word == "fail" || word == "delay";
  if (takes_number) DS_TRY(ReadNumber(text, action, plan.argument));
  if (!takes_number && !action.empty()) {
    return InvalidArgument("failpoint '{}': '{}' takes no '{}'", text, word, action);
  }
  static constexpr std::pair<std::string_view, Action> kActions[] = {
      {"count", Action::kCount}, {"fail", Action::kFail},   {"oom", Action::kOutOfMemory},
      {"throw", Action::kThrow}, {"delay", Action::kDelay},
  };
  for (const auto& [name, known] : kActions) {
    if (name != word) continue;
    plan.action = known;
    return {};
  }
  return InvalidArgument(
      "failpoint '{}': '{}' is no action, expected oom, throw, fail, delay or "
      "count",
      text, word);
}

Result<Plan> ReadPlan(std::string_view text) {
  Plan plan;
  std::string_view rest = text;
  std::string_view place = CutAt(rest, '=');
  plan.name = CutAt(place, '@');
  DS_TRY(CheckName(text, plan.name));
  if (!place.empty()) DS_TRY(ReadNumber(text, place, plan.rank));
  std::string_view hit = CutAt(rest, ':');
  if (hit.ends_with('+')) {
    plan.repeats = true;
    hit.remove_suffix(1);
  }
  DS_TRY(ReadNumber(text, hit, plan.first));
  DS_TRY(ReadAction(text, rest, plan));
  return plan;
}

Result<std::vector<Plan>> ReadPlans(std::string_view text) {
  std::vector<Plan> read;
  while (!text.empty()) {
    const std::string_view one = CutAt(text, ';');
    if (one.empty()) continue;
    DS_ASSIGN(Plan plan, ReadPlan(one));
    read.push_back(std::move(plan));
  }
  return read;
}

void ReadEnvironment() {
  if (environment_was_read) return;
  environment_was_read = true;
  const char* text = std::getenv("DS_FAILPOINTS");
  auto read = ReadPlans(text == nullptr ? "" : text);
  if (read.ok()) {
    plans = std::move(read).Take();
  } else {
    malformed = Status(Code::kConfig, "DS_FAILPOINTS: " + read.status().message());
  }
  armed = !malformed.ok() || !plans.empty();
}

}  // namespace

std::span<const Point> Points() { return kPoints; }

Status Arm(std::string_view text) {
  DS_ASSIGN(auto read, ReadPlans(text));
  const std::lock_guard lock(mutex);
  environment_was_read = true;
  malformed = {};
  plans = std::move(read);
  armed = !plans.empty();
  return {};
}

int64_t Hits(std::string_view name) {
  const std::lock_guard lock(mutex);
  int64_t hits = 0;
  for (const Plan& plan : plans) {
    if (plan.name == name) hits += plan.hits;
  }
  return hits;
}

Status Hit(std::string_view name, int rank) {
  Action action = Action::kCount;
  int argument = 0;
  {
    const std::lock_guard lock(mutex);
    ReadEnvironment();
    DS_TRY(malformed);
    for (Plan& plan : plans) {
      if (plan.name != name || (plan.rank >= 0 && plan.rank != rank)) continue;
      ++plan.hits;
      if (plan.hits != plan.first && !(plan.repeats && plan.hits > plan.first)) continue;
      action = plan.action;
      argument = plan.argument;
    }
  }
  switch (action) {
    case Action::kCount:
      return {};
    case Action::kFail:
      return Error(static_cast<Code>(argument), "failpoint '{}'", name);
    case Action::kOutOfMemory:
      throw std::bad_alloc();
    case Action::kThrow:
      throw std::runtime_error(fmt::format("failpoint '{}'", name));
    case Action::kDelay:
      std::this_thread::sleep_for(std::chrono::milliseconds(argument));
      return {};
  }
  return {};
}

}  // namespace ds::failpoint
