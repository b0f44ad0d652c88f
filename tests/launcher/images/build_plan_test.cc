// The steps that a Containerfile comes to.
#include "launcher/images/build_plan.h"

#include <gtest/gtest.h>

#include "oci-mount/base/str_cat.h"
#include "tests/launcher/images/planned.h"

namespace layerboot::launcher {
namespace {

using recipes::base_of;
using recipes::plan_of;
using recipes::planned;
using recipes::stages_in;
using recipes::steps_of;
using recipes::Strings;
using recipes::why_not;

TEST(BuildPlan, AStepIsWhatIsCopiedAndOneRun) {
  const BuildSteps steps = steps_of(
      "FROM a\nENV A=1 B=\"$A x\"\nWORKDIR /srv\nCOPY x y/ ./\nUSER www-data\nWORKDIR app\nRUN make $A\n"
      "RUN [\"ls\", \"-l\"]\nCMD serve\n");
  ASSERT_EQ(steps.size(), 3U);
  const BuildStep& first = steps[0];
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
  EXPECT_EQ(steps[1].actions[0].run.command, (Strings{"ls", "-l"}));
  EXPECT_TRUE(steps[2].actions.empty());
  EXPECT_EQ(steps[2].changes, (Strings{R"(CMD ["/bin/sh","-c","serve"])"}));
  EXPECT_TRUE(steps_of("FROM a").empty());
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
  ASSERT_EQ(plan.stages.back().size(), 2U);
  EXPECT_EQ(plan.stages.back()[0].actions[0].run.environment, (Strings{"PATH=/bin", "http_proxy=p:1"}));
  EXPECT_EQ(plan.stages.back()[0].actions[0].run.user, "me");
  EXPECT_EQ(plan.stages.back()[0].actions[0].run.directory, "/home");
  EXPECT_EQ(plan.stages.back()[1].actions[0].run.environment,
            (Strings{"A=env", "B=given", "G=global", "PATH=/bin", "http_proxy=p:1"}));
  EXPECT_EQ(plan.unused, (Strings{"unused"}));
  const char* const from = "ARG V=12\nFROM debian:${V:-13}\n";
  EXPECT_EQ(base_of(from), "debian:12");
  EXPECT_EQ(base_of(from, {{"V", "11"}}), "debian:11");
  EXPECT_EQ(base_of("FROM a AS b"), "a");
  EXPECT_EQ(base_of("FROM a as b"), "a");
  EXPECT_FALSE(parse_build_arguments({"=x"}));
  EXPECT_EQ(parse_build_arguments({"A=b=c", "NOT_IN_OUR_ENVIRONMENT"}).value_or(BuildArguments()),
            (BuildArguments{{"A", "b=c"}}));
}

TEST(BuildPlan, TheConfigurationIsWhatCommitTakes) {
  const BuildPlan plan = planned(
      "FROM a\nARG P=80\nSHELL [\"/bin/bash\", \"-ec\"]\nENTRYPOINT [\"/init\"]\nCMD a \"b\"\n"
      "LABEL x=\"1 \\\"2\" y=z\nLABEL k the rest\nLABEL \"two words\"=\"x y\"\nLABEL d='$P'\nEXPOSE $P "
      "53/udp\nVOLUME /a /b\nVOLUME [\"/c d\"]\n"
      "STOPSIGNAL SIGTERM\n");
  ASSERT_EQ(plan.stages.back().size(), 1U);
  EXPECT_EQ(
      plan.stages.back()[0].changes,
      (Strings{R"(SHELL ["/bin/bash","-ec"])", "CMD []", R"(ENTRYPOINT ["/init"])",
               R"(CMD ["/bin/bash","-ec","a \"b\""])", R"(LABEL "x=1 \"2" "y=z")", R"(LABEL "k=the rest")",
               R"(LABEL "two words=x y")", R"(LABEL "d=\$P")", R"(EXPOSE "80" "53/udp")",
               R"(VOLUME "/a" "/b")", R"(VOLUME ["/c d"])", "STOPSIGNAL SIGTERM"}));
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
  EXPECT_FALSE(stages_in(before + "FROM a\n"));
  std::string again = "FROM a\n";
  for (int i = 0; i < 4; ++i) again += str_cat("ENV A=", large, '\n');
  EXPECT_EQ(steps_of(again).size(), 1U) << "one takes the place of the other";
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
  ASSERT_EQ(plan.stages.back().size(), 2U);
  EXPECT_EQ(plan.stages.back()[0].actions[0].run.environment,
            (Strings{"BUILDARCH=" + here, "BUILDOS=linux", "BUILDPLATFORM=linux/" + here, "BUILDVARIANT=",
                     "TARGETARCH=arm", "TARGETOS=linux", "TARGETPLATFORM=linux/arm/v7", "TARGETVARIANT=v7"}));
  EXPECT_EQ(plan.stages.back()[1].changes, (Strings{"ENV \"A=arm\""}));
  EXPECT_EQ(steps_of("FROM a\nARG TARGETARCH=x\nENV A=$TARGETARCH\nARG TARGETOS\nENV B=$TARGETOS",
                     {{"TARGETOS", "y"}}, base)
                .at(0)
                .changes,
            (Strings{"ENV \"A=x\"", "ENV \"B=y\""}))
      << "what is said by hand counts";
  EXPECT_NE(why_not("FROM a\nARG TARGETARCH").find("line 2: ARG TARGETARCH: the image below does not say"),
            std::string::npos);
  EXPECT_EQ(base_of("ARG BUILDARCH\nFROM a:$BUILDARCH"), "a:" + here);
  EXPECT_EQ(base_of("FROM a:$BUILDOS"), "a:linux") << "as Docker has it";
  EXPECT_EQ(base_of("ARG TARGETARCH\nFROM a:$TARGETARCH", {{"TARGETARCH", "b"}}), "a:b");
  for (const char* unknown : {"ARG TARGETARCH\nFROM a", "ARG A=$TARGETARCH\nFROM a", "FROM a:$TARGETARCH"}) {
    const auto found = stages_in(unknown);
    ASSERT_FALSE(found) << unknown;
    EXPECT_NE(found.error().describe().find("TARGETARCH is known behind FROM only"), std::string::npos)
        << found.error().describe();
    EXPECT_EQ(found.error().describe().find("line 1: "), 0U) << found.error().describe();
  }
}

