#include "save_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>

#include "base/file.h"
#include "command.h"
#include "infer/generation_config.h"

namespace ds::tool {
namespace {

constexpr char kIndex[] = "model.safetensors.index.json";

// The first file of a model or of adapters that is there; empty: none is.
std::string ModelFileIn(const std::string& folder) {
  std::error_code none;
  for (const char* name : {"config.json", "model.safetensors", kIndex, "adapter_config.json"}) {
    if (std::filesystem::exists(folder + "/" + name, none)) return name;
  }
  return {};
}

// The parts of a model that a save writes as one file: the index goes first.
std::vector<std::filesystem::path> ShardsOf(const std::string& folder) {
  std::vector<std::filesystem::path> found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    const bool shard = name.starts_with("model-") && name.ends_with(".safetensors") &&
                       name.find("-of-") != name.npos;
    if (shard) found.push_back(at->path());
    if (name == kIndex) found.insert(found.begin(), at->path());
  }
  return found;
}

// Files of a tokenizer that is not this one.
std::vector<std::string> OtherTokenizer(const std::string& folder,
                                        const token::Tokenizer* tokenizer) {
  std::vector<std::string> names = token::TokenizerFilesOf(folder);
  std::erase_if(names, [&](const std::string& name) {
    if (tokenizer == nullptr) return false;
    const auto& files = tokenizer->files();
    return std::any_of(files.begin(), files.end(),
                       [&](const token::TokenizerFile& file) { return file.name == name; });
  });
  return names;
}

bool TakeDigits(std::string_view& text) {
  const size_t digits = text.size() - (text.find_last_not_of("0123456789") + 1);
  text.remove_suffix(digits);
  return digits > 0;
}

// "NAME.tmp.PROCESS.NUMBER", as an AtomicFile is called until it is whole, of a name that a save
// writes.
bool IsLeftover(std::string_view name) {
  constexpr std::string_view kTemporary = ".tmp";
  constexpr std::string_view kEnds[] = {".safetensors", ".json",  ".jinja", "model",
                                        ".dspeed",      ".jsonl", ".csv",   ".svg"};
  for (int number = 0; number < 2; ++number) {
    if (!TakeDigits(name) || !name.ends_with('.')) return false;
    name.remove_suffix(1);
  }
  if (!name.ends_with(kTemporary)) return false;
  name.remove_suffix(kTemporary.size());
  return std::any_of(std::begin(kEnds), std::end(kEnds),
                     [&](std::string_view end) { return name.ends_with(end); });
}

std::string MarkIn(const std::string& folder) { return StateFolder(folder) + "/model"; }

std::string MarkText(int64_t save) { return fmt::format("of save {}\n", save); }

Status CheckFolder(const char* flag, const std::string& path) {
  std::error_code none;
  if (!std::filesystem::exists(path, none) || std::filesystem::is_directory(path, none)) return {};
  return InvalidArgument("{} is {}, which is a file: expected a folder, or nothing", flag, path);
}

Status Remove(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  if (!error) return {};
  return Error(Code::kIo, "{}: cannot remove: {}", path.string(), error.message());
}

Status RemoveTemporaries(const std::string& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> found;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    if (IsLeftover(at->path().filename().string())) found.push_back(at->path());
  }
  for (const auto& path : found) DS_TRY(Remove(path));
  return {};  // a folder that is not there yet has none
}

}  // namespace

Status CheckWritable(const std::string& folder) {
  DS_TRY(MakeDirectories(folder));
  DS_ASSIGN(AtomicFile probe, AtomicFile::Create(folder + "/.dspeed"));
  (void)probe;  // gone again here
  return {};
}

Result<std::optional<checkpoint::RunManifest>> ReadRun(const TrainFlags& flags) {
  DS_TRY(CheckFolder("--save", flags.save));
  auto run = checkpoint::ReadRunManifest(StateFolder(flags.save));
  if (run.status().code() != Code::kCorruptData) return run;
  if (flags.overwrite) return std::optional<checkpoint::RunManifest>();
  return Error(Code::kCorruptData, "{}: --overwrite begins anew in its place",
               run.status().message());
}

// Where there is a model and no manifest: a first save that was killed between the two may be begun
// anew by who resumes; all else is somebody's model.
Status CheckModelWithoutRun(const std::string& save, const std::string& model, bool resume) {
  auto mark = ReadFile(MarkIn(save));
  if (mark.status().code() == Code::kNotFound) {
    return InvalidArgument(
        "--save is {}, which has {} and was not written by a run: give another folder, or "
        "--overwrite to replace it",
        save, model);
  }
  DS_TRY(mark.status());
  if (resume && *mark == MarkText(1)) return {};
  return InvalidArgument(
      "--save is {}, which has the {} of a run whose resume/run.json is not there: bring that "
      "back, "
      "give another folder, or --overwrite to begin anew in its place",
      save, model);
}

