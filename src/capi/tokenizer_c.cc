#include <deepspeed/ds_tokenizer.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "capi/buffer.h"
#include "capi/guard.h"
#include "token/tokenizer.h"

using ds::InvalidArgument;
using ds::Status;
using ds::capi::Guard;
using ds::token::Ids;
using ds::token::Tokenizer;

struct ds_tokenizer : ds::capi::HandleHead {
  static constexpr char kKind[] = "ds_tokenizer";
  std::unique_ptr<Tokenizer> tokenizer;
  std::string description;
};

namespace {

ds::Result<Ids> Encode(const Tokenizer& tokenizer, std::string_view text, ds_encode_mode mode) {
  if (mode < DS_ENCODE_TEXT || mode > DS_ENCODE_WHOLE) {
    return InvalidArgument("mode is {}, not DS_ENCODE_TEXT ({}) to DS_ENCODE_WHOLE ({})",
                           static_cast<int>(mode), static_cast<int>(DS_ENCODE_TEXT),
                           static_cast<int>(DS_ENCODE_WHOLE));
  }
  Ids ids;
  ds::token::WordCache cache;
  const auto before = tokenizer.before(), behind = tokenizer.behind();
  if (mode != DS_ENCODE_TEXT) ids.assign(before.begin(), before.end());
  DS_TRY(tokenizer.Encode(text, cache, ids));
  if (mode == DS_ENCODE_WHOLE) ids.insert(ids.end(), behind.begin(), behind.end());
  return ids;
}

}  // namespace

extern "C" {

ds_status ds_tokenizer_open(const char* name, ds_tokenizer** out_tokenizer) {
  return Guard([&]() -> Status {
    DS_REQUIRE(name);
    DS_REQUIRE(out_tokenizer);
    auto handle = ds::capi::MakeHandle<ds_tokenizer>();
    DS_ASSIGN(handle->tokenizer, Tokenizer::Open(name));
    handle->description = handle->tokenizer->description();
    *out_tokenizer = handle.release();
    return {};
  });
}

void ds_tokenizer_destroy(ds_tokenizer* tokenizer) { ds::capi::Destroy(__func__, tokenizer); }

ds_status ds_tokenizer_get_info(const ds_tokenizer* tokenizer, ds_tokenizer_info* out_info) {
  return Guard([&]() -> Status {
    DS_REQUIRE(tokenizer);
    DS_REQUIRE(out_info);
    DS_TRY(ds::capi::CheckOutput("out_info", out_info));
    const Tokenizer& of = *tokenizer->tokenizer;
    const ds_tokenizer_info info = {sizeof(ds_tokenizer_info),
                                    tokenizer->description.c_str(),
                                    of.vocab(),
                                    of.end_of_text().value_or(-1),
                                    static_cast<int32_t>(of.before().size()),
                                    static_cast<int32_t>(of.behind().size())};
    ds::capi::WriteStruct(info, out_info);
    return {};
  });
}

ds_status ds_tokenizer_encode(const ds_tokenizer* tokenizer, const char* text, size_t bytes,
                              ds_encode_mode mode, int32_t* out_ids, int64_t capacity,
                              int64_t* out_count) {
  return Guard([&]() -> Status {
    DS_REQUIRE(tokenizer);
    DS_REQUIRE(text);
    DS_REQUIRE(out_count);
    DS_ASSIGN(const Ids ids, Encode(*tokenizer->tokenizer, {text, bytes}, mode));
    if (out_ids != nullptr && std::ssize(ids) > capacity) {
      return InvalidArgument("capacity is {}, the text has {} ids", capacity, ids.size());
    }
    if (out_ids != nullptr) std::copy(ids.begin(), ids.end(), out_ids);
    *out_count = std::ssize(ids);
    return {};
  });
}

ds_status ds_tokenizer_decode(const ds_tokenizer* tokenizer, const int32_t* ids, int64_t count,
                              int32_t with_special, ds_buffer* out_text) {
  return Guard([&]() -> Status {
    DS_REQUIRE(tokenizer);
    DS_REQUIRE(ids);
    DS_REQUIRE(out_text);
    if (count < 0) return InvalidArgument("count is {}, less than 0", count);
    DS_ASSIGN(const std::string text,
              tokenizer->tokenizer->Decode({ids, static_cast<size_t>(count)}, with_special != 0));
    return ds::capi::CopyText(text, out_text);
  });
}

ds_status ds_tokenizer_is_special(const ds_tokenizer* tokenizer, int32_t id, int32_t* out_special) {
  return Guard([&]() -> Status {
    DS_REQUIRE(tokenizer);
    DS_REQUIRE(out_special);
    *out_special = tokenizer->tokenizer->IsSpecial(id) ? 1 : 0;
    return {};
  });
}

ds_status ds_tokenizer_save(const ds_tokenizer* tokenizer, const char* folder) {
  return Guard([&]() -> Status {
    DS_REQUIRE(tokenizer);
    DS_REQUIRE_NAME(folder);
    return tokenizer->tokenizer->Save(folder);
  });
}

}  // extern "C"
