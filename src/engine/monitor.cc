#include "engine/monitor.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/log.h"

namespace ds {
namespace {

Result<std::string> MakeFolder(const MonitorOptions::Sink& sink) {
  std::string folder = (std::filesystem::path(sink.output_path) / sink.job_name).string();
  if (folder.empty()) folder = ".";
  DS_TRY(MakeDirectories(folder));
  return folder;
}

}  // namespace

Result<std::unique_ptr<Monitor>> Monitor::Create(const MonitorOptions& options) {
  std::unique_ptr<Monitor> monitor(new Monitor);
  if (options.tensorboard.enabled) {
    DS_ASSIGN(const std::string folder, MakeFolder(options.tensorboard));
    DS_ASSIGN(AppendFile file, AppendFile::Open(folder + "/" + EventFileName()));
    DS_TRY(file.Append(VersionRecord(WallTime())));
    monitor->events_.emplace(std::move(file));
  }
  if (options.csv.enabled) {
    DS_ASSIGN(monitor->csv_folder_, MakeFolder(options.csv));
    DS_ASSIGN(AtomicFile probe, AtomicFile::Create(monitor->csv_folder_ + "/.monitor"));
    (void)probe;  // gone again here: the folder can be written to
  }
  return monitor;
}

void Monitor::Write(int64_t samples, std::span<const Scalar> scalars) {
  if (!status_.ok()) return;
  if (events_.has_value()) status_ = events_->Append(ScalarRecord(WallTime(), samples, scalars));
  if (!csv_folder_.empty()) {
    for (const Scalar& scalar : scalars) {
      if (status_.ok()) status_ = WriteCsv(samples, scalar);
    }
  }
  if (!status_.ok()) {
    Log(LogLevel::kError, "monitor", "{}; nothing more is written", status_.message());
  }
}

// A file a tag, Train_Samples_lr.csv, which names its columns once.
Status Monitor::WriteCsv(int64_t samples, const Scalar& scalar) {
  std::string name(scalar.tag);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '/' || c == ' '; }, '_');
  auto it = csv_files_.find(name);
  if (it == csv_files_.end()) {
    DS_ASSIGN(AppendFile file, AppendFile::Open(fmt::format("{}/{}.csv", csv_folder_, name)));
    if (file.bytes() == 0) {
      DS_TRY(file.Append(fmt::format("step,{}\n", scalar.tag.substr(scalar.tag.rfind('/') + 1))));
    }
    it = csv_files_.emplace(name, std::move(file)).first;
  }
  return it->second.Append(fmt::format("{},{}\n", samples, scalar.value));
}

}  // namespace ds
