// Text of ours as a ds_buffer of the caller's.
#pragma once

#include <deepspeed/ds_base.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "base/status.h"

namespace ds::capi {

inline Status CopyText(const std::string& text, ds_buffer* out) {
  auto* data = static_cast<char*>(std::malloc(text.size() + 1));
  if (data == nullptr) return Error(Code::kOutOfMemory, "out of memory");
  std::memcpy(data, text.c_str(), text.size() + 1);
  *out = {data, text.size()};
  return {};
}

}  // namespace ds::capi
