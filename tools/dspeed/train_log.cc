#include "train_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "base/json.h"

namespace ds::tool {
namespace {

// JSON has no infinity: what is not finite is null.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

std::string ToLine(const LogEntry& entry) {
  nlohmann::ordered_json json = {
      {"step", entry.step}, {"loss", Number(entry.loss)}, {"grad_norm", Number(entry.grad_norm)},
      {"lr", entry.lr},     {"tokens", entry.tokens},     {"ms", std::round(entry.ms * 1e3) / 1e3}};
  if (entry.skipped) json["skipped"] = true;
  if (entry.loss_scale != 1) json["loss_scale"] = entry.loss_scale;
  if (entry.val_loss.has_value()) json["val_loss"] = Number(*entry.val_loss);
  return json.dump() + "\n";
}

double NumberAt(const Json& json, const char* key) {
  return json.contains(key) && json[key].is_number() ? json[key].get<double>() : std::nan("");
}

// Nothing: not a whole line of ours, as the last one of a killed run may be.
std::optional<LogEntry> FromLine(std::string_view line) {
  auto json = ParseJson(line, "log.jsonl");
  if (!json.ok()) return std::nullopt;
  const Json& object = *json;
  LogEntry entry;
  if (!RequireKey(object, "step", entry.step).ok() || !object.contains("loss")) {
    return std::nullopt;
  }
  entry.loss = NumberAt(object, "loss");
  entry.grad_norm = NumberAt(object, "grad_norm");
  entry.lr = NumberAt(object, "lr");
  if (!ReadKey(object, "tokens", entry.tokens).ok()) return std::nullopt;
  entry.ms = NumberAt(object, "ms");
  entry.skipped = object.value("skipped", false);
  if (object.contains("loss_scale")) entry.loss_scale = NumberAt(object, "loss_scale");
  if (object.contains("val_loss")) entry.val_loss = NumberAt(object, "val_loss");
  return entry;
}

Result<std::vector<LogEntry>> ReadEntries(const std::string& path, int64_t last_step) {
  std::vector<LogEntry> entries;
  auto text = ReadFile(path, int64_t{1} << 32);
  if (text.status().code() == Code::kNotFound) return entries;
  if (!text.ok()) return text.status();
  std::string_view rest = *text;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const auto entry = FromLine(rest.substr(0, end));
    if (entry.has_value() && entry->step <= last_step) entries.push_back(*entry);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return entries;
}

}  // namespace

Result<TrainLog> TrainLog::Open(const std::string& folder, int64_t last_step) {
  DS_TRY(MakeDirectories(folder));
  TrainLog log(folder);
  const std::string path = folder + "/log.jsonl";
  std::string kept;
  if (last_step > 0) {
    DS_ASSIGN(log.entries_, ReadEntries(path, last_step));
    for (const LogEntry& entry : log.entries_) kept += ToLine(entry);
  }
  DS_TRY(WriteFileAtomic(path, kept));
  log.file_.reset(std::fopen(path.c_str(), "ae"));
  if (log.file_ == nullptr) {
    return Error(Code::kIo, "{}: cannot open: {}", path, std::strerror(errno));
  }
  return log;
}

Status TrainLog::Append(const LogEntry& entry) {
  const std::string line = ToLine(entry);
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
      std::fflush(file_.get()) != 0) {
    return Error(Code::kIo, "{}/log.jsonl: cannot write: {}", folder_, std::strerror(errno));
  }
  entries_.push_back(entry);
  return {};
}

}  // namespace ds::tool
