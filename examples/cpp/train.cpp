// Trains a small network with PaCo on long-tailed handwritten digits, without Python.
//
//   train DIGITS.csv [--epochs 200] [--out trained.pt] [--record run.pt]
//
// DIGITS.csv has a line for each image: its label and its 8 x 8 pixels of 0 to 16. scikit-learn
// brings 1797 of them; this writes them down:
//
//   python -c "import numpy; from sklearn.datasets import load_digits as d;
//     numpy.savetxt('digits.csv', numpy.c_[d().target, d().data], '%d', ',')"
//
// trained.pt holds the module that is called Model below; Python reads it with torch.jit.load. With
// --record, run.pt keeps the initial state, the first batches and their losses, as a dictionary
// that Python's torch.load reads: tests/cpp/check_training.py repeats them there.

#include <paco/nn.h>
#include <torch/torch.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

using torch::Tensor;
namespace nn = torch::nn;

constexpr int64_t kClasses = 10;
constexpr int64_t kTestImages = 60;  // of each class
constexpr double kMostImages = 110;  // training images of digit 0
constexpr double kImbalance = 50;    // digit 9 has fewer by this factor
constexpr int64_t kBatch = 64;
constexpr int64_t kDim = 32;    // of a contrastive feature
constexpr int64_t kWidth = 64;  // of the pooled features
constexpr int64_t kRecordedSteps = 20;
constexpr double kPi = 3.14159265358979;

struct Data {
  Tensor images;  // [N, 1, 8, 8], about zero mean and unit variance
  Tensor labels;  // int64 [N]
};

