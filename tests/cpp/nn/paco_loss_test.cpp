// The modules together, in the state that Python's modules had (see export_models.py).

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <string>

namespace paco::nn {
namespace {

/// paco.deploy.TrainingStep, its children under the same names.
struct TrainingStepImpl : torch::nn::Module {
  TrainingStepImpl(int64_t queue_size, int64_t dim, int64_t in_features, int64_t num_classes)
      : loss(register_module("loss", PaCoLoss(PaCoLossOptions{.alpha = 0.05, .temperature = 0.2}))),
        queue(register_module("queue", FeatureQueue(queue_size, dim))),
        centers(register_module("centers", ClassCenters(in_features, num_classes))) {}

  torch::Tensor forward(torch::Tensor queries, torch::Tensor keys, const torch::Tensor& pooled,
                        const torch::Tensor& labels) {
    namespace F = torch::nn::functional;
    queries = F::normalize(queries, F::NormalizeFuncOptions().dim(1));
    keys = F::normalize(keys, F::NormalizeFuncOptions().dim(1));
    const torch::Tensor result =
        loss(torch::cat({queries, keys}), torch::cat({labels, labels}), centers(pooled),
             queue->features, queue->labels, queries.size(0), queue->num_valid());
    queue->enqueue(keys, labels);
    return result;
  }

  PaCoLoss loss;
  FeatureQueue queue;
  ClassCenters centers;
};
TORCH_MODULE(TrainingStep);

TEST(PaCoLoss, OfPythonsStateIsPythonsLoss) {
  const torch::jit::Module run = torch::jit::load(PACO_TEST_MODELS "/step_run.pt");
  const auto tensor = [&](const char* name) { return run.attr(name).toTensor(); };
  const torch::Tensor losses = tensor("losses");
  const torch::Tensor queue = tensor("queue");
  TrainingStep step(queue.size(0), queue.size(1), tensor("pooled").size(2), 4);
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

TEST(PaCoLoss, NamesItsState) {
  TrainingStep step(3, 2, 5, 4);
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
