// Fixtures with a reactor of their own.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "oci-mount/base/reactor.h"

namespace layerboot::test {

/// `reactor_` belongs to the thread of the test. Who overrides SetUp() calls this one first.
class ReactorFixture : public testing::Test {
 protected:
  void SetUp() override {
    auto created = Reactor::create();
    ASSERT_TRUE(created) << created.error().describe();
    reactor_ = std::move(*created);
  }
  std::unique_ptr<Reactor> reactor_;
};

/// The same on each engine: TEST_P, and LAYERBOOT_ON_EACH_ENGINE(fixture) once.
class EngineFixture : public ReactorFixture, public testing::WithParamInterface<IoEngine> {
 protected:
  void SetUp() override {
    auto created = Reactor::create(GetParam());
    if (!created && GetParam() == IoEngine::kUring) GTEST_SKIP() << created.error().describe();
    ASSERT_TRUE(created) << created.error().describe();
    reactor_ = std::move(*created);
    ASSERT_EQ(reactor_->engine(), GetParam());
  }
};

#define LAYERBOOT_ON_EACH_ENGINE(fixture)                                    \
  INSTANTIATE_TEST_SUITE_P(                                                  \
      Engines, fixture, testing::Values(IoEngine::kUring, IoEngine::kEpoll), \
      [](const auto& engine) { return engine.param == IoEngine::kUring ? "uring" : "epoll"; })

}  // namespace layerboot::test