Status CheckSave(const TrainPlan& plan, const token::Tokenizer* tokenizer) {
  const std::string& save = plan.flags.save;
  if (save.empty()) return {};
  std::error_code none;
  const bool lora = plan.lora.has_value();
  const char* const other = lora ? "config.json" : "adapter_config.json";
  if (std::filesystem::exists(save + "/" + other, none)) {
    return InvalidArgument(
        "--save is {}, which has {}: {} would be mixed with it; give another folder", save, other,
        lora ? "adapters" : "a model");
  }
  for (const char* name : {"config.json", "model.safetensors", kIndex, infer::kGenerationConfig,
                           "adapter_config.json", "adapter_model.safetensors"}) {
    if (!std::filesystem::is_directory(save + "/" + name, none)) continue;
    return InvalidArgument("--save is {}, where {} is a folder: a file is to be written there",
                           save, name);
  }
  // It goes with what is saved, with one end more where there are conversations.
  if (const auto& place = plan.flags.lora.place; place && plan.flags.end_of_turn) {
    DS_TRY(infer::ReadGenerationConfig(place->generation, plan.model).status());
  }
  DS_ASSIGN(const auto before, ReadRun(plan.flags));
  if (const std::string name = ModelFileIn(save);
      !name.empty() && !before.has_value() && !plan.flags.overwrite) {
    DS_TRY(CheckModelWithoutRun(save, name, plan.flags.resume));
  }
  const std::vector<std::string> files = OtherTokenizer(save, tokenizer);
  if (files.empty() || before.has_value()) return {};  // that of an earlier run goes with its model
  return InvalidArgument(
      "--save is {}, which has the {} of another tokenizer than this run's ({}); give another "
      "folder",
      save, files[0], tokenizer == nullptr ? "none" : tokenizer->description());
}

Status CheckModelOut(const std::string& out, bool overwrite) {
  DS_TRY(CheckFolder("--out", out));
  std::error_code none;
  for (const auto& [name, what] : {std::pair(StateFolder(out), "a run"),
                                   std::pair(out + "/adapter_config.json", "adapters")}) {
    if (!std::filesystem::exists(name, none)) continue;
    return InvalidArgument("--out is {}, which holds {}: give another folder", out, what);
  }
  const std::vector<std::string> tokenizer = OtherTokenizer(out, nullptr);
  const std::string model = ModelFileIn(out);
  if (overwrite || (model.empty() && tokenizer.empty())) return {};
  return InvalidArgument(
      "--out is {}, which has {}: give another folder, or --overwrite to replace it", out,
      model.empty() ? tokenizer[0] : model);
}

Status CheckTokenizerOut(const std::string& out, bool overwrite) {
  if (const std::string model = ModelFileIn(out); !model.empty()) {
    return InvalidArgument(
        "--out is {}, which has {}: what that model reads is by the tokenizer that it has; give "
        "another folder",
        out, model);
  }
  std::error_code none;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", token::kChatTemplate}) {
    if (!std::filesystem::is_directory(out + "/" + name, none)) continue;
    return InvalidArgument("--out is {}, where {} is a folder: a file is to be written there", out,
                           name);
  }
  const std::vector<std::string> tokenizer = OtherTokenizer(out, nullptr);
  if (overwrite || tokenizer.empty()) return {};
  return InvalidArgument(
      "--out is {}, which has {}: give another folder, or --overwrite to replace it", out,
      tokenizer[0]);
}

Status SaveTokenizer(const std::string& folder, const token::Tokenizer& tokenizer) {
  DS_TRY(RemoveTemporaries(folder));
  FolderChange change;
  for (const std::string& name : OtherTokenizer(folder, &tokenizer)) {
    change.Remove(fmt::format("{}/{}", folder, name));
  }
  DS_TRY(tokenizer.AddTo(change, folder));
  return change.Commit();
}

Status CheckOneFolder(comm::Communicator& comm, const std::string& folder, double timeout) {
  std::array<char, 256> name = {};
  std::optional<AtomicFile> mark;
  if (comm.rank() == 0) {
    DS_ASSIGN(AtomicFile made, AtomicFile::Create(MarkIn(folder)));
    const std::string file = std::filesystem::path(made.temporary()).filename().string();
    file.copy(name.data(), name.size() - 1);
    mark.emplace(std::move(made));
  }
  DS_TRY(comm.Broadcast("folder of the save", 0, std::as_writable_bytes(std::span(name))));
  // A network's file system may know for a while what was not there when it was last asked.
  const std::string path = StateFolder(folder) + "/" + name.data();
  const auto wait = std::chrono::duration<double>(std::min(60.0, timeout / 2));
  const auto end = std::chrono::steady_clock::now() + wait;
  std::error_code error;
  bool sees = std::filesystem::exists(path, error);
  while (!sees && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    sees = std::filesystem::exists(path, error);
  }
  const std::string where =
      fmt::format("{}{}{}", folder, error ? ": " : "", error ? error.message() : std::string());
  std::array<char, 512> mine = {};  // empty: it sees it
  if (!sees) where.copy(mine.data(), mine.size() - 1);
  std::vector<std::array<char, 512>> all(static_cast<size_t>(comm.size()));
  DS_TRY(comm.AllGather("folder of the save", std::as_bytes(std::span(mine)),
                        std::as_writable_bytes(std::span(all))));
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank][0] == 0) continue;
    return Error(Code::kRankMismatch,
                 "--save: what rank 0 writes rank {} does not see in {}; it has to be one folder "
                 "for all ranks",
                 rank, all[rank].data());
  }
  return {};
}

