// What a program waits for that loads the library: dlopen, the version, a communicator of one rank
// with its threads, and the end of it. Each time in a process of its own, where nothing is loaded.
#include <deepspeed/deepspeed.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "ratio.h"

namespace ds::bench {
namespace {

constexpr double kGoalSeconds = 5e-3;

// In the child: the seconds, or the reason why there are none.
double LoadOnce(const std::string& path) {
  const char* missing = nullptr;
  const double seconds = Seconds([&] {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    const auto symbol = [&](const char* name) {
      void* found = library == nullptr ? nullptr : dlsym(library, name);
      if (found == nullptr) missing = name;
      return found;
    };
    const auto version = reinterpret_cast<decltype(&ds_version)>(symbol("ds_version"));
    const auto create =
        reinterpret_cast<decltype(&ds_comm_create_self)>(symbol("ds_comm_create_self"));
    const auto destroy = reinterpret_cast<decltype(&ds_comm_destroy)>(symbol("ds_comm_destroy"));
    ds_comm* comm = nullptr;
    if (missing != nullptr || version() == 0 || create(nullptr, &comm) != DS_OK) {
      missing = missing != nullptr ? missing : "a communicator";
      return;
    }
    destroy(comm);
  });
  if (missing == nullptr) return seconds;
  std::fprintf(stderr, "%s: no %s\n", path.c_str(), missing);
  return -1;
}

double LoadInChild(const std::string& path) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    const double seconds = LoadOnce(path);
    const bool told = write(ends[1], &seconds, sizeof seconds) == sizeof seconds;
    _exit(told ? 0 : 1);
  }
  close(ends[1]);
  double seconds = -1;
  if (read(ends[0], &seconds, sizeof seconds) != sizeof seconds) seconds = -1;
  close(ends[0]);
  int status = 0;
  if (child > 0) waitpid(child, &status, 0);
  return child > 0 && status == 0 ? seconds : -1;
}

int Load() {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::string path = folder.parent_path() / "lib" / "libdeepspeed.so";
  std::vector<double> times;
  for (int i = 0; i < 21; ++i) {
    const double seconds = LoadInChild(path);
    if (seconds < 0) return 1;
    times.push_back(seconds);
  }
  const double median = Median(times);
  std::printf("load: %.2f ms, longest %.2f ms\n", median * 1e3,
              *std::max_element(times.begin(), times.end()) * 1e3);
  Report("load", kGoalSeconds / median, "5 ms", 1.0);
  return 0;
}

}  // namespace
}  // namespace ds::bench

int main() { return ds::bench::Load(); }