// Three small convolutions, and the projector that the contrastive pairs are compared behind.
struct EncoderImpl : nn::Cloneable<EncoderImpl> {
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

// All that a checkpoint holds. The names of its parts are those of the Python modules.
struct ModelImpl : nn::Module {
  ModelImpl()
      : query(register_module("query", Encoder())),
        key(register_module("key", paco::nn::MomentumEncoder<Encoder>(query, 0.99))),
        step(register_module(
            "step",
            paco::nn::TrainingStep(
                paco::nn::PaCoLoss(paco::PaCoLossOptions{.alpha = 0.05, .temperature = 0.1}),
                paco::nn::FeatureQueue(256, kDim), paco::nn::ClassCenters(kWidth, kClasses)))) {}

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

// The images of each class, in the order of the file.
std::map<int64_t, std::vector<Tensor>> read_digits(const std::string& path) {
  std::ifstream file(path);
  std::map<int64_t, std::vector<Tensor>> digits;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::vector<float> numbers;
    for (std::string field; std::getline(fields, field, ',');) {
      numbers.push_back(std::stof(field));
    }
    TORCH_CHECK(numbers.size() == 65 && numbers[0] >= 0 && numbers[0] < kClasses, path,
                ": expected a label and 64 pixels, got the line ", line);
    const Tensor pixels = torch::tensor(numbers).slice(0, 1).view({1, 8, 8});
    digits[static_cast<int64_t>(numbers[0])].push_back((pixels - 4.88) / 6.02);
  }
  TORCH_CHECK(digits.size() == kClasses, "there is no such file, or not every digit in it: ", path);
  return digits;
}

// The first images of each class are for testing; the exponential profile decides how many of the
// rest are for training.
void split(const std::map<int64_t, std::vector<Tensor>>& digits, Data& train, Data& test) {
  std::vector<Tensor> images[2];
  std::vector<int64_t> labels[2];
  for (const auto& [label, all] : digits) {
    const auto count = static_cast<int64_t>(
        kMostImages * std::pow(1 / kImbalance, static_cast<double>(label) / (kClasses - 1)));
    TORCH_CHECK(static_cast<int64_t>(all.size()) >= kTestImages + count, "digit ", label, " has ",
                all.size(), " images; ", kTestImages + count, " are needed");
    for (int64_t i = 0; i < kTestImages + count; ++i) {
      const int part = i < kTestImages ? 0 : 1;
      images[part].push_back(all[i]);
      labels[part].push_back(label);
    }
  }
  test = {torch::stack(images[0]), torch::tensor(labels[0])};
  train = {torch::stack(images[1]), torch::tensor(labels[1])};
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

// Mean per-class accuracy in percent, over all classes and over those with many, a medium number of
// and few training images.
void print_accuracy(const Tensor& logits, const Tensor& labels, const Tensor& counts) {
  const Tensor correct = logits.argmax(1).eq(labels);
  std::map<std::string, std::pair<double, int>> groups;
  for (int64_t c = 0; c < kClasses; ++c) {
    const auto accuracy =
        correct.masked_select(labels.eq(c)).to(torch::kDouble).mean().item<double>();
    const auto count = counts[c].item<int64_t>();
    const char* group = count > 100 ? "many" : count >= 20 ? "medium" : "few";
    for (const char* name : {"all", group}) {
      groups[name].first += accuracy;
      groups[name].second += 1;
    }
  }
  std::cout << "mean per-class accuracy:";
  for (const char* name : {"all", "many", "medium", "few"}) {
    const auto [sum, classes] = groups[name];
    std::cout << "  " << name << ' ' << 100 * sum / classes << " %";
  }
  std::cout << '\n';
}

// Tensors by name, for Python's torch.load.
class Record {
 public:
  void add(const std::string& name, const Tensor& tensor) {
    tensors_.insert(name, tensor.detach().clone());
  }
  void write(const std::string& path) const {
    const std::vector<char> bytes = torch::pickle_save(tensors_);
    std::ofstream(path, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  c10::Dict<std::string, Tensor> tensors_;
};

void train(const std::string& csv, int64_t epochs, const std::string& out,
           const std::string& record_path) {
  torch::manual_seed(0);
  Data training;
  Data test;
  split(read_digits(csv), training, test);
  const Tensor counts = torch::bincount(training.labels, {}, kClasses);
  const int64_t n = training.labels.size(0);

  Model model;
  model->step->centers->set_class_counts(counts);
  std::vector<Tensor> parameters = model->query->parameters();
  for (const Tensor& parameter : model->step->centers->parameters()) {
    parameters.push_back(parameter);
  }
  torch::optim::SGD optimizer(parameters,
                              torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4));

  Record record;
  for (const auto& item : model->named_parameters()) {
    record.add("initial." + item.key(), item.value());
  }
  for (const auto& item : model->named_buffers()) {
    record.add("initial." + item.key(), item.value());
  }

  std::vector<Tensor> losses;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const double progress = static_cast<double>(epoch) / static_cast<double>(epochs);
    optimizer.param_groups()[0].options().set_lr(0.025 * (1 + std::cos(kPi * progress)));
    const Tensor order = torch::randperm(n);
    for (const Tensor& indices : order.split(kBatch)) {
      const Tensor images = training.images.index_select(0, indices);
      const Tensor labels = training.labels.index_select(0, indices);
      const Tensor query_view = random_view(images);
      const Tensor key_view = random_view(images);
      const Tensor loss = model->training_step(query_view, key_view, labels);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();

      const auto step = static_cast<int64_t>(losses.size());
      if (step < kRecordedSteps) {
        const std::string prefix = "step " + std::to_string(step) + ".";
        record.add(prefix + "query_view", query_view);
        record.add(prefix + "key_view", key_view);
        record.add(prefix + "labels", labels);
        record.add(prefix + "lr",
                   torch::tensor(optimizer.param_groups()[0].options().get_lr(), torch::kDouble));
        record.add(prefix + "loss", loss);
      }
      losses.push_back(loss.detach());
    }
    if ((epoch + 1) % 20 == 0 || epoch + 1 == epochs) {
      std::cout << "epoch " << epoch + 1 << "  loss " << losses.back().item<double>() << '\n';
    }
  }

  model->eval();
  const torch::NoGradGuard no_grad;
  const Tensor logits = model->predict(test.images);
  std::cout << n << " training images, " << test.labels.size(0) << " test images\n";
  print_accuracy(logits, test.labels, counts);
  torch::save(model, out);
  if (!record_path.empty()) {
    record.add("test.images", test.images);
    record.add("test.logits", logits);
    record.write(record_path);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options = {
      {"--epochs", "200"}, {"--out", "trained.pt"}, {"--record", ""}};
  bool good = argc >= 2 && argc % 2 == 0;
  for (int i = 2; good && i < argc; i += 2) {
    good = options.count(argv[i]) == 1;
    options[argv[i]] = argv[i + 1];
  }
  if (!good) {
    std::cerr << "usage: train DIGITS.csv [--epochs N] [--out FILE] [--record FILE]\n";
    return 2;
  }
  try {
    train(argv[1], std::stoll(options["--epochs"]), options["--out"], options["--record"]);
  } catch (const c10::Error& error) {
    std::cerr << "train: " << error.what_without_backtrace() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "train: " << error.what() << '\n';
    return 2;
  }
}
