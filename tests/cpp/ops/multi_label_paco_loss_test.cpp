#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/ops/multi_label_paco_loss.h>
#include <torch/torch.h>

#include <optional>
#include <string>

#include "../support/oracle.h"
#include "../support/random.h"

namespace paco::testing {
namespace {

torch::Tensor random_classes(int64_t rows, int64_t classes) {
  return torch::rand({rows, classes}) < 0.4;
}

TEST(MultiLabelPaCoLoss, IsTheReference) {
  for (int i = 0; i < 30; ++i) {
    const uint64_t seed = Random::fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const int64_t rows = random.integer(1, 40);
    const int64_t anchors = random.integer(1, rows);
    const int64_t dim = random.integer(1, 30);
    const int64_t classes = random.integer(1, 9);
    const auto z = unit_rows(rows, dim, torch::kFloat64);
    const auto labels = random_classes(rows, classes);
    const auto s = torch::randn({anchors, classes}, torch::kFloat64);
    std::optional<torch::Tensor> queue;
    std::optional<torch::Tensor> queue_labels;
    std::optional<torch::Tensor> num_valid;
    if (random.chance(0.7)) {
      const int64_t size = random.integer(1, 60);
      queue = unit_rows(size, dim, torch::kFloat64);
      queue_labels = random_classes(size, classes);
      if (random.chance(0.5)) num_valid = torch::tensor(random.integer(0, size));
    }
    const PaCoLossOptions options{.alpha = random.real(0.01, 1),
                                  .temperature = random.real(0.07, 1),
                                  .beta = random.real(0.1, 2),
                                  .gamma = random.real(0.1, 2)};
    const auto evaluate = [&](const auto& loss_of) {
      const auto features = z.clone().requires_grad_();
      const auto logits = s.clone().requires_grad_();
      const torch::Tensor loss = loss_of(features, logits);
      loss.backward();
      return torch::cat(
          {loss.detach().view(1), features.grad().flatten(), logits.grad().flatten()});
    };
    const auto actual = evaluate([&](const auto& features, const auto& logits) {
      return multi_label_paco_loss(features, labels, logits, queue, queue_labels, num_valid,
                                   std::nullopt, options);
    });
    const auto expected = evaluate([&](const auto& features, const auto& logits) {
      return reference("multi_label_paco_loss", {features,
                                                 labels,
                                                 logits,
                                                 queue,
                                                 queue_labels,
                                                 num_valid,
                                                 {},
                                                 options.beta,
                                                 options.gamma,
                                                 {},
                                                 options.alpha,
                                                 options.temperature})
          .toTensor();
    });
    EXPECT_TRUE(torch::allclose(actual, expected, 1e-9, 1e-10));
  }
}

TEST(MultiLabelPaCoLoss, HasNoLabelSmoothing) {
  const auto features = unit_rows(3, 4, torch::kFloat32);
  const auto call = [&](double label_smoothing) {
    multi_label_paco_loss(features, random_classes(3, 2), torch::randn({3, 2}), {}, {}, {}, {},
                          {.alpha = 1, .temperature = 1, .label_smoothing = label_smoothing});
  };
  call(0);
  EXPECT_THROW(call(0.1), c10::ValueError);
}

}  // namespace
}  // namespace paco::testing
