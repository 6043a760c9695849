#include "base/host.h"

#include <fmt/core.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

namespace ds {
namespace {

// Of a file of limits, up to the word "max", which stands where there is none.
std::vector<int64_t> NumbersIn(const std::string& path) {
  std::ifstream file(path);
  std::vector<int64_t> numbers;
  for (int64_t number; file >> number;) numbers.push_back(number);
  return numbers;
}

void LimitCores(double quota, double period, GroupLimits& limits) {
  if (quota > 0 && period > 0) limits.cores = std::min(limits.cores, quota / period);
}

void LimitMemory(const std::vector<int64_t>& bytes, GroupLimits& limits) {
  if (!bytes.empty() && bytes[0] >= 0) limits.memory = std::min(limits.memory, bytes[0]);
}

// Those of the group whose folder it is; files of controllers that are not there set none.
void ReadGroup(const std::string& folder, GroupLimits& limits) {
  LimitMemory(NumbersIn(folder + "/memory.max"), limits);
  LimitMemory(NumbersIn(folder + "/memory.limit_in_bytes"), limits);
  if (const auto cpu = NumbersIn(folder + "/cpu.max"); cpu.size() == 2) {
    LimitCores(static_cast<double>(cpu[0]), static_cast<double>(cpu[1]), limits);
  }
  const auto quota = NumbersIn(folder + "/cpu.cfs_quota_us");
  const auto period = NumbersIn(folder + "/cpu.cfs_period_us");
  if (!quota.empty() && !period.empty()) {
    LimitCores(static_cast<double>(quota[0]), static_cast<double>(period[0]), limits);
  }
}

// Where the groups of a line of /proc/self/cgroup, "NUMBER:CONTROLLERS:PATH", are mounted.
std::vector<std::string> MountsOf(std::string_view controllers) {
  if (controllers.empty()) return {"", "/unified"};  // the second version
  std::vector<std::string> mounts;
  for (const char* name : {"memory", "cpu"}) {
    for (size_t at = 0; at <= controllers.size();) {
      const size_t end = std::min(controllers.find(',', at), controllers.size());
      if (controllers.substr(at, end - at) == name) mounts.push_back(std::string("/") + name);
      at = end + 1;
    }
  }
  return mounts;
}

}  // namespace

GroupLimits ReadGroupLimits(const std::string& root) {
  GroupLimits limits;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    for (const std::string& mount : MountsOf(controllers)) {
      // In a container the way may begin above what is mounted there: the root is looked at too.
      for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
        if (path == "/") path.clear();
        ReadGroup(fmt::format("{}/sys/fs/cgroup{}{}", root, mount, path), limits);
        if (path.find('/') == path.npos) break;
      }
    }
  }
  return limits;
}

int UsableCores() {
  static const int cores = [] {
    double scheduled = std::thread::hardware_concurrency();
    cpu_set_t set;  // fails on hosts of more than 1024 cores
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
      scheduled = std::min<double>(scheduled, CPU_COUNT(&set));
    }
    return std::max(1, static_cast<int>(std::ceil(std::min(scheduled, ReadGroupLimits("").cores))));
  }();
  return cores;
}

int64_t UsableMemory() {
  static const int64_t bytes = std::min(MachineMemory(), ReadGroupLimits("").memory);
  return bytes;
}

int64_t MachineMemory() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

}  // namespace ds