TEST(BuildPlan, TheImageBelowMayHaveAShellAndNoTriggers) {
  const char* const text = "# x\nFROM a\nRUN x\nSHELL [\"/bin/sh\", \"-e\"]\nRUN y\n";
  const auto plan =
      plan_of(text, {},
              {.config = {}, .document = R"({"config": {"Shell": ["/bin/bash", "-ec"], "OnBuild": null}})"});
  ASSERT_TRUE(plan) << plan.error().describe();
  EXPECT_EQ(plan->stages.back().at(0).actions.at(0).run.command, (Strings{"/bin/bash", "-ec", "x"}));
  EXPECT_EQ(plan->stages.back().at(1).actions.at(0).run.command, (Strings{"/bin/sh", "-e", "y"}));
  EXPECT_TRUE(plan_of(text, {}, {.config = {}, .document = R"({"config": {"Shell": "x", "OnBuild": []}})"}));
  EXPECT_TRUE(plan_of(text, {}, {.config = {}, .document = "no JSON"}));
  const auto refused_one =
      plan_of(text, {}, {.config = {}, .document = R"({"config": {"OnBuild": ["COPY . /app"]}})"});
  ASSERT_FALSE(refused_one);
  EXPECT_EQ(refused_one.error().code, ENOTSUP);
  EXPECT_EQ(refused_one.error().describe(),
            "line 2: FROM a: the image has ONBUILD COPY . /app, which build --vm does not know");
}

TEST(BuildPlan, TheShellIsTheImages) {
  const BuildPlan plan = planned("FROM a\nSHELL [\"/bin/bash\", \"-ec\"]\n");
  ASSERT_EQ(plan.stages.back().size(), 1U);
  EXPECT_EQ(plan.stages.back()[0].changes, (Strings{R"(SHELL ["/bin/bash","-ec"])"}));
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
  ASSERT_EQ(plan.stages.back().size(), 1U);
  EXPECT_EQ(plan.stages.back()[0].actions.at(0).copy.sources, (Strings{"a 1.2"}));
  EXPECT_EQ(plan.stages.back()[0].actions.at(0).copy.target, "/opt/1.2");
  EXPECT_EQ(plan.stages.back()[0].actions.at(1).copy.sources, (Strings{"b-1.2"}));
  EXPECT_EQ(plan.stages.back()[0].changes, (Strings{R"(VOLUME ["/data/1.2","/c d"])"}));
  EXPECT_EQ(plan.stages.back()[0].actions.at(2).run.command, (Strings{"echo", "$V"})) << "no shell's";
}

TEST(BuildPlan, OwnersAreNumbersOrTheGuestsNames) {
  const BuildPlan plan = planned(
      "FROM a\nARG WHO=www-data\nCOPY --chown=3 x /a\nCOPY --chown=3:4 x /b\nCOPY --chown=$WHO x /c\n"
      "COPY --link --chown=5:adm x /d\n");
  const auto& actions = plan.stages.back().at(0).actions;
  ASSERT_EQ(actions.size(), 4U);
  const auto owner = [&](std::size_t i) {
    const CopyAction& copy = actions[i].copy;
    return str_cat(copy.uid, ' ', copy.gid, ' ', copy.owner);
  };
  EXPECT_EQ(owner(0), "3 3 ");
  EXPECT_EQ(owner(1), "3 4 ");
  EXPECT_EQ(owner(2), "0 0 www-data");
  EXPECT_EQ(owner(3), "0 0 5:adm");
}

TEST(BuildPlan, WhatIsNotUnderstoodIsSaidWithItsLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"FROM a\nCOPY x", "line 2: COPY x: it needs a source and a target"},
      {"FROM a\nCOPY x y /z", "which ends with a /"},
      {"FROM a\nADD --from=b x /z", "build --vm knows no --from=b"},
      {"FROM a\nCOPY --chown=:adm x /z", "--chown takes a user, or USER:GROUP"},
      {"FROM a\nCOPY --chown= x /z", "--chown takes a user, or USER:GROUP"},
      {"FROM a\nCOPY --parents x /z", "build --vm knows no --parents"},
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
  EXPECT_EQ(steps_of("FROM a\nENV LARGE=" + large).size(), 1U) << "no program is given it here";
  for (const char* bad : {"RUN x\nFROM a", "ARG x=1", "FROM scratch", "FROM a b", "FROM a b c",
                          "FROM --platform=x a", "FROM $none", "FROM ''"})
    EXPECT_FALSE(stages_in(bad)) << bad;
}

}  // namespace
}  // namespace layerboot::launcher
