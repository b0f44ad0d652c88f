// A Containerfile taken apart, its words and variables, and the steps that it comes to.
#include "launcher/images/containerfile.h"

#include <gtest/gtest.h>

#include "launcher/images/build_bases.h"
#include "launcher/images/build_plan.h"
#include "launcher/images/containerfile_words.h"

namespace layerboot::launcher {
namespace {

using Strings = std::vector<std::string>;

std::vector<Instruction> parsed(std::string_view text) {
  auto instructions = parse_containerfile(text);
  EXPECT_TRUE(instructions) << instructions.error().describe();
  return instructions ? *std::move(instructions) : std::vector<Instruction>();
}

std::string refused(std::string_view text) {
  const auto instructions = parse_containerfile(text);
  EXPECT_FALSE(instructions) << text;
  return instructions ? "" : instructions.error().describe();
}

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
  EXPECT_NE(refused("RUN <<EOF\nls\nEOF").find("line 1: RUN <<EOF: here-documents"), std::string::npos);
  EXPECT_NE(refused("COPY <<-'a b' /x").find("here-documents"), std::string::npos);
  EXPECT_NE(refused("RUN python3 3<<END").find("here-documents"), std::string::npos);
  EXPECT_NE(refused("# escape=`\nFROM a").find("line 1: build --vm knows no other escape"),
            std::string::npos);
  EXPECT_NE(refused("FROM a\nRUN  \n").find("line 2: RUN says nothing"), std::string::npos);
  EXPECT_NE(refused(std::string_view("FROM a\0b", 8)).find("no text"), std::string::npos);
  EXPECT_NE(refused("\x1b[31m x").find("\\033[31M"), std::string::npos) << "no terminal's command";
  parsed("RUN echo $((1<<2)) <<< x && cat <<<\"y\"\n# escape=\\\n");
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

BuildPlan planned(std::string_view text, const BuildArguments& arguments = {},
                  const store::ImageConfig& base = {}) {
  auto plan = plan_build(parsed(text), arguments, base);
  EXPECT_TRUE(plan) << plan.error().describe();
  return plan ? *std::move(plan) : BuildPlan();
}

std::string why_not(std::string_view text) {
  const auto plan = plan_build(parsed(text), {}, {});
  EXPECT_FALSE(plan) << text.substr(0, 500);
  return plan ? std::string() : plan.error().describe();
}

TEST(BuildPlan, AStepIsWhatIsCopiedAndOneRun) {
  const BuildPlan plan = planned(
      "FROM a\nENV A=1 B=\"$A x\"\nWORKDIR /srv\nCOPY x y/ ./\nUSER www-data\nWORKDIR app\nRUN make $A\n"
      "RUN [\"ls\", \"-l\"]\nCMD serve\n");
  ASSERT_EQ(plan.steps.size(), 3U);
  const BuildStep& first = plan.steps[0];
  EXPECT_EQ(first.said, "line 7: RUN make $A");
  ASSERT_EQ(first.actions.size(), 4U);
  EXPECT_EQ(first.actions[0].directory, "/srv");
  EXPECT_EQ(first.actions[1].copy.sources, (Strings{"x", "y/"}));
  EXPECT_EQ(first.actions[1].copy.target, "/srv");
  EXPECT_TRUE(first.actions[1].copy.into_directory);
  EXPECT_EQ(first.actions[2].directory, "/srv/app");
  const RunAction& run = first.actions[3].run;
  EXPECT_EQ(run.command, (Strings{"/bin/sh", "-c", "make $A"})) << "for the shell to expand";
  EXPECT_EQ(run.environment, (Strings{"A=1", "B= x"})) << "as it was before the line";
  EXPECT_EQ(run.user, "www-data");
  EXPECT_EQ(run.directory, "/srv/app");
  EXPECT_EQ(first.changes,
            (Strings{"ENV \"A=1\" \"B= x\"", "WORKDIR /srv", "USER www-data", "WORKDIR /srv/app"}));
  EXPECT_EQ(plan.steps[1].actions[0].run.command, (Strings{"ls", "-l"}));
  EXPECT_TRUE(plan.steps[2].actions.empty());
  EXPECT_EQ(plan.steps[2].changes, (Strings{R"(CMD ["/bin/sh","-c","serve"])"}));
  EXPECT_TRUE(planned("FROM a").steps.empty());
}

TEST(BuildPlan, ArgumentsCountWhereTheyAreDeclared) {
  const BuildArguments given = {{"B", "given"}, {"http_proxy", "p:1"}, {"unused", "x"}};
  const BuildPlan plan =
      planned("ARG G=global\nFROM a\nRUN one\nARG A=default B=default G\nARG C\nENV A=env\nRUN two\n", given,
              {.platform = {},
               .env = {"PATH=/bin"},
               .entrypoint = {},
               .cmd = {},
               .user = "me",
               .working_dir = "/home",
               .stop_signal = {},
               .volumes = {},
               .exposed_ports = {},
               .diff_ids = {}});
  ASSERT_EQ(plan.steps.size(), 2U);
  EXPECT_EQ(plan.steps[0].actions[0].run.environment, (Strings{"PATH=/bin", "http_proxy=p:1"}));
  EXPECT_EQ(plan.steps[0].actions[0].run.user, "me");
  EXPECT_EQ(plan.steps[0].actions[0].run.directory, "/home");
  EXPECT_EQ(plan.steps[1].actions[0].run.environment,
            (Strings{"A=env", "B=given", "G=global", "PATH=/bin", "http_proxy=p:1"}));
  EXPECT_EQ(plan.unused, (Strings{"unused"}));
  const auto from = parsed("ARG V=12\nFROM debian:${V:-13}\n");
  EXPECT_EQ(base_of_build(from, {}).value_or(""), "debian:12");
  EXPECT_EQ(base_of_build(from, {{"V", "11"}}).value_or(""), "debian:11");
  EXPECT_EQ(base_of_build(parsed("FROM a AS b"), {}).value_or(""), "a");
  EXPECT_EQ(base_of_build(parsed("FROM a as b"), {}).value_or(""), "a");
  EXPECT_FALSE(parse_build_arguments({"=x"}));
  EXPECT_EQ(parse_build_arguments({"A=b=c", "NOT_IN_OUR_ENVIRONMENT"}).value_or(BuildArguments()),
            (BuildArguments{{"A", "b=c"}}));
}

TEST(BuildPlan, TheConfigurationIsWhatCommitTakes) {
  const BuildPlan plan = planned(
      "FROM a\nARG P=80\nSHELL [\"/bin/bash\", \"-ec\"]\nENTRYPOINT [\"/init\"]\nCMD a \"b\"\n"
      "LABEL x=\"1 \\\"2\" y=z\nLABEL k the rest\nEXPOSE $P 53/udp\nVOLUME /a /b\nVOLUME [\"/c d\"]\n"
      "STOPSIGNAL SIGTERM\n");
  ASSERT_EQ(plan.steps.size(), 1U);
  EXPECT_EQ(plan.steps[0].changes,
            (Strings{R"(SHELL ["/bin/bash","-ec"])", "CMD []", R"(ENTRYPOINT ["/init"])",
                     R"(CMD ["/bin/bash","-ec","a \"b\""])", R"(LABEL "x=1 \"2" "y=z")",
                     R"(LABEL "k=the rest")", R"(EXPOSE "80" "53/udp")", R"(VOLUME "/a" "/b")",
                     R"(VOLUME ["/c d"])", "STOPSIGNAL SIGTERM"}));
}

