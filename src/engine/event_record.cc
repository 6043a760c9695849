#include "engine/event_record.h"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <chrono>

#include "base/crc32c.h"

namespace ds {
namespace {

// Fields of tensorflow/core/util/event.proto and framework/summary.proto.
enum : uint32_t { kEventWallTime = 1, kEventStep = 2, kEventVersion = 3, kEventSummary = 5 };
enum : uint32_t { kSummaryValue = 1, kValueTag = 1, kValueSimple = 2 };
enum : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

template <typename T>
void AppendLittleEndian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void AppendKey(std::string& out, uint32_t field, uint32_t type) {
  AppendVarint(out, field << 3 | type);
}

void AppendBytes(std::string& out, uint32_t field, std::string_view bytes) {
  AppendKey(out, field, kBytes);
  AppendVarint(out, bytes.size());
  out += bytes;
}

std::string Event(double wall_time, int64_t step) {
  std::string event;
  AppendKey(event, kEventWallTime, kFixed64);
  AppendLittleEndian(event, std::bit_cast<uint64_t>(wall_time));
  AppendKey(event, kEventStep, kVarint);
  AppendVarint(event, static_cast<uint64_t>(step));
  return event;
}

uint32_t Masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; }

std::string Record(std::string_view payload) {
  std::string record;
  AppendLittleEndian(record, static_cast<uint64_t>(payload.size()));
  AppendLittleEndian(record, Masked(Crc32c(record)));
  record += payload;
  AppendLittleEndian(record, Masked(Crc32c(payload)));
  return record;
}

}  // namespace

std::string VersionRecord(double wall_time) {
  std::string event = Event(wall_time, 0);
  AppendBytes(event, kEventVersion, "brain.Event:2");
  return Record(event);
}

std::string ScalarRecord(double wall_time, int64_t step, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    AppendBytes(value, kValueTag, scalar.tag);
    AppendKey(value, kValueSimple, kFixed32);
    AppendLittleEndian(value, std::bit_cast<uint32_t>(static_cast<float>(scalar.value)));
    AppendBytes(summary, kSummaryValue, value);
  }
  std::string event = Event(wall_time, step);
  AppendBytes(event, kEventSummary, summary);
  return Record(event);
}

std::string EventFileName() {
  static std::atomic<int> counter = 0;
  char host[256] = "localhost";
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  return fmt::format("events.out.tfevents.{}.{}.{}.{}", static_cast<int64_t>(WallTime()), host,
                     ::getpid(), counter++);
}

double WallTime() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace ds
