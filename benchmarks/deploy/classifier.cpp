// Runs an exported classifier as often as benchmarks/deploy.py asks for.
//
//   classifier MODEL C H W
//
// Prints how many seconds the model took to load. Then, for each number of images N read from the
// standard input, runs a batch of N and prints the seconds that took and the logits of its last
// image. OMP_NUM_THREADS sets the threads.

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>

namespace {

using Clock = std::chrono::steady_clock;
using Model = std::function<torch::Tensor(const torch::Tensor&)>;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Model load(const std::string& path) {
  if (path.ends_with(".pt2")) {
    const auto package = std::make_shared<torch::inductor::AOTIModelPackageLoader>(path);
    return [package](const torch::Tensor& images) { return package->run({images}).at(0); };
  }
  torch::jit::Module module = torch::jit::load(path, torch::kCPU);
  module.eval();
  module = torch::jit::optimize_for_inference(module);
  return
      [module](const torch::Tensor& images) mutable { return module.forward({images}).toTensor(); };
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: classifier MODEL C H W\n";
    return 2;
  }
  const torch::InferenceMode guard;
  const Clock::time_point start = Clock::now();
  const Model model = load(argv[1]);
  std::cout << seconds_since(start) << std::endl;

  std::map<int64_t, torch::Tensor> batches;
  for (int64_t n = 0; std::cin >> n;) {
    torch::Tensor& images = batches[n];
    if (!images.defined()) {
      const std::vector<int64_t> shape = {n, std::stoll(argv[2]), std::stoll(argv[3]),
                                          std::stoll(argv[4])};
      images = torch::linspace(-1, 1, c10::multiply_integers(shape)).view(shape);
    }
    const Clock::time_point call = Clock::now();
    const torch::Tensor logits = model(images);
    const double seconds = seconds_since(call);
    std::cout << seconds;
    const torch::Tensor last = logits[n - 1].contiguous();
    for (int64_t c = 0; c < last.numel(); ++c) {
      std::cout << ' ' << last.const_data_ptr<float>()[c];
    }
    std::cout << std::endl;
  }
}
