// The log of a run, in three forms that say the same: log.jsonl (a JSON object a step), log.csv
// (for spreadsheets and pandas) and an event file for TensorBoard. All are written as the step
// ends.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/append_file.h"
#include "base/status.h"
#include "device/memory.h"

namespace ds::tool {

// Of a step as rank 0 saw it: what it waited for, and what the update cost. The rest is compute.
struct PhaseMs {
  double gather = 0, reduce = 0, norm = 0, update = 0;
  double sum() const { return gather + reduce + norm + update; }
};

struct LogEntry {
  int64_t step = 0;      // from 1
  double loss = 0;       // nats a token
  double grad_norm = 0;  // before clipping
  double lr = 0;
  int64_t tokens = 0;    // of the sequences so far, over all ranks, padding among them
  double ms = 0;         // of this step, without evaluation and saving
  bool skipped = false;  // the norm was not finite
  double loss_scale = 1;
  std::optional<double> val_loss;
  std::vector<double> val_losses;  // of each text, where there are several
  int64_t samples = 0;             // trained on so far, over all ranks
  PhaseMs phases;
  std::array<int64_t, device::kMemoryKinds> memory = {};  // bytes that rank 0 holds, by kind

  // Every step trains on as many.
  double tokens_per_second() const {
    return step > 0 && ms > 0 ? static_cast<double>(tokens) / static_cast<double>(step) / ms * 1e3
                              : 0.0;
  }
};

class TrainLog {
 public:
  // Makes the folder. Keeps the entries up to `last_step` of a log that is there, drops the rest.
  // All three come from log.jsonl: where that has fewer steps than log.csv, what is there is moved
  // into a folder below.
  static Result<TrainLog> Open(const std::string& folder, int64_t last_step);
  // Which was done, and why; empty: it was not.
  const std::string& note() const { return note_; }

  // The last step that a log says; 0: none is there.
  static Result<int64_t> LastStep(const std::string& folder);

  Status Append(const LogEntry& entry);
  const std::vector<LogEntry>& entries() const { return entries_; }
  const std::string& folder() const { return folder_; }

 private:
  TrainLog(std::string folder, std::vector<LogEntry> entries)
      : folder_(std::move(folder)), entries_(std::move(entries)) {}

  std::string folder_;
  std::vector<LogEntry> entries_;
  std::string note_;
  std::vector<AppendFile> files_;  // one a form
};

// Under a name of its own, so that it is replaced by the next run into the folder.
inline constexpr const char* kEventFile = "events.out.tfevents.0.dspeed";

}  // namespace ds::tool
