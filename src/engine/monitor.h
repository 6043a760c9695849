// The sections `tensorboard` and `csv_monitor` of ds_config.json: curves of a run as files, under
// DeepSpeed's names and tags, over the samples that were trained on. Rank 0 alone writes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

#include "base/append_file.h"
#include "base/status.h"
#include "engine/event_record.h"

namespace ds {

struct MonitorOptions {
  // Files go to output_path/job_name.
  struct Sink {
    bool enabled = false;
    std::string output_path, job_name = "DeepSpeedJobName";
  };
  Sink tensorboard = {}, csv = {};

  bool enabled() const { return tensorboard.enabled || csv.enabled; }
};

class Monitor {
 public:
  // Makes the folders, and the event file.
  static Result<std::unique_ptr<Monitor>> Create(const MonitorOptions& options);

  // To every sink. After a failure nothing more is written: curves are no reason to end a run, and
  // whoever thinks otherwise asks for status().
  void Write(int64_t samples, std::span<const Scalar> scalars);
  const Status& status() const { return status_; }

 private:
  Status WriteCsv(int64_t samples, const Scalar& scalar);

  std::optional<AppendFile> events_;
  std::string csv_folder_;  // empty: none
  std::unordered_map<std::string, AppendFile> csv_files_;
  Status status_;
};

}  // namespace ds
