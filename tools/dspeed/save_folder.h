// The folder of --save: whether a run may write into it, who does, and what an earlier run left
// there. What is in a save is the trainer's business.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "checkpoint/run_state.h"
#include "comm/communicator.h"
#include "token/tokenizer.h"
#include "train_plan.h"

namespace ds::tool {

// Where in a saved folder the state for a resume lies.
inline std::string StateFolder(const std::string& folder) { return folder + "/resume"; }

// A folder that cannot be written is found before hours of work, not after.
Status CheckWritable(const std::string& folder);

// The run that --save holds, if it holds one; none, where one that cannot be read is replaced.
Result<std::optional<checkpoint::RunManifest>> ReadRun(const TrainFlags& flags);

// Nothing is mixed that would then be taken for one model: weights and adapters, or a model and
// the tokenizer of who knows what; and what no run wrote is replaced only where that is asked for.
// `tokenizer`: of the run, or null.
Status CheckSave(const TrainPlan& plan, const token::Tokenizer* tokenizer);

// The --out of a command that makes a model: nothing is there that it would be mixed with, or a
// model that is to be replaced.
Status CheckModelOut(const std::string& out, bool overwrite);
// ... that makes a tokenizer: no model is there that has another, nor a tokenizer by itself.
Status CheckTokenizerOut(const std::string& out, bool overwrite);
// Writes one there: files that would be read with it, and are of another, go, and what killed
// writers left.
Status SaveTokenizer(const std::string& folder, const token::Tokenizer& tokenizer);

// Whether all processes of a job see what rank 0 writes into --save; one that does not looks again
// for up to half of `timeout` seconds. Collective.
Status CheckOneFolder(comm::Communicator& comm, const std::string& folder, double timeout);

// The run that --save holds, where it is to go on. One that is not done is not replaced unless that
// is asked for. `speaks`: refuses, and says what it finds; else another process does.
Result<std::optional<checkpoint::RunManifest>> FindResumed(const TrainFlags& flags, bool speaks);

// Before the first save of a run, or a merge: what killed writers left half-written goes.
Status ClearLeftovers(const std::string& folder);
// What goes where a model comes. First the config, for without it nothing that is left is read as a
// model; then a model in parts, the files of another tokenizer, and how to generate, but in `from`,
// where that is gone on from.
void RemoveReplaced(FolderChange& change, const std::string& folder,
                    const token::Tokenizer* tokenizer, const std::string& from);
// The model in the folder is the one that a run writes in its save of this number. That comes into
// force after the model does: in between, the same command may write the model again.
Status AddMark(FolderChange& change, const std::string& folder, int64_t save);
// Whether it is; no: a save came to its end by half.
bool IsOfSave(const std::string& folder, int64_t save);

// Held by the one process that may write into the folder. The system frees it when the process
// ends, however it ends.
class FolderLock {
 public:
  // The folder is made. Fails with the number of the process that has it.
  static Result<FolderLock> Take(const std::string& folder, const char* flag = "--save");
  // The same for another command's --out, which must be there and gets no file of the lock.
  static Result<FolderLock> TakeOut(const std::string& folder);
  // The same for the folder of --log; what killed writers left in it goes.
  static Result<FolderLock> TakeLog(const std::string& folder);
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  static Result<FolderLock> TakeFolder(const std::string& folder, const char* flag);

  int fd_;
};

}  // namespace ds::tool
