// MPI behind the module interface. Nothing here waits without an end: what MPI does collectively is
// started and then looked at until a time is over. Errors come back as values, never as an abort of
// the job: on communicators of our own MPI is told to return them.
#include <mpi.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <thread>

#include "comm/mpi_module.h"

struct ds_mpi_group {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0, size = 1, tags = 32768;
  bool threads = false;
};

namespace {

using Clock = std::chrono::steady_clock;

// Of MPI as this module started it; the host program finishes what it started itself.
std::atomic<bool> healthy = true;

// The process that started it.
pid_t starter = 0;

// Whether MPI takes calls of several threads at once. Where it does not, all groups of the process
// take turns, for as long as one call of MPI lasts.
std::atomic<bool> takes_several = false;
std::mutex in_mpi;

class Turn {
 public:
  Turn() : lock_(in_mpi, std::defer_lock) {
    if (!takes_several) lock_.lock();
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

void Say(char* why, size_t bytes, const std::string& text) {
  std::snprintf(why, bytes, "%s", text.c_str());
}

std::string ErrorText(int error) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(error, text, &length);
  return std::string(text, length);
}

// Whether it was over in time.
bool Await(MPI_Request& request, double seconds) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  for (;;) {
    int done = 0;
    {
      const Turn turn;
      if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    }
    if (done != 0) return true;
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

// MPI_Finalize waits for all processes. So they meet first, where a time-out is possible, and it is
// left out when one does not come: the launcher then reports that, as it should. After a failure
// none may be expected any more, though those that come may be some seconds late.
void Finalize() {
  if (::getpid() != starter) return;  // a child of a fork, which MPI knows nothing of
  int over = 0;
  MPI_Finalized(&over);
  if (over != 0) return;
  MPI_Request barrier;
  if (MPI_Ibarrier(MPI_COMM_WORLD, &barrier) == MPI_SUCCESS && Await(barrier, healthy ? 30 : 4)) {
    MPI_Finalize();
  }
}

const char* Start(int* level) {
  const std::lock_guard lock(in_mpi);  // of two that start it, one does
  int begun = 0, over = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&over);
  if (over != 0) return "MPI_Finalize was called already";
  if (begun != 0) {
    MPI_Query_thread(level);
    takes_several = *level >= MPI_THREAD_MULTIPLE;
    return nullptr;
  }
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, level) != MPI_SUCCESS) {
    return "MPI_Init_thread failed";
  }
  takes_several = *level >= MPI_THREAD_MULTIPLE;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  starter = ::getpid();
  std::atexit(Finalize);
  return nullptr;
}

// A communicator of our own with the ranks of `comm`, whose own error handler stays.
std::string Duplicate(MPI_Comm comm, double seconds, MPI_Comm* twin) {
  MPI_Errhandler theirs;
  MPI_Request request;
  int error = MPI_SUCCESS;
  {
    const Turn turn;
    MPI_Comm_get_errhandler(comm, &theirs);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    error = MPI_Comm_idup(comm, twin, &request);
  }
  const bool in_time = error == MPI_SUCCESS && Await(request, seconds);
  const Turn turn;
  MPI_Comm_set_errhandler(comm, theirs);
  if (theirs != MPI_ERRORS_RETURN && theirs != MPI_ERRORS_ARE_FATAL) MPI_Errhandler_free(&theirs);
  if (error != MPI_SUCCESS) return "MPI_Comm_idup: " + ErrorText(error);
  if (in_time) return {};
  char text[96];
  std::snprintf(text, sizeof text, "timed out after %g s in MPI_Comm_idup: some rank did not come",
                seconds);
  return text;
}

const char* Describe() {
  static const std::string text = [] {
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(version, &length);
    std::string all(version, length);
    return all.substr(0, all.find_first_of(",\n"));
  }();
  return text.c_str();
}