Result<std::optional<checkpoint::RunManifest>> FindResumed(const TrainFlags& flags, bool speaks) {
  if (flags.save.empty()) return std::optional<checkpoint::RunManifest>();
  DS_ASSIGN(auto resumed, ReadRun(flags));
  if (flags.resume && !resumed.has_value() && speaks) {
    Say("nothing to resume in {}: starting at step 0\n", flags.save);
  } else if (!flags.resume && resumed.has_value()) {
    int64_t steps = 0;  // a state of an older program does not say how many there were to be
    DS_TRY(ReadKey(resumed->facts, "steps", steps));
    if (speaks && !flags.overwrite) {
      const bool done = resumed->step >= steps;
      return InvalidArgument(
          "--save is {}, which holds a run that is {} step {}{}: --resume {}, --overwrite begins "
          "anew in its place",
          flags.save, done ? "done at" : "at", resumed->step,
          done ? "" : fmt::format(" of {}", steps),
          done ? "with more --steps or --epochs continues it" : "continues it");
    }
    resumed.reset();
  }
  return resumed;
}

Status ClearLeftovers(const std::string& folder) {
  DS_TRY(RemoveTemporaries(folder));
  DS_TRY(RemoveTemporaries(StateFolder(folder)));
  return checkpoint::RemoveUncommitted(StateFolder(folder));
}

void RemoveReplaced(FolderChange& change, const std::string& folder,
                    const token::Tokenizer* tokenizer, const std::string& from) {
  for (const char* config : {"config.json", "adapter_config.json"}) {
    change.Remove(fmt::format("{}/{}", folder, config));
  }
  for (const auto& shard : ShardsOf(folder)) change.Remove(shard);
  for (const std::string& name : OtherTokenizer(folder, tokenizer)) {
    change.Remove(fmt::format("{}/{}", folder, name));
  }
  std::error_code other;  // ... or none such
  if (std::filesystem::equivalent(folder, from, other)) return;
  change.Remove(fmt::format("{}/{}", folder, infer::kGenerationConfig));
}

Status AddMark(FolderChange& change, const std::string& folder, int64_t save) {
  return change.Add(MarkIn(folder), MarkText(save));
}

bool IsOfSave(const std::string& folder, int64_t save) {
  auto text = ReadFile(MarkIn(folder));
  return text.ok() && *text == MarkText(save);
}

Result<FolderLock> FolderLock::TakeFolder(const std::string& folder, const char* flag) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Error(Code::kIo, "{}: cannot open: {}", folder, std::strerror(errno));
  FolderLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return Error(Code::kInvalidState,
                 "{} is {}, which another process is writing to: wait for its end, or give another "
                 "folder",
                 flag, folder);
  }
  return lock;
}

Result<FolderLock> FolderLock::TakeLog(const std::string& folder) {
  DS_ASSIGN(FolderLock lock, TakeFolder(folder, "--log"));
  DS_TRY(RemoveTemporaries(folder));
  return lock;
}

Result<FolderLock> FolderLock::TakeOut(const std::string& folder) {
  std::error_code error;
  if (!std::filesystem::exists(StateFolder(folder) + "/lock", error)) {
    return TakeFolder(folder, "--out");
  }
  return Take(folder, "--out");  // a run writes here
}

Result<FolderLock> FolderLock::Take(const std::string& folder, const char* flag) {
  DS_TRY(MakeDirectories(StateFolder(folder)));
  const std::string path = StateFolder(folder) + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) return Error(Code::kIo, "{}: cannot open: {}", path, std::strerror(errno));
  FolderLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    // Some file systems have no locks; there nothing is known of others.
    if (errno != EWOULDBLOCK) return lock;
    char pid[32] = {};
    const ssize_t size = ::pread(fd, pid, sizeof pid - 1, 0);
    const std::string who = size > 0 ? std::string(pid, std::strcspn(pid, "\n")) : "?";
    return Error(Code::kInvalidState,
                 "{} is {}, which process {} is training into: wait for its end, or give another "
                 "folder",
                 flag, folder, who);
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  const bool written = ::ftruncate(fd, 0) == 0 && ::pwrite(fd, pid.data(), pid.size(), 0) > 0;
  (void)written;  // it is for who is refused; the lock holds without it
  return lock;
}

FolderLock::FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace ds::tool
