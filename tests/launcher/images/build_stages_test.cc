// Stages, what COPY takes of them, and here-documents in steps.
#include "launcher/images/build_stages.h"

#include <gtest/gtest.h>

#include "oci-mount/base/str_cat.h"
#include "tests/launcher/images/planned.h"

namespace layerboot::launcher {
namespace {

using recipes::plan_of;
using recipes::planned;
using recipes::stages_in;
using recipes::steps_of;
using recipes::Strings;
using recipes::why_not;

std::string needed(std::string_view text) {
  const auto stages = stages_in(text);
  if (!stages) return stages.error().describe();
  std::string needed;
  for (const BuildStage& stage : stages->all) needed += stage.is_needed ? '+' : '-';
  return needed;
}

TEST(BuildStages, OnlyThoseThatTheLastOneNeeds) {
  EXPECT_EQ(needed("FROM a AS x\nFROM b AS y\nFROM c\nCOPY --from=X /a /b"), "+-+") << "by name";
  EXPECT_EQ(needed("FROM a\nFROM b\nFROM c\nCOPY --from=1 /a /b"), "-++") << "by number";
  EXPECT_EQ(needed("FROM a AS x\nFROM x AS y\nFROM y\nFROM Y"), "++-+") << "by FROM";
  EXPECT_EQ(needed("FROM a AS x\nFROM a AS y\nCOPY --from=x / /x\nFROM b\nCOPY --from=y / /y"), "+++");
  EXPECT_EQ(needed("FROM a AS x\nFROM b\nCOPY --from=img:1 /a /b"), "-+") << "an image is no stage";
  EXPECT_EQ(needed("FROM scratch AS x\nFROM --platform=linux/arm64 y\nFROM b"), "--+")
      << "refused where it is needed alone";
}

TEST(BuildStages, ImagesAreNamedOnce) {
  const auto stages = stages_in(
      "ARG V=1\nFROM none\nFROM a:$V AS x\nCOPY --from=b /x /x\nCOPY --from=c /x /x\nFROM x\nFROM b\n"
      "COPY --from=1 /x /x\nCOPY --from=a:1 /x /x");
  ASSERT_TRUE(stages) << stages.error().describe();
  const auto images = images_of(*stages);
  ASSERT_EQ(images.size(), 3U);
  EXPECT_EQ(images[0].name, "a:1");
  EXPECT_TRUE(images[0].takes_a_layer);
  EXPECT_EQ(images[0].said, "line 3: FROM a:$V AS x");
  EXPECT_EQ(images[1].name, "b");
  EXPECT_TRUE(images[1].takes_a_layer) << "of a later stage";
  EXPECT_EQ(images[2].name, "c");
  EXPECT_FALSE(images[2].takes_a_layer);
}

TEST(BuildStages, ThePlatformIsTheBuilds) {
  for (const char* same : {"linux/amd64", "linux/x86_64", "$TARGETPLATFORM", "${P}"})
    EXPECT_EQ(needed(str_cat("ARG P=linux/amd64\nFROM --platform=", same, " a")), "+") << same;
  EXPECT_EQ(needed("FROM a\nFROM --platform=linux/arm64 a"),
            "line 2: FROM --platform=linux/arm64 a: all stages of build --vm are for one platform, here "
            "linux/amd64, not linux/arm64");
  EXPECT_NE(needed("FROM --platform=x/y/z/w a").find("line 1: FROM"), std::string::npos);
  EXPECT_NE(needed("FROM --pull a").find("build --vm knows no --pull"), std::string::npos);
}

TEST(BuildStages, WhatIsWrongIsSaidWithItsLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"FROM a\nFROM scratch", "line 2: FROM scratch: there is nothing in it that could boot"},
      {"FROM a AS 1x\nFROM b", "line 1: FROM a AS 1x: \"1x\" is no name of a stage"},
      {"FROM a\nCOPY --from=0 /a /b", "line 2: COPY --from=0 /a /b: there is no stage 0 before this one"},
      {"FROM a AS x\nCOPY --from=x /a /b", "line 2: COPY --from=x /a /b: the stage x is not before this one"},
      {"FROM a\nCOPY --from=y /a /b\nFROM b AS y\nFROM b\nCOPY --from=0 / /", "the stage y is not before"},
      {"FROM a\nCOPY --from=$x /a /b", "takes no variables"},
      {"FROM a\nCOPY --from= /a /b", "names nothing"},
  };
  for (const auto& [text, said] : cases)
    EXPECT_NE(needed(text).find(said), std::string::npos) << needed(text);
}

