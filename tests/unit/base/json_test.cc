#include "base/json.h"

#include <gtest/gtest.h>

namespace ds {
namespace {

std::string Fails(std::string_view text, const JsonLimits& limits = {}) {
  auto parsed = ParseJson(text, "x.json", limits);
  if (parsed.ok()) return "ok";
  EXPECT_EQ(parsed.status().code(), Code::kConfig);
  return parsed.status().message();
}

TEST(Json, ParsesEveryKind) {
  auto json = ParseJson(R"(/* c */ {"a": [1, -2, 2.5, true, null, {"b": "t\u00e9"}]} // end)", "x");
  ASSERT_TRUE(json.ok()) << json.status().message();
  EXPECT_EQ(DumpJson(*json, -1), R"({"a":[1,-2,2.5,true,null,{"b":"té"}]})");
  EXPECT_EQ(*ParseJson("7", "x"), 7);
}

TEST(Json, ErrorsHaveAPlace) {
  EXPECT_NE(Fails("{\n  \"a\": 1,\n  \"b\" 2}").find("x.json: parse error at line 3, column 7"),
            std::string::npos)
      << Fails("{\n  \"a\": 1,\n  \"b\" 2}");
  for (const char* text : {"", "{", "[1,]", "{\"a\":1}}", "\"\xff\"", "nul", "1e999", "{1:2}",
                           "[\"a\nb\"]", "{\"a\":01}"}) {
    EXPECT_EQ(Fails(text).rfind("x.json: ", 0), 0u) << text << ": " << Fails(text);
  }
  EXPECT_NE(Fails("[1] // no", {.comments = false}), "ok");
}

TEST(Json, RefusesAKeyThatStandsTwice) {
  EXPECT_EQ(Fails(R"({"a": {"b": [1, {"c": 1, "c": 2}]}})"), "x.json: key a.b[1].c stands twice");
  EXPECT_EQ(Fails(R"({"a": {"c": 1}, "b": {"c": 1}})"), "ok");
}

TEST(Json, Limits) {
  EXPECT_EQ(Fails("[[[1]]]", {.max_depth = 3}), "ok");
  EXPECT_EQ(Fails("[[[1]]]", {.max_depth = 2}), "x.json: nested deeper than 2 levels");
  EXPECT_EQ(Fails(std::string(1000000, '[')), "x.json: nested deeper than 64 levels");
  EXPECT_EQ(Fails("[1, 2]", {.max_bytes = 5}), "x.json: 6 bytes of JSON, at most 5 are read");
}

TEST(Json, ReadsKeysByType) {
  const Json json = *ParseJson(
      R"({"i": 3, "e": 1e3, "big": 18446744073709551615, "x": 0.5, "s": "t", "b": true})", "x");
  int64_t i = 9;
  double x = 9;
  bool b = false;
  std::string s;
  EXPECT_TRUE(ReadKey(json, "none", i).ok());
  EXPECT_EQ(i, 9);
  EXPECT_EQ(RequireKey(json, "none", i).message(), "none: missing");
  EXPECT_TRUE(ReadKey(json, "i", i).ok());
  EXPECT_EQ(i, 3);
  EXPECT_TRUE(ReadKey(json, "e", i).ok());
  EXPECT_EQ(i, 1000);
  EXPECT_TRUE(ReadKey(json, "i", x).ok());
  EXPECT_EQ(x, 3.0);
  EXPECT_TRUE(ReadKey(json, "s", s).ok());
  EXPECT_TRUE(RequireKey(json, "b", b).ok());
  EXPECT_EQ(s, "t");
  EXPECT_TRUE(b);
  EXPECT_EQ(ReadKey(json, "x", i).message(), "x: is a number (0.5), expected an integer");
  EXPECT_EQ(ReadKey(json, "s", i).message(), "s: is a string (\"t\"), expected an integer");
  EXPECT_EQ(ReadKey(json, "i", b).message(), "i: is an integer (3), expected a boolean");
  EXPECT_EQ(ReadKey(json, "b", x).message(), "b: is a boolean (true), expected a number");
  EXPECT_EQ(ReadKey(json, "i", s).message(), "i: is an integer (3), expected a string");
  EXPECT_EQ(ReadKey(json, "big", i).message(), "big: 18446744073709551615 does not fit 64 bits");
  EXPECT_EQ(ReadKey(Json::array(), "i", i).message(),
            "i: looked up in an array, expected an object");
}

TEST(Json, DumpsWhatIsNotText) { EXPECT_EQ(DumpJson(Json("a\xff"), -1), "\"a\xEF\xBF\xBD\""); }

}  // namespace
}  // namespace ds
