// Steps of Python's TrainingStep (export_models.py) and of this one are the same.

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <string>
#include <vector>

namespace paco::nn {
namespace {

TrainingStep new_step(int64_t queue_size, int64_t dim, int64_t in_features) {
  return TrainingStep(PaCoLoss(PaCoLossOptions{.alpha = 0.05, .temperature = 0.2}),
                      FeatureQueue(queue_size, dim), ClassCenters(in_features, 4));
}

TEST(TrainingStep, FromPythonsStateTakesPythonsSteps) {
  const torch::jit::Module run = torch::jit::load(PACO_TEST_MODELS "/step_run.pt");
  const auto tensor = [&](const char* name) { return run.attr(name).toTensor(); };
  const torch::Tensor losses = tensor("losses");
  const torch::Tensor queue = tensor("queue");
  TrainingStep step = new_step(queue.size(0), queue.size(1), tensor("pooled").size(2));
  torch::load(step, PACO_TEST_MODELS "/step.pt");
  for (int64_t i = 0; i < losses.size(0); ++i) {
    const torch::Tensor loss = step->forward(tensor("queries")[i], tensor("keys")[i],
                                             tensor("pooled")[i], tensor("labels")[i]);
    EXPECT_TRUE(torch::allclose(loss, losses[i], 1e-5, 1e-6));
  }
  EXPECT_TRUE(torch::allclose(step->queue->features, queue, 1e-5, 1e-6));
  EXPECT_TRUE(step->queue->labels.equal(tensor("queue_labels")));
  EXPECT_TRUE(step->queue->state.equal(tensor("queue_state")));
}

TEST(TrainingStep, RowsOfPooledFeaturesAreTheAnchors) {
  const torch::Tensor labels = torch::tensor({0, 1, 2});
  const torch::Tensor queries = torch::randn({3, 2});
  for (const int64_t num_keys : {3, 9}) {
    for (const bool gpaco : {false, true}) {
      const int64_t anchors = gpaco ? 3 + num_keys : 3;
      const torch::Tensor pooled = torch::randn({anchors, 5});
      TrainingStep step = new_step(10, 2, 5);
      const torch::Tensor keys = torch::randn({num_keys, 2}).requires_grad_();
      const StepResult result = step->detailed(queries, keys, pooled, labels);
      EXPECT_EQ(result.features.size(0), 3 + num_keys);
      EXPECT_EQ(result.center_logits.size(0), anchors);
      EXPECT_TRUE(torch::allclose(result.features.norm(2, 1), torch::ones({3 + num_keys})));
      EXPECT_EQ(step->queue->num_valid().item<int64_t>(), num_keys);
      EXPECT_TRUE(step->queue->labels.slice(0, 0, num_keys).equal(labels.repeat({num_keys / 3})));
      result.loss.backward();
      EXPECT_EQ(keys.grad().defined(), gpaco);  // in PaCo no gradient flows to the keys
    }
  }
}

TEST(TrainingStep, TakesSoftTargets) {
  const torch::Tensor rows = torch::randn({3, 2});
  const torch::Tensor labels = torch::tensor({0, 1, 2});
  const torch::Tensor pooled = torch::randn({3, 5});
  const torch::Tensor one_hot = torch::eye(3, 4);
  TrainingStep step = new_step(4, 2, 5);
  TrainingStep twin = new_step(4, 2, 5);
  torch::NoGradGuard no_grad;
  twin->centers->weight.copy_(step->centers->weight);
  twin->centers->bias.copy_(step->centers->bias);
  EXPECT_TRUE(torch::allclose(step->forward(rows, rows, pooled, labels, one_hot),
                              twin->forward(rows, rows, pooled, labels)));
  EXPECT_THROW(twin->forward(rows, rows, pooled, labels, 2 * one_hot), c10::ValueError);
}

TEST(TrainingStep, RefusesRowsThatAreNotOfWholeViews) {
  TrainingStep step = new_step(4, 2, 5);
  const torch::Tensor rows = torch::randn({3, 2});
  const torch::Tensor labels = torch::tensor({0, 1, 2});
  EXPECT_THROW(step->forward(rows, rows, torch::randn({5, 5}), labels), c10::ValueError);
  for (const int64_t num_keys : {0, 2, 4}) {
    EXPECT_THROW(step->forward(rows, torch::randn({num_keys, 2}), torch::randn({3, 5}), labels),
                 c10::ValueError);
  }
  EXPECT_EQ(step->queue->num_valid().item<int64_t>(), 0);
}

TEST(TrainingStep, DetachedCentersLeaveTheEncoderToThePairs) {
  TrainingStep step(PaCoLoss(PaCoLossOptions{.alpha = 1, .temperature = 0.2}), FeatureQueue(4, 2),
                    ClassCenters(5, 4), /*detach_centers=*/true);
  const torch::Tensor pooled = torch::randn({3, 5}).requires_grad_();
  step->forward(torch::randn({3, 2}), torch::randn({3, 2}), pooled, torch::tensor({0, 1, 2}))
      .backward();
  EXPECT_FALSE(pooled.grad().defined());
  EXPECT_TRUE(step->centers->weight.grad().defined());
}

TEST(TrainingStep, NamesItsState) {
  TrainingStep step = new_step(3, 2, 5);
  std::vector<std::string> names = step->named_parameters().keys();
  for (const std::string& name : step->named_buffers().keys()) {
    names.push_back(name);
  }
  const std::vector<std::string> expected = {"centers.weight", "centers.bias", "queue.features",
                                             "queue.labels",   "queue.state",  "centers.log_prior"};
  EXPECT_EQ(names, expected);
}

}  // namespace
}  // namespace paco::nn
