// The records of a TensorBoard event file, as bytes: a TFRecord (length and checksums around a
// payload) that holds an Event in the wire format of protobuf. Scalars alone. Whoever keeps the
// file writes them one behind the other, the version first.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ds {

struct Scalar {
  std::string_view tag;  // "Train/Samples/lr"
  double value;          // stored as fp32
};

// The first record of a file. `wall_time` is in seconds since 1970.
std::string VersionRecord(double wall_time);
// All scalars at one place of the x axis.
std::string ScalarRecord(double wall_time, int64_t step, std::span<const Scalar> scalars);

// A name that TensorBoard recognises, and that no other process and no earlier call has.
std::string EventFileName();
// Seconds since 1970.
double WallTime();

}  // namespace ds