TEST(BuildPlan, VariablesGrowToABound) {
  std::string doubling = "FROM a\nENV V=" + std::string(1024, 'v') + "\n";
  for (int i = 0; i < 10; ++i) doubling += "ENV V=$V$V\n";
  const std::string too_large = why_not(doubling);
  EXPECT_NE(too_large.find("line 12: ENV V=$V$V"), std::string::npos) << too_large;
  EXPECT_NE(too_large.find("more than 1 MiB"), std::string::npos) << too_large;
  const std::string large(300 << 10, 'v');
  for (const char* word : {"ENV", "ARG"}) {
    std::string many = "FROM a\n";
    for (const char* name : {"A", "B", "C", "D"}) many += str_cat(word, ' ', name, '=', large, '\n');
    EXPECT_NE(why_not(many).find(str_cat("line 5: ", word)), std::string::npos) << why_not(many);
    EXPECT_NE(why_not(many).find("more than 1 MiB"), std::string::npos) << why_not(many);
  }
  std::string before;
  for (const char* name : {"A", "B", "C", "D"}) before += str_cat("ARG ", name, '=', large, '\n');
  EXPECT_FALSE(base_of_build(parsed(before + "FROM a\n"), {}));
  std::string again = "FROM a\n";
  for (int i = 0; i < 4; ++i) again += str_cat("ENV A=", large, '\n');
  EXPECT_EQ(planned(again).steps.size(), 1U) << "one takes the place of the other";
  const std::string fits(100 << 10, 'v');
  std::string runs = str_cat("FROM a\nENV A=", fits, " B=", fits, " C=", fits, '\n');
  for (int i = 0; i < 300; ++i) runs += "RUN x\n";
  EXPECT_NE(why_not(runs).find("more than 64 MiB"), std::string::npos) << why_not(runs);
}

