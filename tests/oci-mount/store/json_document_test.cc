#include "oci-mount/store/json_document.h"

#include <gtest/gtest.h>

namespace layerboot::store {
namespace {

constexpr int kDepth = 8;

Result<Json> parse(std::string_view text) { return parse_json_object(text, 1000, kDepth, "the document"); }

void expect_refused(std::string_view text, std::string_view reason) {
  const auto document = parse(text);
  ASSERT_FALSE(document) << text;
  EXPECT_EQ(document.error().code, EINVAL);
  EXPECT_TRUE(document.error().text.starts_with("the document: ")) << document.error().text;
  EXPECT_NE(document.error().text.find(reason), std::string::npos) << document.error().text;
}

TEST(JsonDocument, TakesAnObject) {
  const auto document = parse(R"({"a": {"b": [1, 2]}, "c": {"b": 1}})");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->size(), 2U);
}

TEST(JsonDocument, RefusesWhatIsNoObject) {
  expect_refused("[]", "no JSON object");
  expect_refused("null", "no JSON object");
  expect_refused("", "no JSON");
  expect_refused("{", "no JSON");
  expect_refused("{} {}", "no JSON");
  expect_refused("{\"a\":\"\xff\xfe}", "no JSON");
}

TEST(JsonDocument, TakesAListWhereOneIsMeant) {
  const auto list = parse_json_list(R"([{"a": 1}, 2])", 1000, kDepth, "the list");
  ASSERT_TRUE(list);
  EXPECT_EQ(list->size(), 2U);
  const auto object = parse_json_list("{}", 1000, kDepth, "the list");
  ASSERT_FALSE(object);
  EXPECT_EQ(object.error().text, "the list: is no JSON list");
  EXPECT_FALSE(parse_json_list("[[[[[[[[[[[[]]]]]]]]]]]]", 1000, kDepth, "the list"));
}

TEST(JsonDocument, RefusesAKeyTwice) {
  expect_refused(R"({"layers": [], "layers": [1]})", "\"layers\" twice");
  expect_refused(R"({"a": {"b": 1, "c": {}, "b": 2}})", "\"b\" twice");
}

TEST(JsonDocument, OfALabelTwiceTheLastCounts) {
  const auto document = parse(R"({"Labels":{"a":"1","a":"2"},"annotations":{"b":"1","b":"2"}})");
  ASSERT_TRUE(document) << document.error().text;
  EXPECT_EQ((*document)["Labels"]["a"], "2");
  expect_refused(R"({"Labels": {"a": {"b": 1, "b": 2}}})", "\"b\" twice");
}

TEST(JsonDocument, WhatIsNoUnicodeIsReplacedAsGoDoes) {
  const auto text_of = [](std::string_view value) {
    const auto document = parse("{\"a\":\"" + std::string(value) + "\"}");
    return document ? (*document)["a"].get<std::string>() : document.error().text;
  };
  EXPECT_EQ(text_of("\xffx\xfe"), "\uFFFDx\uFFFD");
  EXPECT_EQ(text_of("\\ud800x"), "\uFFFDx");
  EXPECT_EQ(text_of("\\udc00\\ud83d\\ude00"), "\uFFFD\U0001F600");
  EXPECT_EQ(text_of("\xff\\\\ud800"), "\uFFFD\\ud800") << "an escaped backslash begins no escape";
  EXPECT_EQ(text_of("\xff\\\"\\u0041"), "\uFFFD\"A");
}

TEST(JsonDocument, BoundsDepthAndSize) {
  const auto nested = [](int depth) {
    return R"({"a":)" + std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']') + "}";
  };
  EXPECT_TRUE(parse(nested(kDepth - 1)));
  expect_refused(nested(kDepth + 2), "deeper than the limit of 8");
  expect_refused(nested(400), "deeper than the limit of 8");
  expect_refused(std::string(1001, ' '), "over the limit of 1000");
}

TEST(JsonDocument, MembersHaveTheirTypes) {
  const auto document =
      parse(R"({"text": "x", "list": ["a", "b"], "mixed": ["a", 1], "size": 7, "less": -1, "none": null})");
  ASSERT_TRUE(document);
  EXPECT_EQ(*string_member(*document, "text", "it"), "x");
  EXPECT_EQ(*string_member(*document, "absent", "it"), "");
  EXPECT_EQ(*string_member(*document, "none", "it"), "");
  EXPECT_FALSE(string_member(*document, "size", "it"));
  EXPECT_EQ(strings_member(*document, "list", "it")->size(), 2U);
  EXPECT_FALSE(strings_member(*document, "mixed", "it"));
  EXPECT_FALSE(strings_member(*document, "text", "it"));
  EXPECT_EQ(*strings_member(*parse(R"({"l":["a",null]})"), "l", "it"), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(*size_member(*document, "size", "it"), 7U);
  EXPECT_FALSE(size_member(*document, "less", "it"));
  EXPECT_FALSE(size_member(*document, "absent", "it"));
}

}  // namespace
}  // namespace layerboot::store
