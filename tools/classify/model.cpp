#include "model.h"

#include <ATen/Version.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <filesystem>
#include <memory>
#include <sstream>

#include "failure.h"

namespace paco::classify {
namespace {

constexpr const char* kTexts[] = {"channels",      "mean", "std",    "classes",    "resize_backend",
                                  "interpolation", "crop", "resize", "input_shape"};

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    result.push_back(line);
  }
  return result;
}

Model describe(Model::Function logits, const FindText& text) {
  return {std::move(logits), lines(text("classes")), parse_preprocessing(text)};
}

Model load_torchscript(const std::string& path) {
  torch::jit::ExtraFilesMap texts;
  for (const char* name : kTexts) {
    texts[name] = "";
  }
  // Frozen, the weights are constants, and BatchNorm becomes part of the convolution before it.
  torch::jit::Module module = torch::jit::load(path, at::kCPU, texts);
  module.eval();
  module = torch::jit::optimize_for_inference(module);
  const auto logits = [module](const at::Tensor& images) mutable {
    return module.forward({images}).toTensor();
  };
  return describe(logits, [&](const std::string& name) { return texts.at(name); });
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
  const auto logits = [package](const at::Tensor& images) { return package->run({images}).at(0); };
  return describe(logits, [&](const std::string& name) {
    const auto text = texts.find(name);
    return text == texts.end() ? "" : text->second;
  });
}

/// Throws Failure where the model does not give a logit for each of its classes.
void try_out(const Model& model) {
  const auto [height, width] = model.preprocessing.input_size;
  const int64_t channels = model.preprocessing.mean.size(0);
  const at::Tensor logits = model.logits(at::zeros({2, channels, height, width}));
  const auto classes = static_cast<int64_t>(model.classes.size());
  if (logits.sizes() != at::IntArrayRef{2, classes} || !logits.is_floating_point()) {
    std::ostringstream shape;
    shape << logits.sizes();
    throw Failure("two images give " + shape.str() + " numbers, and it names " +
                  std::to_string(classes) + " classes");
  }
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
    Model model = path.ends_with(".pt2") ? load_aoti(path) : load_torchscript(path);
    try_out(model);
    return model;
  } catch (const std::exception& exception) {
    const std::string reason = explain(exception);
    if (reason.find("Unknown builtin op: paco::") != std::string::npos) {
      throw Failure(prefix + "it holds operators of libpaco, as a training step does");
    }
    throw Failure(prefix + reason);
  }
}

}  // namespace paco::classify
