#include <deepspeed/ds_config.h>

#include "base/json.h"
#include "capi/buffer.h"
#include "capi/guard.h"
#include "engine/config_text.h"

using ds::Status;
using ds::capi::CopyText;
using ds::capi::Guard;

extern "C" {

ds_status ds_config_resolve(const char* json, int32_t world_size, ds_buffer* out_json) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_json);
    if (world_size < 1) {
      return ds::InvalidArgument("world_size is {}, expected 1 or more", world_size);
    }
    DS_ASSIGN(const ds::EngineConfig config,
              ds::ParseConfig(json == nullptr ? "" : json, world_size));
    return CopyText(ds::DumpJson(config.ToJson()), out_json);
  });
}

ds_status ds_config_schema(ds_buffer* out_json) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_json);
    return CopyText(ds::ConfigSchema(), out_json);
  });
}

ds_status ds_config_defaults(ds_buffer* out_json) {
  return Guard([&]() -> Status {
    DS_REQUIRE(out_json);
    return CopyText(ds::ConfigDefaults(), out_json);
  });
}

}  // extern "C"
