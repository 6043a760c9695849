// log.jsonl: one JSON object a step, written as the step ends.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace ds::tool {

struct LogEntry {
  int64_t step = 0;      // from 1
  double loss = 0;       // nats a token
  double grad_norm = 0;  // before clipping
  double lr = 0;
  int64_t tokens = 0;    // trained on so far, over all ranks
  double ms = 0;         // of this step, without evaluation and saving
  bool skipped = false;  // the norm was not finite
  double loss_scale = 1;
  std::optional<double> val_loss;
};

class TrainLog {
 public:
  // Makes the folder. Keeps the entries up to `last_step` of a log that is there, drops the rest.
  static Result<TrainLog> Open(const std::string& folder, int64_t last_step);

  Status Append(const LogEntry& entry);
  const std::vector<LogEntry>& entries() const { return entries_; }
  const std::string& folder() const { return folder_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TrainLog(std::string folder) : folder_(std::move(folder)) {}

  std::string folder_;
  std::vector<LogEntry> entries_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace ds::tool
