// Files that Python saved (export_models.py) give the same numbers here.

#include <gtest/gtest.h>
#include <torch/script.h>

#include <string>

#include "support/close.h"

namespace paco {
namespace {

using testing::expect_close;

torch::jit::Module load(const std::string& name) {
  return torch::jit::load(PACO_TEST_MODELS "/" + name);
}

torch::Tensor tensor(const torch::jit::Module& module, const std::string& name) {
  return module.attr(name).toTensor();
}

TEST(TorchScript, TrainingStepDoesWhatPythonDoes) {
  torch::jit::Module step = load("step.pt");
  const torch::jit::Module run = load("step_run.pt");
  const torch::Tensor queries = tensor(run, "queries").clone().requires_grad_();
  const torch::Tensor losses = torch::empty_like(tensor(run, "losses"));
  torch::Tensor sum = torch::zeros({});
  for (int64_t i = 0; i < losses.size(0); ++i) {
    const torch::Tensor loss = step.forward({queries[i], tensor(run, "keys")[i],
                                             tensor(run, "pooled")[i], tensor(run, "labels")[i]})
                                   .toTensor();
    losses[i].copy_(loss.detach());
    sum = sum + loss;
  }
  sum.backward();
  expect_close(losses, tensor(run, "losses"));
  expect_close(queries.grad(), tensor(run, "grad_queries"));
  expect_close(tensor(step.attr("centers").toModule(), "weight").grad(),
               tensor(run, "grad_weight"));

  const torch::jit::Module queue = step.attr("queue").toModule();
  expect_close(tensor(queue, "features"), tensor(run, "queue"));
  EXPECT_TRUE(tensor(queue, "labels").equal(tensor(run, "queue_labels")));
  EXPECT_TRUE(tensor(queue, "state").equal(tensor(run, "queue_state")));
}

TEST(TorchScript, ClassifierDoesWhatPythonDoes) {
  torch::jit::Module classifier = load("classifier.pt");
  const torch::jit::Module data = load("images.pt");
  expect_close(classifier.forward({tensor(data, "images")}).toTensor(), tensor(data, "logits"));
}

}  // namespace
}  // namespace paco
