#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "image.h"

namespace paco::classify {

/// A classifier and what its file says about it.
struct Model {
  using Function = std::function<at::Tensor(const at::Tensor&)>;

  Function logits;  ///< images [N, C, H, W] to float32 [N, classes]
  std::vector<std::string> classes;
  Preprocessing preprocessing;
};

/// Reads a file of paco.deploy.export_classifier, .pt or .pt2, and tries it out.
/// Throws Failure for any other file.
Model load_model(const std::string& path);

}  // namespace paco::classify
