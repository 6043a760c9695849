#include "comm/board.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <new>
#include <thread>

namespace ds::comm {

void Reason::Set(const Status& why, int by, uint64_t meeting) {
  uint32_t unset = kUnset;
  if (!state_.compare_exchange_strong(unset, kBeingSet)) {
    // Being written, unless its writer died over it.
    for (int i = 0; i < 1000 && !is_set(); ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(i < 10 ? 0 : 100));
    }
    return;
  }
  code_ = static_cast<int32_t>(why.code());
  by_ = by;
  meeting_ = meeting;
  const size_t length = std::min(why.message().size(), sizeof text_ - 1);
  std::memcpy(text_, why.message().data(), length);
  text_[length] = '\0';
  state_.store(kSet, std::memory_order_release);
}

Board* Board::Make(void* memory, int size) {
  auto* board = new (memory) Board;
  board->size = size;
  for (int r = 0; r < size; ++r) (new (&board->member(r)) Member)->number = r;
  return board;
}

// The waker changes what is waited for and then looks for sleepers; the sleeper enters itself and
// then looks at what it waits for. One of the two sees the other.
void Board::Wake() {
  if (sleepers.load() == 0) return;
  epoch.fetch_add(1);
  syscall(SYS_futex, &epoch, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Board::Sleep(uint32_t seen, std::chrono::nanoseconds longest) {
  const int64_t ns = std::max<int64_t>(longest.count(), 1000);
  const timespec limit = {ns / 1'000'000'000, ns % 1'000'000'000};
  syscall(SYS_futex, &epoch, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

}  // namespace ds::comm
