#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <paco/keep_linked.h>

namespace paco {
namespace {

TEST(KeepLinked, AllOperatorsAreThere) {
  keep_linked();
  for (const char* name : {"paco::paco_loss", "paco::paco_loss_forward", "paco::paco_loss_backward",
                           "paco::center_logits", "paco::queue_enqueue_", "paco::build_info"}) {
    EXPECT_TRUE(c10::Dispatcher::singleton().findSchema({name, ""}).has_value()) << name;
  }
}

}  // namespace
}  // namespace paco