TEST(BuildPlan, ThePlatformIsAnArgument) {
  store::ImageConfig base;
  base.platform = {.os = "linux", .architecture = "arm", .variant = "v7"};
  const std::string here(store::host_architecture());
  const BuildPlan plan = planned(
      "FROM a\nARG TARGETPLATFORM TARGETOS TARGETARCH\nARG TARGETVARIANT\n"
      "ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT\nRUN x\nENV A=$TARGETARCH\n",
      {}, base);
  ASSERT_EQ(plan.steps.size(), 2U);
  EXPECT_EQ(plan.steps[0].actions[0].run.environment,
            (Strings{"BUILDARCH=" + here, "BUILDOS=linux", "BUILDPLATFORM=linux/" + here, "BUILDVARIANT=",
                     "TARGETARCH=arm", "TARGETOS=linux", "TARGETPLATFORM=linux/arm/v7", "TARGETVARIANT=v7"}));
  EXPECT_EQ(plan.steps[1].changes, (Strings{"ENV \"A=arm\""}));
  EXPECT_EQ(planned("FROM a\nARG TARGETARCH=x\nENV A=$TARGETARCH\nARG TARGETOS\nENV B=$TARGETOS",
                    {{"TARGETOS", "y"}}, base)
                .steps.at(0)
                .changes,
            (Strings{"ENV \"A=x\"", "ENV \"B=y\""}))
      << "what is said by hand counts";
  EXPECT_NE(why_not("FROM a\nARG TARGETARCH").find("line 2: ARG TARGETARCH: the image below does not say"),
            std::string::npos);
  EXPECT_EQ(base_of_build(parsed("ARG BUILDARCH\nFROM a:$BUILDARCH"), {}).value_or("?"), "a:" + here);
  EXPECT_EQ(base_of_build(parsed("FROM a:$BUILDOS"), {}).value_or("?"), "a:linux") << "as Docker has it";
  EXPECT_EQ(base_of_build(parsed("ARG TARGETARCH\nFROM a:$TARGETARCH"), {{"TARGETARCH", "b"}}).value_or("?"),
            "a:b");
  for (const char* unknown : {"ARG TARGETARCH\nFROM a", "ARG A=$TARGETARCH\nFROM a", "FROM a:$TARGETARCH"}) {
    const auto found = base_of_build(parsed(unknown), {});
    ASSERT_FALSE(found) << unknown;
    EXPECT_NE(found.error().describe().find("TARGETARCH is known behind FROM only"), std::string::npos)
        << found.error().describe();
    EXPECT_EQ(found.error().describe().find("line 1: "), 0U) << found.error().describe();
  }
}

TEST(BuildPlan, TheImageBelowMayHaveAShellAndNoTriggers) {
  const auto instructions = parsed("# x\nFROM a\nRUN x\nSHELL [\"/bin/sh\", \"-e\"]\nRUN y\n");
  const auto plan =
      plan_build(instructions, {}, {}, R"({"config": {"Shell": ["/bin/bash", "-ec"], "OnBuild": null}})");
  ASSERT_TRUE(plan) << plan.error().describe();
  EXPECT_EQ(plan->steps.at(0).actions.at(0).run.command, (Strings{"/bin/bash", "-ec", "x"}));
  EXPECT_EQ(plan->steps.at(1).actions.at(0).run.command, (Strings{"/bin/sh", "-e", "y"}));
  EXPECT_TRUE(plan_build(instructions, {}, {}, R"({"config": {"Shell": "x", "OnBuild": []}})"));
  EXPECT_TRUE(plan_build(instructions, {}, {}, "no JSON"));
  const auto refused_one = plan_build(instructions, {}, {}, R"({"config": {"OnBuild": ["COPY . /app"]}})");
  ASSERT_FALSE(refused_one);
  EXPECT_EQ(refused_one.error().code, ENOTSUP);
  EXPECT_EQ(refused_one.error().describe(),
            "line 2: FROM a: the image has ONBUILD COPY . /app, which build --vm does not know");
}

TEST(BuildPlan, TheShellIsTheImages) {
  const BuildPlan plan = planned("FROM a\nSHELL [\"/bin/bash\", \"-ec\"]\n");
  ASSERT_EQ(plan.steps.size(), 1U);
  EXPECT_EQ(plan.steps[0].changes, (Strings{R"(SHELL ["/bin/bash","-ec"])"}));
}

