// Twenty steps of one training run: from a TorchScript step, from a .pt2 step, and with the
// modules, all with the losses of Python's (export_models.py).

#include <gtest/gtest.h>
#include <paco/nn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

namespace paco {
namespace {

using torch::Tensor;

constexpr double kMomentum = 0.9;

std::string file(const std::string& name) { return PACO_TEST_MODELS "/" + name; }

/// A step's loss; it adds its gradients to those of its arguments and of the centers.
using Step = std::function<double(const Tensor& queries, const Tensor& keys, const Tensor& pooled,
                                  const Tensor& labels)>;

/// The losses of a run of a linear backbone and a linear projector.
void expect_pythons_losses(const Step& step, std::vector<Tensor> centers) {
  const torch::jit::Module run = torch::jit::load(file("training_run.pt"));
  const auto tensor = [&](const std::string& name) { return run.attr(name).toTensor().clone(); };
  const Tensor backbone = tensor("backbone").requires_grad_();
  const Tensor projector = tensor("projector").requires_grad_();
  const std::vector<Tensor> encoder = {backbone, projector};
  const std::vector<Tensor> key = {tensor("backbone"), tensor("projector")};
  std::vector<Tensor> parameters = encoder;
  parameters.insert(parameters.end(), centers.begin(), centers.end());
  torch::optim::SGD optimizer(parameters, torch::optim::SGDOptions(0.1).momentum(0.9));
  const Tensor losses = tensor("losses");
  for (int64_t i = 0; i < losses.size(0); ++i) {
    optimizer.zero_grad();
    nn::momentum_update_(key, encoder, kMomentum);
    const Tensor keys = tensor("key_views")[i].matmul(key[0]).tanh().matmul(key[1]);
    const Tensor pooled = tensor("query_views")[i].matmul(backbone).tanh();
    const double loss = step(pooled.matmul(projector), keys, pooled, tensor("labels")[i]);
    optimizer.step();
    const auto right = losses[i].item<double>();
    EXPECT_NEAR(loss, right, 1e-5 * right) << "step " << i;
  }
}

TEST(TrainingRun, OfTorchScript) {
  torch::jit::Module step = torch::jit::load(file("training_run_step.pt"));
  std::vector<Tensor> centers;
  for (const Tensor& parameter : step.parameters()) {
    centers.push_back(parameter);
  }
  expect_pythons_losses(
      [&](const Tensor& queries, const Tensor& keys, const Tensor& pooled, const Tensor& labels) {
        const Tensor loss = step.forward({queries, keys, pooled, labels}).toTensor();
        loss.backward();
        return loss.item<double>();
      },
      centers);
}

TEST(TrainingRun, OfModules) {
  nn::TrainingStep step(nn::PaCoLoss(PaCoLossOptions{.alpha = 0.05, .temperature = 0.2}),
                        nn::FeatureQueue(11, 5), nn::ClassCenters(7, 4));
  torch::load(step, file("training_run_step.pt"));
  expect_pythons_losses(
      [&](const Tensor& queries, const Tensor& keys, const Tensor& pooled, const Tensor& labels) {
        const Tensor loss = step(queries, keys, pooled, labels);
        loss.backward();
        return loss.item<double>();
      },
      step->centers->parameters());
}

TEST(TrainingRun, OfPt2) {
  using torch::inductor::AOTIModelPackageLoader;
  const std::string path = file("training_run_step.pt2");
  AOTIModelPackageLoader program(path);
  EXPECT_EQ(program.get_metadata().at("inputs"),
            "queries,keys,pooled,labels,centers.weight,centers.bias,queue.features,queue.labels,"
            "queue.state,centers.log_prior");
  EXPECT_EQ(program.get_metadata().at("outputs"),
            "loss,grad queries,grad pooled,grad centers.weight,grad centers.bias,queue.features,"
            "queue.labels,queue.state");
  std::vector<Tensor> state = AOTIModelPackageLoader(path, "initial_state").run({});
  const std::vector<Tensor> centers = {state[0].requires_grad_(), state[1].requires_grad_()};
  expect_pythons_losses(
      [&](const Tensor& queries, const Tensor& keys, const Tensor& pooled, const Tensor& labels) {
        const torch::NoGradGuard no_grad;  // the program has its own gradients
        std::vector<Tensor> inputs = {queries, keys, pooled.contiguous(), labels};
        inputs.insert(inputs.end(), state.begin(), state.end());
        const std::vector<Tensor> outputs = program.run(inputs);
        torch::autograd::backward({queries, pooled}, {outputs[1], outputs[2]});
        state[0].mutable_grad() = outputs[3];
        state[1].mutable_grad() = outputs[4];
        std::copy_n(outputs.begin() + 5, 3, state.begin() + 2);  // the queue
        return outputs[0].item<double>();
      },
      centers);
}

}  // namespace
}  // namespace paco
