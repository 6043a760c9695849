#include "train_log.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "engine/event_record.h"

namespace ds::tool {
namespace {

using device::MemoryKind;

// JSON has no infinity: what is not finite is null.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

double Micro(double ms) { return std::round(ms * 1e3) / 1e3; }

const char* KindName(int kind) { return device::MemoryKindName(static_cast<MemoryKind>(kind)); }

// `before`: the entry of the line above, or null. Memory is written where it changes.
std::string ToJsonLine(const LogEntry& entry, const LogEntry* before) {
  nlohmann::ordered_json json = {
      {"step", entry.step}, {"loss", Number(entry.loss)}, {"grad_norm", Number(entry.grad_norm)},
      {"lr", entry.lr},     {"tokens", entry.tokens},     {"ms", Micro(entry.ms)}};
  json["samples"] = entry.samples;
  json["phase_ms"] = {{"gather", Micro(entry.phases.gather)},
                      {"reduce", Micro(entry.phases.reduce)},
                      {"norm", Micro(entry.phases.norm)},
                      {"update", Micro(entry.phases.update)}};
  if (before == nullptr || before->memory != entry.memory) {
    for (int kind = 0; kind < device::kMemoryKinds; ++kind) {
      json["memory"][KindName(kind)] = entry.memory[static_cast<size_t>(kind)];
    }
  }
  if (entry.skipped) json["skipped"] = true;
  if (entry.loss_scale != 1) json["loss_scale"] = entry.loss_scale;
  if (entry.val_loss.has_value()) json["val_loss"] = Number(*entry.val_loss);
  Json losses = Json::array();
  for (const double loss : entry.val_losses) losses.push_back(Number(loss));
  if (!losses.empty()) json["val_losses"] = losses;
  return json.dump() + "\n";
}

std::string CsvHeader() {
  std::string header =
      "step,samples,tokens,loss,val_loss,grad_norm,lr,loss_scale,skipped,ms,tokens_per_second,"
      "gather_ms,reduce_ms,norm_ms,update_ms";
  for (int kind = 0; kind < device::kMemoryKinds; ++kind) {
    header += fmt::format(",{}_bytes", KindName(kind));
  }
  return header + "\n";
}

std::string ToCsvLine(const LogEntry& entry) {
  const PhaseMs& phases = entry.phases;
  std::string line = fmt::format(
      "{},{},{},{},{},{},{},{},{},{:.3f},{:.1f},{:.3f},{:.3f},{:.3f},{:.3f}", entry.step,
      entry.samples, entry.tokens, std::isfinite(entry.loss) ? fmt::format("{}", entry.loss) : "",
      entry.val_loss.has_value() ? fmt::format("{}", *entry.val_loss) : "", entry.grad_norm,
      entry.lr, entry.loss_scale, entry.skipped ? 1 : 0, entry.ms, entry.tokens_per_second(),
      phases.gather, phases.reduce, phases.norm, phases.update);
  for (const int64_t bytes : entry.memory) line += fmt::format(",{}", bytes);
  return line + "\n";
}

// The first three under DeepSpeed's tags.
std::string ToEvent(const LogEntry& entry, double wall_time) {
  std::vector<Scalar> scalars = {{"Train/Samples/train_loss", entry.loss},
                                 {"Train/Samples/lr", entry.lr},
                                 {"Train/Samples/loss_scale", entry.loss_scale},
                                 {"Train/Samples/grad_norm", entry.grad_norm},
                                 {"Train/Samples/tokens_per_second", entry.tokens_per_second()}};
  if (entry.val_loss.has_value()) scalars.push_back({"Train/Samples/val_loss", *entry.val_loss});
  return ScalarRecord(wall_time, entry.samples, scalars);
}

double NumberAt(const Json& json, const char* key) {
  return json.contains(key) && json[key].is_number() ? json[key].get<double>() : std::nan("");
}

double OrZero(double value) { return std::isnan(value) ? 0 : value; }

void ReadMore(const Json& object, LogEntry& entry) {
  if (object.contains("phase_ms") && object["phase_ms"].is_object()) {
    const Json& phases = object["phase_ms"];
    entry.phases = {OrZero(NumberAt(phases, "gather")), OrZero(NumberAt(phases, "reduce")),
                    OrZero(NumberAt(phases, "norm")), OrZero(NumberAt(phases, "update"))};
  }
  if (object.contains("memory") && object["memory"].is_object()) {
    for (int kind = 0; kind < device::kMemoryKinds; ++kind) {
      entry.memory[static_cast<size_t>(kind)] =
          static_cast<int64_t>(OrZero(NumberAt(object["memory"], KindName(kind))));
    }
  }
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
  if (!ReadKey(object, "samples", entry.samples).ok()) return std::nullopt;
  entry.ms = NumberAt(object, "ms");
  if (!ReadKey(object, "skipped", entry.skipped).ok()) return std::nullopt;
  if (object.contains("loss_scale")) entry.loss_scale = NumberAt(object, "loss_scale");
  if (object.contains("val_loss")) entry.val_loss = NumberAt(object, "val_loss");
  for (const Json& loss : object.value("val_losses", Json::array())) {
    entry.val_losses.push_back(loss.is_number() ? loss.get<double>() : std::nan(""));
  }
  ReadMore(object, entry);
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
    auto entry = FromLine(rest.substr(0, end));
    const int64_t before = entries.empty() ? 0 : entries.back().step;
    if (entry.has_value() && entry->step > before && entry->step <= last_step) {
      const bool told = entry->memory != decltype(entry->memory){};
      if (!told && !entries.empty()) entry->memory = entries.back().memory;
      entries.push_back(*entry);
    }
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return entries;
}

// Rows of log.csv up to `last_step`. Of a file that is not there, 0.
Result<size_t> RowsOf(const std::string& path, int64_t last_step) {
  auto text = ReadFile(path, int64_t{1} << 32);
  if (text.status().code() == Code::kNotFound) return 0;
  if (!text.ok()) return text.status();
  size_t rows = 0;
  int64_t before = 0;
  // Whole lines behind the head: the last one of a killed run may be cut.
  for (size_t at = text->find('\n'), end; at != text->npos; at = end) {
    end = text->find('\n', at + 1);
    const int64_t step = std::strtoll(text->c_str() + at + 1, nullptr, 10);
    if (end == text->npos || step <= before || step > last_step) continue;
    before = step;
    ++rows;
  }
  return rows;
}

// Moves the log that is there aside, where log.jsonl does not say all of it. Tells of it.
Result<std::string> KeepWhole(const std::string& folder, size_t entries, int64_t last_step) {
  DS_ASSIGN(const size_t rows, RowsOf(folder + "/log.csv", last_step));
  if (rows <= entries) return std::string();
  const std::string wanted = fmt::format("{}/before-{}", folder, last_step + 1);
  std::string aside = wanted;
  std::error_code none;
  for (int more = 2; std::filesystem::exists(aside, none); ++more) {
    aside = fmt::format("{}.{}", wanted, more);
  }
  DS_TRY(MakeDirectories(aside));
  for (const char* name : {"log.jsonl", "log.csv", kEventFile}) {
    const std::string path = fmt::format("{}/{}", folder, name);
    std::error_code error;
    if (!std::filesystem::exists(path, error)) continue;
    std::filesystem::rename(path, fmt::format("{}/{}", aside, name), error);
    if (error) return Error(Code::kIo, "{}: cannot move: {}", path, error.message());
  }
  return fmt::format(
      "log.jsonl has {} steps of those before this resume, log.csv {}: all that was there is in {}",
      entries, rows, aside);
}

}  // namespace

Result<TrainLog> TrainLog::Open(const std::string& folder, int64_t last_step) {
  DS_TRY(MakeDirectories(folder));
  std::vector<LogEntry> entries;
  std::string note;
  if (last_step > 0) {
    DS_ASSIGN(entries, ReadEntries(folder + "/log.jsonl", last_step));
    DS_ASSIGN(note, KeepWhole(folder, entries.size(), last_step));
  }
  const double now = WallTime();
  std::string lines, rows = CsvHeader(), events = VersionRecord(now);
  for (size_t i = 0; i < entries.size(); ++i) {
    lines += ToJsonLine(entries[i], i > 0 ? &entries[i - 1] : nullptr);
    rows += ToCsvLine(entries[i]);
    events += ToEvent(entries[i], now);
  }
  TrainLog log(folder, std::move(entries));
  log.note_ = std::move(note);
  for (const auto& [name, text] : {std::pair("log.jsonl", &lines), std::pair("log.csv", &rows),
                                   std::pair(kEventFile, &events)}) {
    const std::string path = fmt::format("{}/{}", folder, name);
    DS_TRY(WriteFileAtomic(path, *text));
    DS_ASSIGN(AppendFile file, AppendFile::Open(path));
    log.files_.push_back(std::move(file));
  }
  return log;
}

Result<int64_t> TrainLog::LastStep(const std::string& folder) {
  DS_ASSIGN(const auto entries, ReadEntries(folder + "/log.jsonl", INT64_MAX));
  return entries.empty() ? 0 : entries.back().step;
}

Status TrainLog::Append(const LogEntry& entry) {
  DS_TRY(files_[0].Append(ToJsonLine(entry, entries_.empty() ? nullptr : &entries_.back())));
  DS_TRY(files_[1].Append(ToCsvLine(entry)));
  DS_TRY(files_[2].Append(ToEvent(entry, WallTime())));
  entries_.push_back(entry);
  return {};
}

}  // namespace ds::tool