TEST(BuildPlan, ACopyThatNoLayerHasIsWarnedOf) {
  const BuildPlan plan = planned(
      "FROM a\nCOPY x /tmp/\nCOPY x /tmp\nCOPY x /etc/machine-id\nCOPY x /run/a/b\nCOPY x /var/tmp/\nCOPY x "
      "/etc/ssh/\nCOPY x /etc/hosts\nWORKDIR /tmp\nWORKDIR build\n");
  ASSERT_EQ(plan.warnings.size(), 6U);
  EXPECT_EQ(plan.warnings[0],
            "line 2: COPY x /tmp/: what one machine has for itself is in no layer; the next RUN alone finds "
            "it there");
  EXPECT_EQ(plan.warnings[2].find("line 4: "), 0U);
  EXPECT_EQ(plan.warnings[3].find("line 5: "), 0U);
  EXPECT_EQ(plan.warnings[4].find("line 8: "), 0U);
  EXPECT_EQ(plan.warnings[5].find("line 10: WORKDIR build: "), 0U);
}

TEST(BuildPlan, ListsOfPathsAreExpanded) {
  const BuildPlan plan = planned(
      "FROM a\nARG V=1.2\nCOPY [\"a $V\", \"/opt/${V}/\"]\nADD [\"b-$V\", \"/x\"]\n"
      "VOLUME [\"/data/$V\", \"/c d\"]\nRUN [\"echo\", \"$V\"]\n");
  ASSERT_EQ(plan.steps.size(), 1U);
  EXPECT_EQ(plan.steps[0].actions.at(0).copy.sources, (Strings{"a 1.2"}));
  EXPECT_EQ(plan.steps[0].actions.at(0).copy.target, "/opt/1.2");
  EXPECT_EQ(plan.steps[0].actions.at(1).copy.sources, (Strings{"b-1.2"}));
  EXPECT_EQ(plan.steps[0].changes, (Strings{R"(VOLUME ["/data/1.2","/c d"])"}));
  EXPECT_EQ(plan.steps[0].actions.at(2).run.command, (Strings{"echo", "$V"})) << "no shell's";
}

TEST(BuildPlan, WhatIsNotUnderstoodIsSaidWithItsLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"FROM a\nCOPY x", "line 2: COPY x: it needs a source and a target"},
      {"FROM a\nCOPY x y /z", "which ends with a /"},
      {"FROM a\nCOPY --from=b x /z", "build --vm knows no --from=b"},
      {"FROM a\nCOPY --chown=www-data x /z", "--chown takes numbers"},
      {"FROM a\nCOPY --chmod=u+x x /z", "--chmod takes a mode"},
      {"FROM a\nCOPY --chmod=17777 x /z", "--chmod takes a mode"},
      {"FROM a\nADD https://x/y /z", "build --vm adds local files only"},
      {"FROM a\nRUN --mount=type=cache,target=/x ls", "build --vm knows no --mount"},
      {"FROM a\nENV A", "\"A\" has no value"},
      {"FROM a\nENV A=1 B", "\"B\" is not of the form KEY=VALUE"},
      {"FROM a\nARG =x", "has no name"},
      {"FROM a\nLABEL x='y", "a quotation has no end"},
      {"FROM a\nEXPOSE $P", "is no port"},
      {"FROM a\nEXPOSE http", "is no port"},
      {"FROM a\nSHELL bash", "it takes a list in JSON"},
      {"FROM a\nRUN []", "it says no command"},
      {"FROM a\nWORKDIR $x", "it says no directory"},
      {"FROM a\nUSER ${x:?y}", "is to go on with"},
  };
  for (const auto& [text, said] : cases)
    EXPECT_NE(why_not(text).find(said), std::string::npos) << why_not(text);
  const std::string large(std::size_t{128} << 10, 'x');
  EXPECT_NE(why_not("FROM a\nENV LARGE=" + large + "\nRUN x").find("line 3: RUN x: variable LARGE is larger"),
            std::string::npos);
  EXPECT_NE(why_not("FROM a\nRUN " + large).find("its command is larger"), std::string::npos);
  EXPECT_EQ(planned("FROM a\nENV LARGE=" + large).steps.size(), 1U) << "no program is given it here";
  for (const char* bad : {"RUN x\nFROM a", "ARG x=1", "FROM scratch", "FROM a b", "FROM a b c",
                          "FROM --platform=x a", "FROM a\nFROM b", "FROM $none", "FROM ''"})
    EXPECT_FALSE(base_of_build(parsed(bad), {})) << bad;
}

}  // namespace
}  // namespace layerboot::launcher
