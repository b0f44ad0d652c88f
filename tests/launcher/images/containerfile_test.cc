// A Containerfile taken apart, and its words and variables.
#include "launcher/images/containerfile.h"

#include <gtest/gtest.h>

#include "launcher/images/build_bases.h"
#include "launcher/images/containerfile_words.h"
#include "tests/launcher/images/planned.h"

namespace layerboot::launcher {
namespace {

using recipes::parsed;
using recipes::refused;
using recipes::Strings;

TEST(Containerfile, LinesGoOnAndCommentsAreNone) {
  const auto found = parsed(
      "# syntax=docker/dockerfile:1\n"
      "from debian:12\r\n"
      "\n"
      "  RUN apt-get update && \\  \n"
      "    # between two lines\n"
      "\n"
      "    apt-get install -y x # of the shell's\n"
      "COPY --chown=1:2 --chmod=0600 a b /c/\n"
      "CMD --not-a-flag \\");
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0], (Instruction{.line = 2, .word = "FROM", .flags = {}, .text = "debian:12"}));
  EXPECT_EQ(found[1].line, 4U);
  EXPECT_EQ(found[1].text, "apt-get update &&     apt-get install -y x # of the shell's");
  EXPECT_EQ(found[2].flags, (Strings{"--chown=1:2", "--chmod=0600"}));
  EXPECT_EQ(found[2].text, "a b /c/");
  EXPECT_EQ(found[3].text, "--not-a-flag");
  EXPECT_EQ(said_at(found[2]), "line 8: COPY --chown=1:2 --chmod=0600 a b /c/");
  EXPECT_TRUE(parsed("").empty());
}

TEST(Containerfile, ImagesThatAnotherBuilderIsToTake) {
  const auto instructions = skim_containerfile(
      "# escape=`\nARG V=1\nARG W\n"
      "FROM --platform=$BUILDPLATFORM base:${V} AS Build\nHEALTHCHECK NONE\n"
      "FROM build\nFROM scratch\nFROM `\n  \"other$W\" as x\n"
      "COPY --from=0 a b\nCOPY --from=build a b\nCOPY --from=tools:2 a b\n"
      "RUN --mount=type=bind,from=tools:3,target=/x --mount=type=cache,target=/y x <<END\nEND\n"
      "FROM a-$TARGETARCH\nFROM a-$TARGETARCH\nFROM ${V?}\n");
  ASSERT_TRUE(instructions) << instructions.error().describe();
  const auto found =
      bases_in(*instructions, {{"W", "/w"}}, {.os = "linux", .architecture = "arm64", .variant = ""});
  const std::vector<BuildBase> expected = {
      {.written = "base:${V}", .name = "base:1", .platform = store::platform_text(store::host_platform())},
      {.written = "\"other$W\"", .name = "other/w", .platform = ""},
      {.written = "tools:2", .name = "tools:2", .platform = ""},
      {.written = "tools:3", .name = "tools:3", .platform = ""},
      {.written = "a-$TARGETARCH", .name = "a-arm64", .platform = ""},
  };
  EXPECT_EQ(found.bases, expected);
  ASSERT_EQ(found.unclear.size(), 1U);
  EXPECT_NE(found.unclear[0].find("FROM ${V?}"), std::string::npos) << found.unclear[0];
}

TEST(Containerfile, AnEscapedBackslashGoesOnNowhere) {
  const auto found = parsed("ENV A=C:\\\\\nRUN a\\\\\\\n b\nRUN c \\\\  \r\nRUN d\n");
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0].text, "A=C:\\\\");
  EXPECT_EQ(found[1].text, "a\\\\ b") << "the third one does";
  EXPECT_EQ(found[2].text, "c \\\\");
  EXPECT_EQ(found[3].line, 5U);
}

TEST(Containerfile, WhatIsNotKnownIsRefusedByNameAndLine) {
  EXPECT_NE(refused("FROM a\n\nHEALTHCHECK NONE\n").find("line 3: HEALTHCHECK is not known to build --vm"),
            std::string::npos);
  EXPECT_NE(refused("ONBUILD RUN x").find("line 1: ONBUILD"), std::string::npos);
  EXPECT_NE(refused("# escape=`\nFROM a").find("line 1: build --vm knows no other escape"),
            std::string::npos);
  EXPECT_NE(refused("FROM a\nRUN  \n").find("line 2: RUN says nothing"), std::string::npos);
  EXPECT_NE(refused(std::string_view("FROM a\0b", 8)).find("no text"), std::string::npos);
  EXPECT_NE(refused("\x1b[31m x").find("\\033[31M"), std::string::npos) << "no terminal's command";
  parsed("RUN echo $((1<<2)) <<< x && cat <<<\"y\"\n# escape=\\\n");
}

