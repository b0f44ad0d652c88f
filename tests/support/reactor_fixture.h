// A fixture with a reactor of its own.
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

}  // namespace layerboot::test
