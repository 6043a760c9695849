#include "engine/event_record.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/crc32c.h"

namespace ds {
namespace {

// Encoded by hand from event.proto and summary.proto.
TEST(EventRecord, VersionIsTheOneOfTensorFlow) {
  const std::string record = VersionRecord(1.0);
  const std::string payload = record.substr(12, record.size() - 16);
  EXPECT_EQ(payload, std::string("\x09\0\0\0\0\0\0\xf0\x3f\x10\0\x1a\x0d"
                                 "brain.Event:2",
                                 26));
  uint64_t length;
  std::memcpy(&length, record.data(), 8);
  EXPECT_EQ(length, payload.size());
}

TEST(EventRecord, ScalarsInOneSummary) {
  const Scalar scalars[] = {{"a", 1.0}, {"bc", -2.0}};
  const std::string record = ScalarRecord(0.0, 300, scalars);
  const std::string payload = record.substr(12, record.size() - 16);
  EXPECT_EQ(payload, std::string("\x09\0\0\0\0\0\0\0\0\x10\xac\x02\x2a\x15"
                                 "\x0a\x08\x0a\x01"
                                 "a\x15\0\0\x80\x3f"
                                 "\x0a\x09\x0a\x02"
                                 "bc\x15\0\0\0\xc0",
                                 35));
}

TEST(EventRecord, ChecksumsAreMasked) {
  const std::string record = VersionRecord(2.0);
  const auto stored = [&](size_t at) {
    uint32_t crc;
    std::memcpy(&crc, record.data() + at, 4);
    const uint32_t rotated = crc - 0xa282ead8u;
    return rotated << 15 | rotated >> 17;
  };
  EXPECT_EQ(stored(8), Crc32c(record.substr(0, 8)));
  EXPECT_EQ(stored(record.size() - 4), Crc32c(record.substr(12, record.size() - 16)));
}

TEST(EventRecord, FileNamesDiffer) {
  const std::string name = EventFileName();
  EXPECT_TRUE(name.starts_with("events.out.tfevents."));
  EXPECT_NE(name, EventFileName());
}

}  // namespace
}  // namespace ds
