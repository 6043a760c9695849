// ds_config.h: what a config comes to, without an engine.
#include <deepspeed/deepspeed.h>
#include <gtest/gtest.h>

#include <deepspeed/deepspeed.hpp>
#include <string>

namespace {

std::string Take(ds_buffer* buffer) {
  const std::string text(buffer->data, buffer->size);
  ds_buffer_dispose(buffer);
  return text;
}

TEST(ConfigC, ResolvesAsTheEngineDoes) {
  const char* json = "{\"train_batch_size\": 8, /* and */ \"gradient_clipping\": \"auto\",}";
  ds_buffer resolved = DS_BUFFER_INIT;
  ASSERT_EQ(ds_config_resolve(json, 1, &resolved), DS_OK) << ds_error_peek_message();
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.config_json = json;
  ds_engine* engine = nullptr;
  ASSERT_EQ(ds_engine_create(&options, &engine), DS_OK) << ds_error_peek_message();
  ds_buffer created = DS_BUFFER_INIT;
  ASSERT_EQ(ds_engine_get_config(engine, &created), DS_OK);
  ds_engine_destroy(engine);
  const std::string text = Take(&resolved);
  EXPECT_EQ(text, Take(&created));
  EXPECT_NE(text.find("\"train_micro_batch_size_per_gpu\": 8"), std::string::npos) << text;
  EXPECT_NE(deepspeed::ResolveConfig(json, 4).find("\"train_micro_batch_size_per_gpu\": 2"),
            std::string::npos);
}

TEST(ConfigC, RefusesByName) {
  ds_buffer out = DS_BUFFER_INIT;
  EXPECT_EQ(ds_config_resolve("{\"amp\": {\"enabled\": true}}", 1, &out), DS_ERR_CONFIG);
  EXPECT_NE(std::string(ds_error_peek_message()).find("amp.enabled"), std::string::npos);
  EXPECT_EQ(out.data, nullptr);
  EXPECT_EQ(ds_config_resolve("{\"train_batch_size\": 3}", 2, &out), DS_ERR_CONFIG);
  EXPECT_EQ(ds_config_resolve("{", 2, &out), DS_ERR_CONFIG);
  EXPECT_EQ(ds_config_resolve("{}", 0, &out), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(ds_config_resolve("{}", 1, nullptr), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(ds_config_resolve(nullptr, 1, &out), DS_OK);
  ds_buffer_dispose(&out);
  try {
    deepspeed::ResolveConfig("{\"stage\": 3}", 1);
    FAIL() << "accepted";
  } catch (const deepspeed::Error& error) {
    EXPECT_EQ(error.status(), DS_ERR_CONFIG);
    EXPECT_NE(std::string(error.what()).find("zero_optimization"), std::string::npos);
  }
}

TEST(ConfigC, GivesTheSchemaAndTheDefaults) {
  EXPECT_NE(deepspeed::ConfigSchema().find("\"$schema\""), std::string::npos);
  const std::string defaults = deepspeed::ConfigDefaults();
  EXPECT_NE(defaults.find("\"gradient_clipping\": 1.0"), std::string::npos);
  EXPECT_EQ(deepspeed::ResolveConfig(defaults, 1), deepspeed::ResolveConfig("", 1));
}

}  // namespace