TEST(BuildStages, EachHasItsOwnArgumentsAndItsImages) {
  const char* const text =
      "ARG G=global\n"
      "FROM a AS x\nARG A=1 G\nENV E=x\nUSER me\nWORKDIR /w\nSHELL [\"/bin/bash\", \"-c\"]\nRUN one\n"
      "FROM x AS y\nRUN two $A\nENV V=$A$E\n"
      "FROM a\nRUN three\nCOPY --from=x /one two /to/\nCOPY --from=img --chown=3 /i /j\nCOPY --from=y / /k\n";
  const BuildPlan plan = planned(text, {{"B", "unused"}, {"A", "given"}});
  ASSERT_EQ(plan.stages.size(), 3U);
  EXPECT_EQ(plan.unused, Strings{"B"});
  const RunAction& child = plan.stages[1].at(0).actions.at(0).run;
  EXPECT_EQ(child.command, (Strings{"/bin/bash", "-c", "two $A"}));
  EXPECT_EQ(child.environment, (Strings{"A=given", "E=x", "G=global"})) << "as docker has it";
  EXPECT_EQ(child.user, "me");
  EXPECT_EQ(child.directory, "/w");
  EXPECT_EQ(plan.stages[1].at(1).changes, (Strings{"ENV \"V=givenx\""}));
  const RunAction& last = plan.stages[2].at(0).actions.at(0).run;
  EXPECT_EQ(last.command, (Strings{"/bin/sh", "-c", "three"}));
  EXPECT_TRUE(last.environment.empty());
  const BuildStep& copies = plan.stages[2].at(1);
  ASSERT_EQ(copies.actions.size(), 3U);
  EXPECT_EQ(copies.actions[0].copy.from.stage, 0U);
  EXPECT_EQ(copies.actions[0].copy.sources, (Strings{"/one", "two"}));
  EXPECT_EQ(copies.actions[0].copy.uid, 0U);
  EXPECT_EQ(copies.actions[1].copy.from.image, "img");
  EXPECT_EQ(copies.actions[1].copy.gid, 3U);
  EXPECT_EQ(copies.actions[2].copy.from.stage, 1U);
  EXPECT_TRUE(planned("FROM a\nARG X\nFROM b", {{"X", "1"}}).unused.empty()) << "a stage has it";
  EXPECT_TRUE(planned("FROM a AS x\nRUN x\nFROM b").stages.at(0).empty()) << "nobody needs it";
}

TEST(BuildStages, AllStepsHaveOneBound) {
  const std::string fits(100 << 10, 'v');
  std::string text = str_cat("FROM a AS s0\nENV A=", fits, " B=", fits, " C=", fits, "\n");
  for (int stage = 1; stage < 4; ++stage) {
    text += str_cat("FROM s", stage - 1, " AS s", stage, '\n');
    for (int i = 0; i < 100; ++i) text += "RUN x\n";
  }
  EXPECT_NE(why_not(text).find("more than 64 MiB"), std::string::npos) << why_not(text);
}

