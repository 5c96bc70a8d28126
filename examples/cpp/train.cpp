// Trains a small network with PaCo on gray images in folders, without Python.
//
//   train IMAGES OUT.pt [--epochs 200] [--until EPOCH]
//
// IMAGES has the folders train/<class> and test/<class>, of images of one size; docs/deploy.md
// makes such folders of scikit-learn's handwritten digits. OUT.pt gets the module that is called
// Model below; Python reads it with torch.jit.load. Beside it lies OUT.pt.checkpoint, written every
// epoch, from which the same command goes on, to the same bits, where it was ended; --until ends
// it.

#include <paco/classify.h>
#include <paco/nn.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

using torch::Tensor;
namespace nn = torch::nn;

constexpr int64_t kBatch = 64;
constexpr int64_t kDim = 32;    // of a contrastive feature
constexpr int64_t kWidth = 64;  // of the pooled features
constexpr double kPi = 3.14159265358979;

// Three small convolutions, and the projector that the contrastive pairs are compared behind.
struct EncoderImpl final : nn::Cloneable<EncoderImpl> {
  EncoderImpl() { reset(); }

  void reset() override {
    backbone = register_module("backbone", nn::Sequential());
    int64_t channels = 1;
    for (const auto& [width, stride] : {std::pair<int64_t, int64_t>{32, 1}, {64, 2}, {kWidth, 1}}) {
      backbone->push_back(
          nn::Conv2d(nn::Conv2dOptions(channels, width, 3).stride(stride).padding(1).bias(false)));
      backbone->push_back(nn::BatchNorm2d(width));
      backbone->push_back(nn::ReLU());
      channels = width;
    }
    backbone->push_back(nn::AdaptiveAvgPool2d(1));
    backbone->push_back(nn::Flatten());
    projector = register_module(
        "projector", nn::Sequential(nn::Linear(kWidth, kWidth), nn::BatchNorm1d(kWidth), nn::ReLU(),
                                    nn::Linear(kWidth, kDim)));
  }

  Tensor forward(const Tensor& images) { return projector->forward(backbone->forward(images)); }

  nn::Sequential backbone{nullptr};
  nn::Sequential projector{nullptr};
};
TORCH_MODULE(Encoder);

// The names of its parts are those of the Python modules.
struct ModelImpl : nn::Module {
  explicit ModelImpl(int64_t classes)
      : query(register_module("query", Encoder())),
        key(register_module("key", paco::nn::MomentumEncoder<Encoder>(query, 0.99))),
        step(register_module(
            "step",
            paco::nn::TrainingStep(
                paco::nn::PaCoLoss(paco::PaCoLossOptions{.alpha = 0.05, .temperature = 0.1}),
                paco::nn::FeatureQueue(256, kDim), paco::nn::ClassCenters(kWidth, classes)))) {}

  // The loss of two views of a batch; afterwards the keys are in the queue.
  Tensor training_step(const Tensor& query_view, const Tensor& key_view, const Tensor& labels) {
    key->update(query);
    const Tensor pooled = query->backbone->forward(query_view);
    return step(query->projector->forward(pooled), key(key_view), pooled, labels);
  }

  Tensor predict(const Tensor& images) { return step->predict(query->backbone->forward(images)); }

  Encoder query;
  paco::nn::MomentumEncoder<Encoder> key;
  paco::nn::TrainingStep step;
};
TORCH_MODULE(Model);

struct Data {
  Tensor images;  // [N, 1, H, W], 0 to 1
  Tensor labels;  // int64 [N]
  std::vector<std::string> classes;
};

Data read(const std::string& folder) {
  const paco::LabelledImages files = paco::labelled_images(folder);
  std::vector<Tensor> images;
  for (const std::string& path : files.paths) {
    paco::DecodedImage image = paco::decode_image(path, paco::Channels::kGray);
    images.push_back(
        torch::from_blob(image.pixels.data(), {1, image.height, image.width}, at::kByte)
            .to(at::kFloat)
            .div(255));
  }
  return {torch::stack(images), torch::tensor(files.labels), files.classes};
}

// Each image turned, scaled and moved a little.
Tensor random_view(const Tensor& images) {
  const int64_t n = images.size(0);
  const auto uniform = [n](double radius) { return (torch::rand(n) * 2 - 1) * radius; };
  const Tensor angle = uniform(kPi / 12);
  const Tensor scale = 1 + uniform(0.15);
  const Tensor c = angle.cos() * scale;
  const Tensor s = angle.sin() * scale;
  const Tensor affine = torch::stack(
      {torch::stack({c, -s, uniform(0.2)}, 1), torch::stack({s, c, uniform(0.2)}, 1)}, 1);
  const Tensor grid = nn::functional::affine_grid(affine, images.sizes(), false);
  return nn::functional::grid_sample(
      images, grid,
      nn::functional::GridSampleFuncOptions().padding_mode(torch::kBorder).align_corners(false));
}

std::vector<int64_t> counted(const Tensor& labels, size_t classes) {
  const Tensor counts = torch::bincount(labels, {}, static_cast<int64_t>(classes));
  return {counts.const_data_ptr<int64_t>(), counts.const_data_ptr<int64_t>() + counts.numel()};
}

