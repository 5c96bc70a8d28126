#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/paco_loss.h>

#include <string>

namespace paco::nn {
namespace {

TEST(PaCoLoss, RefusesHyperParametersOutsideTheirRanges) {
  const PaCoLossOptions good{.alpha = 0.05, .temperature = 0.2};
  const auto refused = [](const PaCoLossOptions& options, const std::string& message) {
    try {
      const PaCoLoss loss(options);
      ADD_FAILURE() << "accepted, instead of: " << message;
    } catch (const c10::ValueError& error) {
      EXPECT_EQ(std::string(error.what_without_backtrace()), "PaCoLoss: " + message);
    }
  };
  const auto with = [&](auto member, double value) {
    PaCoLossOptions options = good;
    options.*member = value;
    return options;
  };
  refused(with(&PaCoLossOptions::alpha, -1), "alpha must be finite and >= 0, got -1");
  refused(with(&PaCoLossOptions::beta, -1), "beta must be finite and >= 0, got -1");
  refused(with(&PaCoLossOptions::gamma, -1), "gamma must be finite and >= 0, got -1");
  refused(with(&PaCoLossOptions::temperature, 0), "temperature must be finite and > 0, got 0");
  refused(with(&PaCoLossOptions::base_temperature, 0),
          "base_temperature must be finite and > 0, got 0");
  refused(with(&PaCoLossOptions::label_smoothing, 1), "label_smoothing must lie in [0, 1), got 1");
}

}  // namespace
}  // namespace paco::nn
