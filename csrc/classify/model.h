#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "preprocessing.h"

namespace paco::classify {

/// The outputs of a model for a batch of N images.
struct Outputs {
  at::Tensor logits;    ///< float32 [N, C], on the CPU
  at::Tensor features;  ///< float32 [N, F], or undefined
};

/// Where and how to run a model.
struct ModelOptions {
  std::string device;
  std::string dtype;
  int runners;  ///< threads that run it at the same time
  bool features;
};

/// A classifier and what its file says about it.
struct Model {
  /// Images [N, C, H, W], float32 and contiguous. May be called by several threads.
  std::function<Outputs(const at::Tensor& images)> run;
  bool on_cpu = true;  ///< `run` computes on the caller's processor, and waits for no GPU
  std::map<std::string, std::string> texts;
  std::vector<std::string> classes;
  std::vector<int64_t> class_counts;  ///< training images of each class, or empty
  int64_t feature_size;               ///< 0 where the file has no features
  Preprocessing preprocessing;
  std::string warning;  ///< a sentence, mostly empty
};

/// Reads a file of paco.deploy.export_classifier, .pt or .pt2, and tries it out.
/// Throws Error for any other file, and for options that it cannot fulfil.
/// A model for a GPU lets one thread at a time run it.
Model load_model(const std::string& path, const ModelOptions& options);

/// The same model, which one thread at a time runs: more batches would take a GPU's memory and be
/// no faster.
Model one_at_a_time(Model model);

}  // namespace paco::classify
