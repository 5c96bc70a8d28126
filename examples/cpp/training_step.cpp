// Trains in C++ with a scripted training step: loss, queue and class centers in one file.
//
//   training_step STEP.pt
//
// Python writes STEP.pt, with sizes of your choice:
//
//   from paco import deploy, nn
//   step = nn.TrainingStep(nn.PaCoLoss(alpha=0.05, temperature=0.2),
//                          nn.FeatureQueue(256, 32), nn.ClassCenters(64, 10))
//   deploy.export_training_step(step, "STEP.pt")
//
// The encoders are yours. Here they are one small network each, and the data are noisy points
// around one random point a class, so that the loss has something to learn.

#include <paco/paco.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <exception>
#include <iostream>
#include <vector>

namespace {

constexpr int64_t kBatch = 64;
constexpr int64_t kInputs = 16;
constexpr int kSteps = 50;
constexpr double kMomentum = 0.99;

// Input to pooled features, and pooled features to the space of the pairs.
struct EncoderImpl : torch::nn::Module {
  EncoderImpl(int64_t pooled, int64_t dim)
      : backbone(register_module("backbone", torch::nn::Linear(kInputs, pooled))),
        projector(register_module("projector", torch::nn::Linear(pooled, dim))) {}

  torch::nn::Linear backbone;
  torch::nn::Linear projector;
};
TORCH_MODULE(Encoder);

int run(const char* path) {
  torch::manual_seed(0);
  torch::jit::Module step = torch::jit::load(path);
  const torch::Tensor centers = step.attr("centers").toModule().attr("weight").toTensor();
  const torch::Tensor queue_state =
      step.attr("queue").toModule().attr("state").toTensor();  // write pointer, valid rows
  const int64_t dim = step.attr("queue").toModule().attr("features").toTensor().size(1);
  const int64_t num_classes = centers.size(0);

  Encoder query(centers.size(1), dim);
  Encoder key(centers.size(1), dim);
  const std::vector<torch::Tensor> query_parameters = query->parameters();
  const std::vector<torch::Tensor> key_parameters = key->parameters();
  {
    torch::NoGradGuard no_grad;
    torch::_foreach_copy_(key_parameters, query_parameters);
  }
  // The class centers are trained with the encoder.
  std::vector<torch::Tensor> parameters = query_parameters;
  for (const torch::Tensor& parameter : step.parameters()) {
    parameters.push_back(parameter);
  }
  torch::optim::SGD optimizer(parameters, torch::optim::SGDOptions(0.1).momentum(0.9));

  const torch::Tensor class_points = torch::randn({num_classes, kInputs});
  double first = 0;
  double last = 0;
  for (int i = 0; i < kSteps; ++i) {
    const torch::Tensor labels = torch::randint(num_classes, {kBatch});
    const torch::Tensor inputs = class_points.index_select(0, labels);
    const auto view = [&] { return inputs + 0.3 * torch::randn_like(inputs); };

    torch::Tensor keys;
    {
      torch::NoGradGuard no_grad;
      torch::_foreach_lerp_(key_parameters, query_parameters, 1 - kMomentum);
      keys = key->projector(torch::relu(key->backbone(view())));
    }
    const torch::Tensor pooled = torch::relu(query->backbone(view()));
    // The loss of this batch; afterwards its keys are in the queue.
    const torch::Tensor loss =
        step.forward({query->projector(pooled), keys, pooled, labels}).toTensor();
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();

    last = loss.item<double>();
    first = i == 0 ? last : first;
    if (i % 10 == 0) {
      std::cout << "step " << i << "  loss " << last << "  keys in the queue "
                << queue_state[1].item<int64_t>() << '\n';
    }
  }
  std::cout << "libpaco " << paco::build_info().version << ": the loss went from " << first
            << " to " << last << '\n';
  return last < first ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: training_step STEP.pt\n";
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const c10::Error& error) {
    std::cerr << "training_step: " << error.what_without_backtrace() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "training_step: " << error.what() << '\n';
    return 2;
  }
}
