#include "model.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/ops/arange.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <mutex>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "archive.h"
#include "explain.h"

namespace paco::classify {
namespace {

constexpr const char* kTexts[] = {
    "channels",      "mean",          "std",         "orientation",       "classes",
    "class_counts",  "resize",        "resize_edge", "resize_keep_ratio", "resize_backend",
    "interpolation", "crop_padding",  "crop",        "input_shape",       "dtype",
    "features",      "config",        "checkpoint",  "checkpoint_sha256", "toolbox",
    "paco_version",  "torch_version", "pillow",      "target_prior"};

/// About the caller's options, where nothing is wrong with the file.
struct OptionError : Error {
  using Error::Error;
};

/// The types of a file's function: images to logits, and features if it has them.
using Function = std::function<std::vector<at::Tensor>(const at::Tensor& images)>;

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

/// All but the function that runs it.
Model describe(const FindText& text) {
  Model model;
  for (const char* name : kTexts) {
    if (std::string value = text(name); !value.empty()) {
      model.texts.emplace(name, std::move(value));
    }
  }
  model.classes = lines(text("classes"));
  model.class_counts = parse_numbers<int64_t>("class_counts", text("class_counts"));
  model.preprocessing = parse_preprocessing(text);
  const std::vector<int64_t> features = parse_numbers<int64_t>("features", text("features"));
  model.feature_size = features.empty() ? 0 : features[0];
  if (!model.class_counts.empty() && model.class_counts.size() != model.classes.size()) {
    throw Error("it has " + std::to_string(model.class_counts.size()) + " class_counts for " +
                std::to_string(model.classes.size()) + " classes");
  }
  return model;
}

/// Stands between a function of a file and its callers, who get what the file promises or an Error.
std::function<Outputs(const at::Tensor&)> checked(const Function& function, const Model& model,
                                                  bool features) {
  const auto classes = static_cast<int64_t>(model.classes.size());
  const int64_t width = model.feature_size;
  return [=](const at::Tensor& images) {
    const std::vector<at::Tensor> outputs = function(images);
    const auto require = [&](size_t i, int64_t columns, const std::string& promise) {
      if (outputs.size() <= i || !outputs[i].is_floating_point() ||
          outputs[i].sizes() != at::IntArrayRef{images.size(0), columns}) {
        throw Error("a batch of " + std::to_string(images.size(0)) + " gives " +
                    (outputs.size() <= i ? "no" : in_words(outputs[i].sizes())) +
                    " numbers, and it names " + std::to_string(columns) + promise);
      }
      return outputs[i].to(at::kCPU, at::kFloat).contiguous();
    };
    Outputs result{require(0, classes, " classes"), {}};
    if (features) {
      result.features = require(1, width, " features");
    }
    return result;
  };
}

/// Two images, which are noise of a kind.
at::Tensor noise(const Model& model) {
  const auto [channels, height, width] = model.preprocessing.input_shape;
  const std::vector<int64_t> shape = {2, channels, height, width};
  return at::arange(c10::multiply_integers(shape), at::kFloat).mul(13).sin().view(shape);
}

/// Outputs of the second of two images alone. Throws Error for NaN.
Outputs try_alone(const Model& model) {
  Outputs alone = model.run(noise(model).slice(0, 1, 2).clone());
  if (alone.logits.isnan().any().item<bool>()) {
    throw Error("its logits are not numbers, but NaN, as after training that diverged");
  }
  return alone;
}

/// The exporter's measure and its limit, which no NaN is below.
bool agree(const at::Tensor& value, const at::Tensor& expected, const std::string& dtype) {
  const double epsilon = dtype == "bfloat16" ? 0x1p-7 : 0x1p-23;
  // A class of probability 0 has -inf in both.
  const at::Tensor differences = (value - expected).masked_fill(value.eq(expected), 0);
  const at::Tensor finite = expected.masked_fill(expected.isneginf(), 0);
  return differences.abs().max().item<double>() <=
         std::sqrt(epsilon) * finite.abs().max().item<double>();
}

/// Whether an image has these outputs beside another, too.
bool agree_together(const Model& model, const Outputs& alone, const std::string& dtype) {
  const Outputs together = model.run(noise(model));
  const auto second = [](const at::Tensor& rows) { return rows.slice(0, 1, 2); };
  return agree(second(together.logits), alone.logits, dtype) &&
         (!alone.features.defined() || agree(second(together.features), alone.features, dtype));
}

/// Throws Error for a model that is none of independent images.
void require_independence(const Model& model, const Outputs& alone, const std::string& dtype) {
  if (!agree_together(model, alone, dtype)) {
    throw Error("it gives an image other logits beside a second image than alone");
  }
}

/// A file of an older libpaco has no features.
void require_features(const std::string& path, const Model& model, const ModelOptions& options) {
  if (options.features && model.feature_size == 0) {
    throw OptionError(path +
                      " has no pooled features, as no file of libpaco 0.2.0 has: export it again");
  }
}

Function function_of(torch::jit::Module module, at::Device device, bool bfloat16) {
  return [module = std::move(module), device, bfloat16](const at::Tensor& images) {
    const at::Tensor input = images.to(device, bfloat16 ? at::kBFloat16 : at::kFloat);
    torch::jit::Module callee = module;  // forward is no const function; this copies a pointer
    const c10::IValue output = callee.forward({input});
    if (output.isTensor()) {
      return std::vector<at::Tensor>{output.toTensor()};
    }
    std::vector<at::Tensor> outputs;
    for (const c10::IValue& element : output.toTupleRef().elements()) {
      outputs.push_back(element.toTensor());
    }
    return outputs;
  };
}

/// The module as PyTorch optimizes it: frozen, the weights are constants, and BatchNorm becomes
/// part of the convolution before it. PyTorch fails at some modules (MobileNetV3's), and the
/// exporter checked the module as it is; that is taken where both do not agree.
Model load_torchscript(const std::string& path, const ModelOptions& options) {
  torch::jit::ExtraFilesMap texts;
  for (const char* name : kTexts) {
    texts[name] = "";
  }
  const at::Device device(options.device);
  torch::jit::Module module = torch::jit::load(path, device, texts);
  module.eval();
  Model model = describe([&](const std::string& name) { return texts.at(name); });
  require_features(path, model, options);
  if (options.features) {  // this module's forward gives both
    module = module.attr("with_features").toModule();
  }
  const std::string exported = texts.at("dtype");
  const std::string dtype = options.dtype.empty() ? exported : options.dtype;
  const bool convert = dtype != exported;
  if (convert && exported != "float32") {
    throw OptionError(path + " computes in " + exported + ", and is to compute in " + dtype +
                      ": export it so");
  }
  if (convert) {
    module.to(at::kBFloat16);
  }
  model.run = checked(function_of(module, device, convert), model, options.features);
  // One run of each module: an image alone as exported, and beside another as optimized.
  const Outputs alone = try_alone(model);
  std::string reason = "its logits would change";
  try {
    Model fast = model;
    fast.run = checked(function_of(torch::jit::optimize_for_inference(module), device, convert),
                       model, options.features);
    if (agree_together(fast, alone, dtype)) {
      return fast;
    }
  } catch (const std::exception& error) {
    reason = explain(error);
  }
  require_independence(model, alone, dtype);
  model.warning =
      "the model runs as it was exported, which is slower; PyTorch cannot optimize it: " + reason;
  return model;
}

/// The texts of a .pt2 file; PyTorch can read them without the code since 2.9.
template <typename Loader>
std::unordered_map<std::string, std::string> texts_of(const std::string& path) {
  if constexpr (requires { Loader::load_metadata_from_package(path, "model"); }) {
    return Loader::load_metadata_from_package(path, "model");
  } else {
    return Loader(path).get_metadata();
  }
}

Model load_aoti(const std::string& path, const ModelOptions& options) {
  using torch::inductor::AOTIModelPackageLoader;
  auto texts = texts_of<AOTIModelPackageLoader>(path);
  const std::string processor = at::get_cpu_capability();  // "AVX512", "AVX2" or "DEFAULT"
  const std::string needed = texts["AOTI_CPU_ISA"];
  if ((needed.find("AVX512") != std::string::npos && processor != "AVX512") ||
      (needed.find("AVX2") != std::string::npos && processor == "DEFAULT")) {
    throw Error("it was compiled for processors with " + needed +
                ", which this one lacks; export it on this machine");
  }
  const at::Device device(options.device);
  const std::string compiled_for = texts["AOTI_DEVICE_KEY"];
  if (!compiled_for.empty() && compiled_for != c10::DeviceTypeName(device.type(), true)) {
    throw OptionError(path + " was compiled for " + compiled_for + ", and is to run on " +
                      options.device);
  }
  Model model = describe([&](const std::string& name) {
    const auto found = texts.find(name);
    return found == texts.end() ? "" : found->second;
  });
  require_features(path, model, options);
  const std::string exported = texts["dtype"];
  if (!options.dtype.empty() && options.dtype != exported) {
    throw OptionError(path + " was compiled to compute in " + exported + ", and is to compute in " +
                      options.dtype + ": export it so");
  }
  const auto package = std::make_shared<AOTIModelPackageLoader>(path, "model", false,
                                                                options.runners, device.index());
  model.run = checked(
      [package, device](const at::Tensor& images) { return package->run({images.to(device)}); },
      model, options.features);
  require_independence(model, try_alone(model), exported);
  return model;
}

void check(const ModelOptions& options) {
  const at::Device device = only_errors([&] { return at::Device(options.device); });
  if (!device.is_cpu() && !(device.is_cuda() && at::hasCUDA())) {
    throw Error("options.device is " + options.device + ", which PyTorch cannot use here");
  }
  if (!options.dtype.empty() && options.dtype != "float32" && options.dtype != "bfloat16") {
    throw Error("options.dtype must be float32 or bfloat16, got " + options.dtype);
  }
}

}  // namespace

Model one_at_a_time(Model model) {
  const auto mutex = std::make_shared<std::mutex>();
  model.run = [mutex, run = std::move(model.run)](const at::Tensor& images) {
    const std::lock_guard lock(*mutex);
    return run(images);
  };
  return model;
}

Model load_model(const std::string& path, const ModelOptions& options) {
  check(options);
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw Error("there is no model file " + path);
  }
  const std::string prefix =
      path + " is no classifier that tools/export.py wrote, or it is damaged: ";
  try {
    check_archive(path);
    const c10::InferenceMode guard;
    Model model =
        path.ends_with(".pt2") ? load_aoti(path, options) : load_torchscript(path, options);
    model.on_cpu = at::Device(options.device).is_cpu();
    return model.on_cpu ? model : one_at_a_time(std::move(model));
  } catch (const OptionError&) {
    throw;
  } catch (const std::exception& exception) {
    const std::string reason = explain(exception);
    if (reason.find("Unknown builtin op: paco::") != std::string::npos) {
      throw Error(prefix + "it holds operators of libpaco, as a training step does");
    }
    throw Error(prefix + reason);
  }
}

}  // namespace paco::classify
