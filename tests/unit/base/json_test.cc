#include "base/json.h"

#include <gtest/gtest.h>

#include "base/json_scan.h"

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
  for (const char* text : {"", "{", "[1,,]", "{\"a\":1}}", "\"\xff\"", "nul", "1e999", "{1:2}",
                           "[\"a\nb\"]", "{\"a\":01}"}) {
    EXPECT_EQ(Fails(text).rfind("x.json: ", 0), 0u) << text << ": " << Fails(text);
  }
  EXPECT_NE(Fails("[1] // no", {.comments = false}), "ok");
}

TEST(Json, RefusesAKeyThatStandsTwice) {
  EXPECT_EQ(Fails(R"({"a": {"b": [1, {"c": 1, "c": 2}]}})"), "x.json: key a.b[1].c stands twice");
  EXPECT_EQ(Fails(R"({"a": {"c": 1}, "b": {"c": 1}})"), "ok");
}

TEST(Json, RefusesAnIntegerBeyond64Bits) {
  const std::string huge = "100000000000000000000";
  EXPECT_EQ(Fails(R"({"a": {"b": [1, )" + huge + "]}}"),
            "x.json: a.b[1] is 100000000000000000000, which does not fit 64 bits");
  EXPECT_EQ(Fails("-" + huge), "x.json: -100000000000000000000 does not fit 64 bits");
  EXPECT_EQ(Fails("[18446744073709551615, -9223372036854775808, 1e20, 100000000000000000000.0]"),
            "ok");
  EXPECT_EQ(Fails(huge, {.huge_integers = true}), "ok");
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

TEST(Json, AcceptsCommentsAndACommaBehindTheLast) {
  const char* texts[] = {
      R"({"a": [1, 2,], "b": 3,})",
      "{\n  # one, ]\n  \"a\": [1, 2, // two \" ,\n ], /* three ,} */\n \"b\": 3 , # four\n}",
  };
  for (const char* text : texts) {
    auto json = ParseJson(text, "x");
    ASSERT_TRUE(json.ok()) << json.status().message();
    EXPECT_EQ(*json, Json({{"a", {1, 2}}, {"b", 3}})) << text;
  }
  // Inside a string they are text.
  const char* strings = R"(["a,]", "b#c", "\",}", "//", "/* */"])";
  auto json = ParseJson(strings, "x");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(*json, Json::parse(strings));
  for (const char* text : {"[,]", "{,}", "[1,,]", "[,1]", R"({"a":,})", R"({"a",})", ",", "[1],",
                           R"({"a" 1,})", "[1,", "[1,#", "[\"", "[\"\\", "/*", "[1] /*"}) {
    EXPECT_FALSE(ParseJson(text, "x").ok()) << text;
  }
  EXPECT_FALSE(ParseJson("[1,]", "x", {1000, 4, /*comments=*/false}).ok());
  EXPECT_FALSE(ParseJson("# a\n[1]", "x", {1000, 4, /*comments=*/false}).ok());
  // What is left out keeps its place.
  const std::string message = ParseJson("[1,], # x\n  oops", "x").status().message();
  EXPECT_NE(message.find("line 1, column 5"), std::string::npos) << message;
  const std::string later = ParseJson("{\"a\": [1,], # x\n  oops", "x").status().message();
  EXPECT_NE(later.find("line 2, column 3"), std::string::npos) << later;
}

TEST(Json, TellsTheLinesOfKeys) {
  const auto lines = JsonKeyLines(
      "{ \"a\": 1, // \"no\": 1\n  # \"no\": 2\n  \"b\": {\"c\": \"d\",\n \"e\\u0066\": [{\"g\": "
      "1},\n {\"g\": 2}],},\n\n\"h\":null}");
  const std::map<std::string, int> expected = {
      {"a", 1}, {"b", 3}, {"b.c", 3}, {"b.ef", 4}, {"b.ef[0].g", 4}, {"b.ef[1].g", 5}, {"h", 7}};
  EXPECT_EQ(lines, expected);
  // A comment ends where the parser ends it: also at the carriage return of an old line end.
  const char* returns = "{\"a\"// c\r: {\"b\": 1}, # d,\r\"e\": [1,# f\r]}";
  EXPECT_EQ(JsonKeyLines(returns), (std::map<std::string, int>{{"a", 1}, {"a.b", 1}, {"e", 1}}));
  auto json = ParseJson(returns, "x");
  ASSERT_TRUE(json.ok()) << json.status().message();
  EXPECT_EQ(*json, Json({{"a", {{"b", 1}}}, {"e", Json::array({1})}}));
  // And one with a NUL in it to the end of its line.
  const std::string nul("// a\0{\"no\": 1,\n{\"a\": 2}", 23);
  EXPECT_EQ(JsonKeyLines(nul), (std::map<std::string, int>{{"a", 2}}));
  json = ParseJson(nul, "x");
  ASSERT_TRUE(json.ok()) << json.status().message();
  EXPECT_EQ(*json, Json({{"a", 2}}));
  // Elsewhere it would end the text for the parser.
  for (const std::string& cut : {std::string("{}\0{\"lost\": 1}", 14), std::string("{}\0", 3)}) {
    EXPECT_EQ(ParseJson(cut, "x").status().message(), "x: byte 2 is NUL, which is no JSON");
  }
  for (const char* text : {"", "{", "}}]", "\"", "{\"a", "[[{\"", "{\"\\", "{,\"a\":]", ","}) {
    (void)JsonKeyLines(text);
  }
}

}  // namespace
}  // namespace ds