TEST(HereDocuments, OfRun) {
  const BuildSteps steps = steps_of(
      "FROM a\nARG V=1\nRUN <<-EOF\n\techo $V\n\t\tls\nEOF\n"
      "RUN python3 <<-\"E\" && cat <<F\n\tx\nE\ny\nF\n"
      "RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n"
      "RUN <<X\n[\"a\"]\nX\n"
      "RUN <<X\nX\n");
  ASSERT_EQ(steps.size(), 5U);
  EXPECT_EQ(steps[0].said, "line 3: RUN <<-EOF");
  EXPECT_EQ(steps[0].actions.at(0).run.command, (Strings{"/bin/sh", "-c", "echo $V\nls\n"}));
  EXPECT_EQ(steps[1].actions.at(0).run.command,
            (Strings{"/bin/sh", "-c", "python3 <<-\"E\" && cat <<F\n\tx\nE\ny\nF"}))
      << "the shell reads them itself";
  EXPECT_TRUE(steps[2].actions.at(0).run.command.empty());
  EXPECT_EQ(steps[2].actions.at(0).run.script, "#!/usr/bin/env python3\nprint(1)\n");
  EXPECT_EQ(steps[2].actions.at(0).run.environment, (Strings{"V=1"}));
  EXPECT_EQ(steps[3].actions.at(0).run.command, (Strings{"/bin/sh", "-c", "[\"a\"]\n"})) << "no list";
  EXPECT_EQ(steps[4].actions.at(0).run.command, (Strings{"/bin/sh", "-c", ""}));
  const std::string large(std::size_t{128} << 10, 'x');
  EXPECT_NE(why_not(str_cat("FROM a\nRUN <<E\n", large, "\nE\n")).find("its command is larger"),
            std::string::npos);
  EXPECT_TRUE(plan_of(str_cat("FROM a\nRUN <<E\n#!/x\n", large, "\nE\n"))) << "a file is as large as it is";
}

TEST(HereDocuments, OfCopy) {
  const BuildSteps steps = steps_of(
      "FROM a\nARG V=1\nWORKDIR /w\nCOPY --chmod=600 <<EOF x.conf\nv=\"$V\" \\$V\nEOF\n"
      "ADD <<'a.txt' \"s $V\" <<-b.txt /dir/\n$V\na.txt\n\t${V:-0}\nb.txt\n");
  ASSERT_EQ(steps.size(), 1U);
  const CopyAction& one = steps[0].actions.at(1).copy;
  EXPECT_TRUE(one.sources.empty());
  ASSERT_EQ(one.documents.size(), 1U);
  EXPECT_EQ(one.documents[0].name, "EOF");
  EXPECT_EQ(one.documents[0].text, "v=\"1\" $V\n");
  EXPECT_EQ(one.target, "/w/x.conf");
  EXPECT_EQ(one.mode, 0600U);
  EXPECT_FALSE(one.into_directory);
  const CopyAction& several = steps[0].actions.at(2).copy;
  EXPECT_EQ(several.sources, (Strings{"s 1"}));
  ASSERT_EQ(several.documents.size(), 2U);
  EXPECT_EQ(several.documents[0].text, "$V\n");
  EXPECT_EQ(several.documents[1].name, "b.txt");
  EXPECT_EQ(several.documents[1].text, "1\n");
  EXPECT_EQ(several.target, "/dir");
}

TEST(HereDocuments, OfCopyThatCanBeNone) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"COPY <<a <<b /x\na\nb", "several sources need a directory"},
      {"COPY <<a\na", "line 2: COPY <<a: it needs a target behind its here-document"},
      {"COPY x <<a\na", "it needs a target behind its here-document"},
      {"COPY <<a/../b /x/\na/../b", "is a here-document's name, and no file's"},
      {"COPY <<.. /x/\n..", "no file's"},
      {"COPY <<'' /x/\n", "no file's"},
      {"COPY <<a /x\n${V%y}\na", "is to go on with"},
      {"COPY --from=b <<a /x\na", "a here-document is in no image"},
  };
  for (const auto& [text, said] : cases) {
    const std::string why = why_not(str_cat("FROM a\n", text, "\n"));
    EXPECT_NE(why.find(said), std::string::npos) << why;
  }
  std::string large = "FROM a\nENV V=" + std::string(600 << 10, 'v') + "\nCOPY <<a /x\n$V$V\na\n";
  EXPECT_NE(why_not(large).find("more than 1 MiB"), std::string::npos) << why_not(large);
}

}  // namespace
}  // namespace layerboot::launcher
