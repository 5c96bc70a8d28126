#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/bcl_loss.h>
#include <paco/ops/bcl_loss.h>
#include <torch/torch.h>

#include <limits>
#include <string>

namespace paco::nn {
namespace {

TEST(BCLLoss, IsTheOperator) {
  const auto features = torch::nn::functional::normalize(torch::randn({6, 4}));
  const auto prototypes = torch::nn::functional::normalize(torch::randn({3, 4}));
  const auto labels = torch::tensor({0, 1, 0, 2, 2, 2});
  BCLLoss loss(0.2);
  EXPECT_TRUE(torch::equal(loss->forward(features, labels, prototypes),
                           bcl_loss(features, labels, prototypes, {}, {}, {}, 0.2)));
}

TEST(BCLLoss, RefusesATemperatureOutsideItsRange) {
  for (const double bad : {0.0, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    try {
      const BCLLoss loss(bad);
      ADD_FAILURE() << "accepted " << bad;
    } catch (const c10::ValueError& error) {
      const std::string message = error.what_without_backtrace();
      EXPECT_EQ(message.find("BCLLoss: temperature must be finite and > 0, got "), 0U) << message;
    }
  }
}

}  // namespace
}  // namespace paco::nn