void print_accuracy(const Tensor& logits, const Data& test, const std::vector<int64_t>& counts) {
  const Tensor right = test.labels.masked_select(logits.argmax(1).eq(test.labels));
  const paco::GroupAccuracy accuracy = paco::group_accuracy(counted(test.labels, counts.size()),
                                                            counted(right, counts.size()), counts);
  std::cout << "mean per-class accuracy:";
  for (const auto& [name, share] : {std::pair{"all", accuracy.all},
                                    {"many", accuracy.many},
                                    {"medium", accuracy.medium},
                                    {"few", accuracy.few}}) {
    if (share) {
      std::cout << "  " << name << ' ' << 100 * *share << " %";
    }
  }
  std::cout << '\n';
}

// All that a run goes on from: model, momentum, epoch and the state of the random numbers.
struct Checkpoint {
  Model& model;
  torch::optim::SGD& optimizer;
  std::string path;

  void save(int64_t epoch) const {
    torch::serialize::OutputArchive archive;
    torch::serialize::OutputArchive modules;
    model->save(modules);
    archive.write("model", modules);
    // optimizer.save() would name these by addresses, which no two runs share.
    int64_t i = 0;
    for (const Tensor& parameter : optimizer.param_groups()[0].params()) {
      const auto& state = *optimizer.state().at(parameter.unsafeGetTensorImpl());
      archive.write(momentum_name(i++),
                    static_cast<const torch::optim::SGDParamState&>(state).momentum_buffer());
    }
    archive.write("epoch", torch::tensor(epoch));
    archive.write("random", at::detail::getDefaultCPUGenerator().get_state());
    archive.save_to(path + ".unfinished");
    std::filesystem::rename(path + ".unfinished", path);
  }

  // The number of epochs that are done.
  int64_t load() const {
    if (!std::filesystem::exists(path)) {
      return 0;
    }
    torch::serialize::InputArchive archive;
    torch::serialize::InputArchive modules;
    archive.load_from(path);
    archive.read("model", modules);
    model->load(modules);
    int64_t i = 0;
    for (const Tensor& parameter : optimizer.param_groups()[0].params()) {
      Tensor momentum;
      archive.read(momentum_name(i++), momentum);
      auto state = std::make_unique<torch::optim::SGDParamState>();
      state->momentum_buffer(momentum);
      optimizer.state()[parameter.unsafeGetTensorImpl()] = std::move(state);
    }
    Tensor epoch;
    Tensor random;
    archive.read("epoch", epoch);
    archive.read("random", random);
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    generator.set_state(random);
    return epoch.item<int64_t>();
  }

  static std::string momentum_name(int64_t parameter) {
    return "momentum_" + std::to_string(parameter);
  }
};

void train(const std::string& folder, const std::string& out, int64_t epochs, int64_t until) {
  torch::manual_seed(0);
  const Data training = read(folder + "/train");
  const Data test = read(folder + "/test");
  TORCH_CHECK(training.classes == test.classes, "train and test have other folders in ", folder);
  const std::vector<int64_t> counts = counted(training.labels, training.classes.size());
  const Tensor mean = training.images.mean();
  const Tensor std = training.images.std();

  Model model(training.classes.size());
  model->step->centers->set_class_counts(torch::tensor(counts));
  std::vector<Tensor> parameters = model->query->parameters();
  for (const Tensor& parameter : model->step->centers->parameters()) {
    parameters.push_back(parameter);
  }
  torch::optim::SGD optimizer(parameters,
                              torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4));
  const Checkpoint checkpoint{model, optimizer, out + ".checkpoint"};

  for (int64_t epoch = checkpoint.load(); epoch < std::min(until, epochs); ++epoch) {
    const double progress = static_cast<double>(epoch) / static_cast<double>(epochs);
    optimizer.param_groups()[0].options().set_lr(0.025 * (1 + std::cos(kPi * progress)));
    Tensor loss;
    for (const Tensor& indices : torch::randperm(training.labels.size(0)).split(kBatch)) {
      const Tensor images = (training.images.index_select(0, indices) - mean) / std;
      const Tensor query_view = random_view(images);
      loss = model->training_step(query_view, random_view(images),
                                  training.labels.index_select(0, indices));
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
    }
    checkpoint.save(epoch + 1);
    if ((epoch + 1) % 20 == 0 || epoch + 1 == epochs) {
      std::cout << "epoch " << epoch + 1 << "  loss " << loss.item<double>() << '\n';
    }
  }

  model->eval();
  const torch::NoGradGuard no_grad;
  std::cout << training.labels.size(0) << " training images, " << test.labels.size(0)
            << " test images\n";
  print_accuracy(model->predict((test.images - mean) / std), test, counts);
  torch::save(model, out);
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options = {{"--epochs", "200"}, {"--until", "1000000"}};
  bool good = argc >= 3 && argc % 2 == 1;
  for (int i = 3; good && i < argc; i += 2) {
    good = options.count(argv[i]) == 1;
    options[argv[i]] = argv[i + 1];
  }
  if (!good) {
    std::cerr << "usage: train IMAGES OUT.pt [--epochs N] [--until EPOCH]\n";
    return 2;
  }
  try {
    train(argv[1], argv[2], std::stoll(options["--epochs"]), std::stoll(options["--until"]));
  } catch (const c10::Error& error) {
    std::cerr << "train: " << error.what_without_backtrace() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "train: " << error.what() << '\n';
    return 2;
  }
}