int32_t Open(const void* comm, double timeout_seconds, ds_mpi_group** out, char* why,
             size_t why_bytes) {
  int level = MPI_THREAD_SINGLE;
  if (const char* failed = Start(&level); failed != nullptr) {
    Say(why, why_bytes, failed);
    return 1;
  }
  MPI_Comm given = MPI_COMM_WORLD;
  if (comm != nullptr) std::memcpy(&given, comm, sizeof given);
  if (given == MPI_COMM_NULL) {
    Say(why, why_bytes, "the communicator is MPI_COMM_NULL");
    return 1;
  }
  auto* group = new (std::nothrow) ds_mpi_group;
  if (group == nullptr) {
    Say(why, why_bytes, "out of memory");
    return 1;
  }
  if (const std::string failed = Duplicate(given, timeout_seconds, &group->comm); !failed.empty()) {
    healthy = false;
    Say(why, why_bytes, failed);
    return 1;  // the group stays: MPI may still write to it
  }
  const Turn turn;
  MPI_Comm_set_errhandler(group->comm, MPI_ERRORS_RETURN);
  MPI_Comm_rank(group->comm, &group->rank);
  MPI_Comm_size(group->comm, &group->size);
  group->threads = level >= MPI_THREAD_SERIALIZED;
  int found = 0;
  int* most = nullptr;
  MPI_Comm_get_attr(group->comm, MPI_TAG_UB, &most, &found);
  if (found != 0) group->tags = *most;
  *out = group;
  return 0;
}

int32_t Rank(const ds_mpi_group* group) { return group->rank; }
int32_t Size(const ds_mpi_group* group) { return group->size; }
int32_t Tags(const ds_mpi_group* group) { return group->tags; }
int32_t Threads(const ds_mpi_group* group) { return group->threads ? 1 : 0; }

template <typename Begin>
int32_t Started(void** out, const Begin& begin) {
  auto* request = new (std::nothrow) MPI_Request(MPI_REQUEST_NULL);
  if (request == nullptr) return 1;
  const Turn turn;
  if (begin(request) != MPI_SUCCESS) {
    delete request;
    return 1;
  }
  *out = request;
  return 0;
}

int32_t Send(ds_mpi_group* group, int32_t to, int32_t tag, const void* data, size_t bytes,
             void** out) {
  return Started(out, [&](MPI_Request* request) {
    return MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, tag, group->comm, request);
  });
}

int32_t Receive(ds_mpi_group* group, int32_t from, int32_t tag, void* data, size_t bytes,
                void** out) {
  return Started(out, [&](MPI_Request* request) {
    return MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, tag, group->comm, request);
  });
}

int32_t Test(void** handle) {
  auto* request = static_cast<MPI_Request*>(*handle);
  int done = 0;
  const Turn turn;
  const int error = MPI_Test(request, &done, MPI_STATUS_IGNORE);
  if (error == MPI_SUCCESS && done == 0) return 0;
  delete request;
  *handle = nullptr;
  return error == MPI_SUCCESS ? 1 : -1;
}

int32_t Cancel(void** handle) {
  auto* request = static_cast<MPI_Request*>(*handle);
  int done = 0;
  const Turn turn;
  MPI_Cancel(request);
  MPI_Test(request, &done, MPI_STATUS_IGNORE);
  if (done == 0) return 0;
  delete request;
  *handle = nullptr;
  return 1;
}

// MPI_Comm_free is collective, and a rank that leaves does not wait for the others.
void Close(ds_mpi_group* group, int32_t is_healthy) {
  if (is_healthy == 0) healthy = false;
  delete group;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const ds_mpi_module* ds_mpi_entry(void) {
  static const ds_mpi_module module = {DS_MPI_MODULE_VERSION,
                                       Describe,
                                       Open,
                                       Rank,
                                       Size,
                                       Tags,
                                       Threads,
                                       Send,
                                       Receive,
                                       Test,
                                       Cancel,
                                       Close};
  return &module;
}
