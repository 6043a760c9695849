#include "device/shared_heap.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "device/memory.h"

namespace ds::device {
namespace {

SharedHeap& Heap() {
  auto heap = SharedHeap::OfProcess(2);
  EXPECT_TRUE(heap.ok()) << heap.status().message();
  return **heap;
}

bool IsZero(const std::byte* data, size_t bytes) {
  return std::all_of(data, data + bytes, [](std::byte b) { return b == std::byte{0}; });
}

TEST(SharedHeap, BlocksAreZeroedApartAndComeAgain) {
  SharedHeap& heap = Heap();
  constexpr size_t kSizes[] = {1, 4096, 70000, (2 << 20) + 1};
  std::vector<std::byte*> blocks;
  for (const size_t bytes : kSizes) {
    std::byte* block = heap.Allocate(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(IsZero(block, bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % (bytes < 2 << 20 ? 4096 : 2 << 20), 0U);
    for (const std::byte* other : blocks) EXPECT_NE(block, other);
    std::fill(block, block + bytes, std::byte{7});
    blocks.push_back(block);
  }
  for (size_t i = 0; i < blocks.size(); ++i) EXPECT_EQ(blocks[i][kSizes[i] - 1], std::byte{7});
  // Freed in an order that joins gaps on both sides.
  for (const int i : {1, 3, 2, 0}) heap.Free(blocks[i]);
  std::byte* whole = heap.Allocate(4 << 20);
  ASSERT_NE(whole, nullptr);
  EXPECT_TRUE(IsZero(whole, 4 << 20));
  EXPECT_EQ(heap.OffsetOf(whole, 4 << 20), 0);
  heap.Free(whole);
}

TEST(SharedHeap, KnowsWhatLiesInIt) {
  SharedHeap& heap = Heap();
  std::byte* block = heap.Allocate(8192);
  const int64_t at = heap.OffsetOf(block, 8192);
  EXPECT_GE(at, 0);
  EXPECT_EQ(heap.OffsetOf(block + 100, 50), at + 100);
  int local = 0;
  EXPECT_EQ(heap.OffsetOf(&local, sizeof local), -1);
  EXPECT_EQ(heap.OffsetOf(nullptr, 0), -1);
  EXPECT_EQ(heap.OffsetOf(block, heap.id().bytes), at == 0 ? 0 : -1);
  EXPECT_EQ(heap.OffsetOf(block, SIZE_MAX), -1);
  EXPECT_EQ(heap.Allocate(SIZE_MAX), nullptr);
  heap.Free(block);
}

TEST(SharedHeap, AnotherProcessReadsItInPlace) {
  SharedHeap& heap = Heap();
  std::byte* block = heap.Allocate(100000);
  ASSERT_NE(block, nullptr);
  block[99999] = std::byte{42};
  const int64_t at = heap.OffsetOf(block, 100000);
  int pipes[2][2];
  ASSERT_EQ(pipe(pipes[0]), 0);
  ASSERT_EQ(pipe(pipes[1]), 0);
  const pid_t child = fork();
  if (child == 0) {
    heap.Free(block);  // as a destructor of the parent's would: takes nothing from it
    auto view = SharedHeapView::Open(heap.id());
    if (!view.ok()) _exit(1);
    const std::byte* theirs = (*view)->at(at, 100000);
    if (theirs == nullptr || theirs[99999] != std::byte{42}) _exit(2);
    if ((*view)->at(at, heap.id().bytes + 1) != nullptr || (*view)->at(-1, 1) != nullptr) _exit(3);
    char byte = 0;
    if (write(pipes[0][1], "r", 1) != 1 || read(pipes[1][0], &byte, 1) != 1) _exit(4);
    _exit(theirs[99999] == std::byte{0} ? 0 : 5);  // freed in the meantime
  }
  char byte = 0;
  EXPECT_EQ(read(pipes[0][0], &byte, 1), 1);
  heap.Free(block);
  EXPECT_EQ(write(pipes[1][1], "g", 1), 1);
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_EQ(WEXITSTATUS(state), 0) << state;
}

TEST(SharedHeap, WhatIsNotThatMemoryIsRefused) {
  SharedHeapId id = Heap().id();
  ++id.inode;
  const auto other = SharedHeapView::Open(id);
  EXPECT_EQ(other.status().message(),
            fmt::format("/proc/{}/fd/{} is not the memory of {} bytes that process {} named",
                        getpid(), id.file, id.bytes, getpid()));
  id.file = 1 << 20;
  EXPECT_EQ(SharedHeapView::Open(id).status().code(), Code::kIo);
}

TEST(Buffer, WhatIsExchangedIsTakenFromTheHeapAsFarAsItReaches) {
  SharedHeap& heap = Heap();
  MemoryAccount account;
  account.set_heap(&heap);
  const auto is_in_heap = [&](MemoryKind kind, int64_t bytes) {
    auto made = Buffer::Create(account, kind, bytes);
    EXPECT_TRUE(made.ok());
    EXPECT_TRUE(IsZero(made->data(), bytes));
    EXPECT_EQ(account.bytes(kind), bytes);
    Buffer moved = std::move(*made);
    return heap.OffsetOf(moved.data(), bytes) >= 0;
  };
  EXPECT_TRUE(is_in_heap(MemoryKind::kWeights, 1 << 20));
  EXPECT_TRUE(is_in_heap(MemoryKind::kGradients, 64 << 10));
  EXPECT_TRUE(is_in_heap(MemoryKind::kWindows, (3 << 20) + 5));
  EXPECT_FALSE(is_in_heap(MemoryKind::kWindows, 1000));
  EXPECT_FALSE(is_in_heap(MemoryKind::kMoments, 1 << 20));
  EXPECT_FALSE(is_in_heap(MemoryKind::kMaster, 1 << 20));
  EXPECT_EQ(account.total(), 0);
  std::byte* first = heap.Allocate(4 << 20);
  EXPECT_EQ(heap.OffsetOf(first, 1), 0);  // all came back
  heap.Free(first);
}

}  // namespace
}  // namespace ds::device