TEST(Containerfile, HereDocumentsAreNoInstructions) {
  const auto found = parsed(
      "FROM a\n"
      "RUN <<EOF\n"
      "# kept\n"
      "\n"
      "FROM b \\\n"
      " EOF\n"
      "EOF\n"
      "COPY --chmod=1 <<-'a b' x 3<<\"c\".txt \\\n /dir/\n"
      "\tone\n\ta b\ntwo\r\nc.txt\r\n"
      "RUN echo '<<no' \\<<no x<<no $((1 <<2)) << no <<< no\n2))\n"
      "CMD <<no\n");
  ASSERT_EQ(found.size(), 5U);
  using Documents = std::vector<HereDocument>;
  EXPECT_EQ(found[1].text, "<<EOF");
  EXPECT_EQ(
      found[1].documents,
      (Documents{
          {.name = "EOF", .is_raw = false, .without_tabs = false, .lines = "# kept\n\nFROM b \\\n EOF\n"}}));
  EXPECT_EQ(found[2].line, 8U);
  EXPECT_EQ(found[2].documents,
            (Documents{{.name = "a b", .is_raw = true, .without_tabs = true, .lines = "\tone\n"},
                       {.name = "c.txt", .is_raw = true, .without_tabs = false, .lines = "two\r\n"}}));
  EXPECT_EQ(text_of(found[2].documents[0]), "one\n");
  EXPECT_EQ(found[3].documents,
            (Documents{
                {.name = "2))", .is_raw = false, .without_tabs = false, .lines = {}}}))  // as BuildKit has it
      << "none in quotes, behind other letters or without a name";
  EXPECT_EQ(found[4].word, "CMD");
  EXPECT_TRUE(found[4].documents.empty());
  EXPECT_NE(refused("FROM a\nCOPY <<EOF /x\nFROM b\n EOF\n")
                .find("line 2: COPY <<EOF /x: its here-document has no end: a line that is EOF alone"),
            std::string::npos);
  EXPECT_NE(refused("FROM a\nRUN <<a <<b\na\nx").find("a line that is b alone"), std::string::npos);
  EXPECT_EQ(parsed("RUN <<-E\nx\n\t\tE").at(0).documents.at(0).lines, "x\n");
}

TEST(Containerfile, AnotherBuilderTakesNoImageOfAHereDocument) {
  const auto found = skim_containerfile(
      "FROM a\nRUN <<EOF\nFROM b\nEOF\nONBUILD RUN cat <<E\nFROM c\nE\nFROM d\nCOPY <<X /x\nFROM e\n");
  ASSERT_TRUE(found) << found.error().describe();
  const BuildBases bases = bases_in(*found, {}, store::host_platform());
  ASSERT_EQ(bases.bases.size(), 2U) << "a document without an end is that builder's to refuse";
  EXPECT_EQ(bases.bases[0].name, "a");
  EXPECT_EQ(bases.bases[1].name, "d");
}

std::optional<std::string> sample(std::string_view name) {
  if (name == "a") return "1 2";
  if (name == "empty") return "";
  if (name == "quote") return "\"$a\"";
  return {};
}

TEST(ContainerfileWords, AreQuotedAndExpanded) {
  const auto words = [](std::string_view text) { return expand_words(text, sample).value_or(Strings{"?"}); };
  EXPECT_EQ(words(" x  y\tz "), (Strings{"x", "y", "z"}));
  EXPECT_EQ(words("$a ${a}b \"$a c\" '$a' \\$a"), (Strings{"1 2", "1 2b", "1 2 c", "$a", "$a"}))
      << "what a variable holds is not parted";
  EXPECT_EQ(words("$quote"), (Strings{"\"$a\""})) << "nor read again";
  EXPECT_EQ(words("${no:-x} ${no:-} ${no-y} ${empty:-x} ${empty-y}|"), (Strings{"x", "", "y", "x", "|"}));
  EXPECT_EQ(words("${a:+x} ${no:+x}| ${empty:+x}| ${empty+x}"), (Strings{"x", "|", "|", "x"}));
  EXPECT_EQ(words("${no:-${empty:-$a}} ${no:-\"a } b\"}"), (Strings{"1 2", "a } b"}));
  EXPECT_EQ(words("$no$ $1 a\\ b \"c\\\"d\\n\" ''"), (Strings{"$", "$1", "a b", "c\"d\\n", ""}));
  EXPECT_EQ(expand_text("a  b $a 'c  d'", sample).value_or("?"), "a  b 1 2 c  d");
  for (const char* bad : {"'a", "\"a", "${", "${a", "${a:", "${a:?x}", "${a%b}", "${}", "${a:-b", "${1}"})
    EXPECT_FALSE(expand_words(bad, sample)) << bad;
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "${no:-";
  EXPECT_FALSE(expand_words(deep, sample)) << "no stack is that deep";
}

TEST(ContainerfileWords, OfADocumentHaveTheirQuotes) {
  EXPECT_EQ(expand_document("'$a' \"${no:-x}\" \\$a don't\n\\\\n", sample).value_or("?"),
            "'1 2' \"x\" $a don't\n\\n");
  EXPECT_FALSE(expand_document("${a%x}", sample));
}

TEST(ContainerfileWords, DoNotGrowForEver) {
  const std::string value(kMaxExpandedBytes / 2, 'x');
  const Variables half = [&value](std::string_view) { return std::optional(value); };
  EXPECT_EQ(expand_text("$V$V", half).value_or("?").size(), kMaxExpandedBytes);
  for (const char* more :
       {"$V$V$V", "$V $V $V", "${V:+$V$V$V}", "${none:+${V:+$V${V:+$V$V}}}", "\"$V$V\"x"}) {
    const auto text = expand_text(more, half);
    ASSERT_FALSE(text) << more;
    EXPECT_EQ(text.error().code, EINVAL);
  }
  EXPECT_FALSE(expand_words("$V $V $V", half)) << "all words together";
}

}  // namespace
}  // namespace layerboot::launcher
