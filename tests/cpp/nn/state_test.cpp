// State moves from Python's modules into these and back: export_models.py wrote what is read here,
// check_state.py reads what is written here.

#include <gtest/gtest.h>
#include <paco/nn.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <map>
#include <string>

#include "../support/close.h"

namespace paco::nn {
namespace {

using State = std::map<std::string, torch::Tensor>;

struct ModulesImpl : torch::nn::Module {
  ModulesImpl(int64_t in_features, int64_t dim, int64_t num_classes, int64_t queue_size)
      : query(register_module("query", torch::nn::Linear(in_features, dim))),
        key(register_module("key", MomentumEncoder<torch::nn::Linear>(query, 0.9))),
        step(register_module(
            "step",
            TrainingStep(PaCoLoss(PaCoLossOptions{.alpha = 0.05, .temperature = 0.2}),
                         FeatureQueue(queue_size, dim), ClassCenters(in_features, num_classes)))),
        proco(register_module("proco", ProCoLoss(num_classes, dim, 0.1))) {}

  torch::Tensor forward(const torch::Tensor& pooled, const torch::Tensor& labels) {
    key->update(query);
    const torch::Tensor queries = query(pooled);
    return step(queries, key(pooled), pooled, labels) +
           proco(torch::nn::functional::normalize(queries), labels);
  }

  State state() const {
    State result;
    for (const auto& item : named_parameters()) {
      result[item.key()] = item.value();
    }
    for (const auto& item : named_buffers()) {
      result[item.key()] = item.value();
    }
    return result;
  }

  torch::nn::Linear query;
  MomentumEncoder<torch::nn::Linear> key;
  TrainingStep step;
  ProCoLoss proco;
};
TORCH_MODULE(Modules);

State read_state(const std::string& path) {
  const torch::jit::Module module = torch::jit::load(path);
  State result;
  for (const auto& [name, value] : module.named_parameters()) {
    result[name] = value;
  }
  for (const auto& [name, value] : module.named_buffers()) {
    result[name] = value;
  }
  return result;
}

TEST(State, MovesBetweenPythonAndCpp) {
  const std::string folder = PACO_TEST_MODELS;
  const State python = read_state(folder + "/modules.pt");
  const torch::Tensor centers = python.at("step.centers.weight");
  const torch::Tensor queue = python.at("step.queue.features");
  Modules modules(centers.size(1), queue.size(1), centers.size(0), queue.size(0));
  torch::load(modules, folder + "/modules.pt");
  const State loaded = modules->state();
  EXPECT_EQ(loaded.size(), python.size());
  for (const auto& [name, value] : loaded) {
    ASSERT_EQ(python.count(name), 1) << name;
    EXPECT_TRUE(value.equal(python.at(name))) << name;
  }
  EXPECT_FALSE(modules->key->encoder->weight.requires_grad());
  EXPECT_TRUE(modules->query->weight.requires_grad());

  const torch::jit::Module run = torch::jit::load(folder + "/modules_run.pt");
  const torch::NoGradGuard no_grad;
  const torch::Tensor loss =
      modules->forward(run.attr("pooled").toTensor(), run.attr("labels").toTensor());
  testing::expect_close(loss, run.attr("loss").toTensor());
  const State after = read_state(folder + "/modules_after.pt");
  for (const auto& [name, value] : modules->state()) {
    SCOPED_TRACE(name);
    testing::expect_close(value, after.at(name));
  }
  torch::save(modules, folder + "/modules_of_cpp.pt");
}

}  // namespace
}  // namespace paco::nn
