// Serves an exported classifier from C++ and holds it against Python.
//
//   classify CLASSIFIER.pt IMAGES.pt
//
// CLASSIFIER.pt is what paco.deploy.export_classifier wrote. IMAGES.pt is a TorchScript module with
// the attributes images [N, C, H, W] (preprocessed), labels int64 [N] and logits [N, classes]: what
// Python computed for these images. `make demo` writes both.

#include <torch/script.h>

#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr int64_t kBatch = 64;
constexpr double kTolerance = 1e-4;  // of the largest logit

/// Images as a classifier takes them: float32, contiguous, of the shape that its file names, such
/// as "3,224,224". A module may give logits of others too, and they mean nothing.
torch::Tensor input_of(const torch::Tensor& images, const std::string& input_shape) {
  std::vector<int64_t> shape = {images.size(0)};
  std::istringstream numbers(input_shape);
  for (std::string number; std::getline(numbers, number, ',');) {
    shape.push_back(std::stoll(number));
  }
  TORCH_CHECK_VALUE(images.sizes() == shape, "the classifier takes images [N, ", input_shape,
                    "], got ", images.sizes());
  return images.to(torch::kFloat).contiguous();
}

int run(const char* classifier_path, const char* images_path) {
  torch::InferenceMode guard;
  torch::jit::ExtraFilesMap texts = {{"input_shape", ""}};
  torch::jit::Module classifier = torch::jit::load(classifier_path, torch::kCPU, texts);
  classifier.eval();
  const torch::jit::Module data = torch::jit::load(images_path);
  const torch::Tensor images = input_of(data.attr("images").toTensor(), texts.at("input_shape"));
  const torch::Tensor labels = data.attr("labels").toTensor();
  const torch::Tensor python_logits = data.attr("logits").toTensor();

  std::vector<torch::Tensor> batches;
  for (const torch::Tensor& batch : images.split(kBatch)) {
    batches.push_back(classifier.forward({batch}).toTensor());
  }
  const torch::Tensor logits = torch::cat(batches);

  const double correct = logits.argmax(1).eq(labels).sum().item<double>();
  const double difference = (logits - python_logits).abs().max().item<double>();
  const double scale = python_logits.abs().max().item<double>();
  // Written so that NaN disagrees.
  const bool agree = difference <= kTolerance * scale;
  std::cout << "C++ classified " << labels.size(0) << " images, top-1 "
            << 100 * correct / labels.size(0) << " %\n"
            << "largest difference from Python's logits: " << difference << " (largest logit "
            << scale << ")\n"
            << (agree ? "C++ and Python agree\n" : "C++ and Python DISAGREE\n");
  return agree ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: classify CLASSIFIER.pt IMAGES.pt\n";
    return 2;
  }
  try {
    return run(argv[1], argv[2]);
  } catch (const c10::Error& error) {
    std::cerr << "classify: " << error.what_without_backtrace() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "classify: " << error.what() << '\n';
    return 2;
  }
}
