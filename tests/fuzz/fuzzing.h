// What the fuzzers have in common. Included by one source of a program.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

// What has to hold of any input.
inline void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// Where memory was allocated is asked for once there is a finding, and dear before.
extern "C" const char* __asan_default_options() {
  return "malloc_context_size=2:quarantine_size_mb=16";
}
