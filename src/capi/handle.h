// What every opaque handle begins with: a word that says what it is, and whether it still is.
//
// The memory of a destroyed handle, not what it held, is kept until kKept more of its kind were
// destroyed. So a call on a handle that is gone, or of another kind, is refused and not undefined.
// After that, and for pointers that never were handles, it is undefined as ever.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

namespace ds::capi {

// Handles derive from it and have a `static constexpr char kKind[]`, whose address is the word.
struct HandleHead {
  std::atomic<const char*> kind = nullptr;
};

template <typename T>
concept IsHandle = std::is_base_of_v<HandleHead, T>;

template <IsHandle T>
bool IsAlive(const T* handle) {
  const HandleHead* head = handle;
  return head->kind.load(std::memory_order_acquire) == T::kKind;
}

// Memory of destroyed handles of one kind, the newest kKept.
template <IsHandle T>
class Graveyard {
 public:
  static constexpr size_t kKept = 64;

  // Keeps `memory`, and `remains`: what pointers of the caller's may still point into.
  static void Bury(void* memory, std::shared_ptr<void> remains) noexcept {
    // For ever: threads may outlive static objects. Not of the heap, which may be used up.
    alignas(Graveyard) static std::byte storage[sizeof(Graveyard)];
    static Graveyard& graves = *new (storage) Graveyard;
    const std::lock_guard lock(graves.mutex_);
    Grave& grave = graves.ring_[graves.next_++ % kKept];
    ::operator delete (grave.memory, std::align_val_t{alignof(T)});
    grave = {memory, std::move(remains)};
  }

 private:
  struct Grave {
    void* memory = nullptr;
    std::shared_ptr<void> remains;
  };
  std::mutex mutex_;  // guards what follows
  std::array<Grave, kKept> ring_;
  size_t next_ = 0;
};

// Ends a handle: what it held is freed. False: it is not alive, and nothing was done. Of two
// threads that both try one succeeds.
template <IsHandle T>
bool DestroyHandle(T* handle, std::shared_ptr<void> remains = nullptr) noexcept {
  HandleHead* head = handle;
  const char* expected = T::kKind;
  if (!head->kind.compare_exchange_strong(expected, nullptr)) return false;
  handle->~T();  // leaves the word: who comes too late reads it
  Graveyard<T>::Bury(handle, std::move(remains));
  return true;
}

struct HandleDeleter {
  template <IsHandle T>
  void operator()(T* handle) const {
    DestroyHandle(handle);
  }
};
template <IsHandle T>
using HandleOwner = std::unique_ptr<T, HandleDeleter>;

// A living handle, made of `members`.
template <IsHandle T, typename... Members>
HandleOwner<T> MakeHandle(Members&&... members) {
  const auto release = [](void* memory) {
    ::operator delete (memory, std::align_val_t{alignof(T)});
  };
  std::unique_ptr<void, decltype(release)> memory(
      ::operator new (sizeof(T), std::align_val_t{alignof(T)}), release);
  T* handle = nullptr;
  if constexpr (std::is_constructible_v<T, Members...>) {
    handle = new (memory.get()) T(std::forward<Members>(members)...);
  } else if constexpr (sizeof...(members) == 0) {
    handle = new (memory.get()) T{};
  } else {
    handle = new (memory.get()) T{{}, std::forward<Members>(members)...};
  }
  handle->kind.store(T::kKind, std::memory_order_release);
  (void)memory.release();
  return HandleOwner<T>(handle);
}

}  // namespace ds::capi
