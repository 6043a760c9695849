// operator new of this program, which can be made to fail. Counts the calling thread alone.
#pragma once

#include <cstdint>

namespace ds::test {

// The `n`-th allocation of this thread from now on fails, and those after it succeed.
void FailNew(int64_t n);
// Ends that; returns whether one failed.
bool StopFailingNew();

}  // namespace ds::test
