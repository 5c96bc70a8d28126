#include "model.h"

#include <ATen/Version.h>
#include <ATen/ops/arange.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <sstream>
#include <utility>

#include "archive.h"
#include "failure.h"

namespace paco::classify {
namespace {

constexpr const char* kTexts[] = {"channels",    "mean",           "std",           "classes",
                                  "resize",      "resize_backend", "interpolation", "crop",
                                  "input_shape", "dtype"};

std::string in_words(at::IntArrayRef shape) {
  std::ostringstream words;
  words << shape;
  return words.str();
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    result.push_back(line);
  }
  return result;
}

/// A model that stands between a function of a file and its callers: compiled code reads memory as
/// it lies, and tells neither of another shape nor of another dtype.
Model describe(const Model::Function& function, const FindText& text) {
  Model model{{}, lines(text("classes")), parse_preprocessing(text)};
  const auto [height, width] = model.preprocessing.input_size;
  const std::vector<int64_t> shape = {model.preprocessing.mean.size(0), height, width};
  const auto classes = static_cast<int64_t>(model.classes.size());
  model.logits = [=](const at::Tensor& images) {
    if (images.dim() != 4 || images.sizes().slice(1) != at::IntArrayRef(shape) ||
        images.scalar_type() != at::kFloat) {
      throw Failure("it takes float32 images " + in_words(shape) + ", got " +
                    in_words(images.sizes()) + " of " + at::toString(images.scalar_type()));
    }
    at::Tensor logits = function(images.contiguous());
    if (logits.sizes() != at::IntArrayRef{images.size(0), classes} || !logits.is_floating_point()) {
      throw Failure(std::to_string(images.size(0)) + " images give " + in_words(logits.sizes()) +
                    " numbers, and it names " + std::to_string(classes) + " classes");
    }
    return logits.to(at::kFloat);
  };
  return model;
}

/// Logits of two images together and of one of them alone. The images are noise of a kind.
std::array<at::Tensor, 2> try_out(const Model& model) {
  const auto [height, width] = model.preprocessing.input_size;
  const std::vector<int64_t> shape = {2, model.preprocessing.mean.size(0), height, width};
  const at::Tensor images = at::arange(c10::multiply_integers(shape), at::kFloat).mul(13).sin();
  const at::Tensor batch = images.view(shape);
  return {model.logits(batch), model.logits(batch.slice(0, 0, 1))};
}

/// The exporter's measure and its limit, which no NaN is below.
bool agree(const at::Tensor& logits, const at::Tensor& expected, const FindText& text) {
  const double epsilon = text("dtype") == "bfloat16" ? 0x1p-7 : 0x1p-23;
  const auto difference = (logits - expected).abs().max().item<double>();
  return difference <= std::sqrt(epsilon) * expected.abs().max().item<double>();
}

/// Throws Failure for a model that is none of independent images, whatever its batch.
void require_logits(const std::array<at::Tensor, 2>& logits, const FindText& text) {
  const auto& [together, alone] = logits;
  if (together.isnan().any().item<bool>()) {
    throw Failure("its logits are not numbers, but NaN, as after training that diverged");
  }
  if (!agree(together.slice(0, 0, 1), alone, text)) {
    throw Failure("it gives an image other logits beside a second image than alone");
  }
}

Model::Function function_of(torch::jit::Module module) {
  return [module = std::move(module)](const at::Tensor& images) mutable {
    return module.forward({images}).toTensor();
  };
}

/// The module as PyTorch optimizes it: frozen, the weights are constants, and BatchNorm becomes
/// part of the convolution before it. PyTorch fails at some modules (MobileNetV3's), and the
/// exporter checked the module as it is; that is taken where both do not agree.
Model load_torchscript(const std::string& path) {
  torch::jit::ExtraFilesMap texts;
  for (const char* name : kTexts) {
    texts[name] = "";
  }
  torch::jit::Module module = torch::jit::load(path, at::kCPU, texts);
  module.eval();
  const FindText text = [&](const std::string& name) { return texts.at(name); };
  Model model = describe(function_of(module), text);
  const auto expected = try_out(model);
  require_logits(expected, text);
  std::string reason = "its logits would change";
  try {
    Model fast = describe(function_of(torch::jit::optimize_for_inference(module)), text);
    const auto logits = try_out(fast);
    if (agree(logits[0], expected[0], text) && agree(logits[1], expected[1], text)) {
      return fast;
    }
  } catch (const std::exception& error) {
    reason = explain(error);
  }
  report("runs the model as it was exported, which is slower; PyTorch cannot optimize it: " +
         reason);
  return model;
}

Model load_aoti(const std::string& path) {
  using torch::inductor::AOTIModelPackageLoader;
  auto texts = AOTIModelPackageLoader::load_metadata_from_package(path, "model");
  const std::string processor = at::get_cpu_capability();  // "AVX512", "AVX2" or "DEFAULT"
  const std::string needed = texts["AOTI_CPU_ISA"];
  if ((needed.find("AVX512") != std::string::npos && processor != "AVX512") ||
      (needed.find("AVX2") != std::string::npos && processor == "DEFAULT")) {
    throw Failure("it was compiled for processors with " + needed +
                  ", which this one lacks; export it on this machine");
  }
  const auto package = std::make_shared<AOTIModelPackageLoader>(path);
  const FindText text = [&](const std::string& name) {
    const auto found = texts.find(name);
    return found == texts.end() ? "" : found->second;
  };
  Model model =
      describe([package](const at::Tensor& images) { return package->run({images}).at(0); }, text);
  require_logits(try_out(model), text);
  return model;
}

}  // namespace

Model load_model(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw Failure("there is no model file " + path);
  }
  const std::string prefix =
      path + " is no classifier that tools/export.py wrote, or it is damaged: ";
  try {
    check_archive(path);
    return path.ends_with(".pt2") ? load_aoti(path) : load_torchscript(path);
  } catch (const std::exception& exception) {
    const std::string reason = explain(exception);
    if (reason.find("Unknown builtin op: paco::") != std::string::npos) {
      throw Failure(prefix + "it holds operators of libpaco, as a training step does");
    }
    throw Failure(prefix + reason);
  }
}

}  // namespace paco::classify
