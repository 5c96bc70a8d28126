#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/pixel_paco_loss.h>
#include <torch/torch.h>

#include <optional>
#include <string>

#include "../support/oracle.h"
#include "../support/random.h"

namespace paco::nn {
namespace {

using paco::testing::Random;
using paco::testing::reference;
using paco::testing::unit_rows;

struct Problem {
  torch::Tensor embeddings, seg_logits, labels;
  std::optional<torch::Tensor> queue, queue_labels, num_valid;
};

// Every setting now on, now off.
PixelPaCoLossOptions random_options(Random& random, int64_t pixels) {
  PixelPaCoLossOptions options{.alpha = random.real(0.01, 1.5),
                               .temperature = random.real(0.07, 1)};
  if (random.chance(0.3)) options.num_pixels = std::nullopt;
  if (random.chance(0.5)) options.num_pixels = random.integer(1, pixels);
  if (random.chance(0.3)) options.ignore_index = -1;
  options.across_images = random.chance(0.4);
  if (random.chance(0.3)) options.beta = 0.7;
  if (random.chance(0.3)) options.gamma = 1.3;
  if (random.chance(0.3)) options.base_temperature = 0.5;
  return options;
}

Problem random_problem(Random& random, int64_t height, int64_t width, int64_t ignore_index) {
  const int64_t images = random.integer(1, 3);
  const int64_t classes = random.integer(1, 6);
  const int64_t dim = random.integer(1, 20);
  const int64_t stride = random.integer(1, 4);
  Problem p;
  p.embeddings = 3 * torch::randn({images, dim, height, width}, torch::kFloat64);
  p.seg_logits = 3 * torch::randn({images, classes, height, width}, torch::kFloat64);
  p.labels = torch::randint(classes, {images, stride * height, stride * width}, torch::kInt64);
  p.labels.masked_fill_(torch::rand(p.labels.sizes()) < random.real(0, 1), ignore_index);
  if (random.chance(0.3)) p.labels[0].fill_(ignore_index);
  if (random.chance(0.4)) {
    p.queue = unit_rows(30, dim, torch::kFloat64);
    p.queue_labels = torch::randint(classes + 1, {30}, torch::kInt64);
    if (random.chance(0.5)) p.num_valid = torch::tensor(random.integer(0, 30));
  }
  return p;
}

TEST(PixelPaCoLoss, IsPythonsDefinition) {
  const uint64_t seed = Random::fresh_seed();
  SCOPED_TRACE("PACO_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  for (int i = 0; i < 20; ++i) {
    const int64_t height = random.integer(1, 9);
    const int64_t width = random.integer(1, 9);
    const PixelPaCoLossOptions options = random_options(random, height * width);
    const Problem p = random_problem(random, height, width, options.ignore_index);
    torch::manual_seed(i);
    const torch::Tensor loss = PixelPaCoLoss(options)(p.embeddings, p.seg_logits, p.labels, p.queue,
                                                      p.queue_labels, p.num_valid);
    torch::manual_seed(i);
    const torch::Tensor expected =
        reference("pixel_paco_loss",
                  {p.embeddings, p.seg_logits, p.labels, p.queue, p.queue_labels, p.num_valid,
                   options.num_pixels, options.ignore_index, options.across_images, options.beta,
                   options.gamma, options.base_temperature, options.alpha, options.temperature})
            .toTensor();
    EXPECT_TRUE(torch::allclose(loss, expected, 1e-9, 1e-12)) << loss << expected;
  }
}

TEST(PixelPaCoLoss, OfFloat32IsNearTheDefinitionAndLearns) {
  torch::manual_seed(0);
  const torch::Tensor embeddings = torch::randn({2, 8, 5, 5}).requires_grad_();
  const torch::Tensor seg_logits = torch::randn({2, 4, 5, 5}).requires_grad_();
  const torch::Tensor labels = torch::randint(4, {2, 20, 20}, torch::kInt64);
  PixelPaCoLoss loss(PixelPaCoLossOptions{.alpha = 0.01, .temperature = 0.07});
  const torch::Tensor value = loss(embeddings, seg_logits, labels);
  EXPECT_EQ(value.scalar_type(), torch::kFloat32);
  const torch::Tensor exact =
      loss(embeddings.to(torch::kFloat64), seg_logits.to(torch::kFloat64), labels);
  EXPECT_NEAR(value.item<double>(), exact.item<double>(), 1e-4);
  value.backward();
  EXPECT_GT(embeddings.grad().abs().sum().item<double>(), 0);
  EXPECT_GT(seg_logits.grad().abs().sum().item<double>(), 0);
}

TEST(PixelPaCoLoss, RefusesBadInput) {
  PixelPaCoLoss loss(PixelPaCoLossOptions{.alpha = 0.01, .temperature = 0.07});
  const torch::Tensor embeddings = torch::zeros({2, 5, 4, 3});
  const torch::Tensor seg_logits = torch::zeros({2, 7, 4, 3});
  const torch::Tensor labels = torch::zeros({2, 8, 6}, torch::kInt64);
  const auto refused = [&](const torch::Tensor& z, const torch::Tensor& s, const torch::Tensor& y,
                           const std::string& message) {
    try {
      loss(z, s, y);
      ADD_FAILURE() << "accepted, instead of: " << message;
    } catch (const c10::ValueError& error) {
      const std::string what = error.what_without_backtrace();
      EXPECT_EQ(what.rfind("PixelPaCoLoss: ", 0), 0) << what;
      EXPECT_NE(what.find(message), std::string::npos) << what;
    }
  };
  refused(embeddings.slice(0, 0, 0), seg_logits, labels, "none of them 0, got Float [0, 5, 4, 3]");
  refused(embeddings, seg_logits.slice(3, 0, 2), labels, "N, H, W = 2, 4, 3");
  refused(embeddings, seg_logits, labels.unsqueeze(1), "labels must be int64 [N, H', W']");
  refused(embeddings, seg_logits, torch::full_like(labels, 7),
          "labels must lie in [0, C) with C = 7, or be ignore_index, 255, got 7");
  const PixelPaCoLossOptions no_pixels{.alpha = 0.01, .temperature = 0.07, .num_pixels = 0};
  EXPECT_THROW(PixelPaCoLoss{no_pixels}, c10::ValueError);
  EXPECT_THROW(PixelPaCoLoss(PixelPaCoLossOptions{.alpha = -1, .temperature = 1}), c10::ValueError);
}

}  // namespace
}  // namespace paco::nn
