#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "../macros.h"

namespace paco::nn {

/// key <- momentum * key + (1 - momentum) * query, in place (MoCo, eq. 2).
///
/// Pass parameters only, in the same order: the key encoder's BatchNorm statistics are its own.
/// Published code updates before the key encoder's forward pass. Throws c10::ValueError for a
/// momentum outside [0, 1], and for lists of different lengths or shapes; nothing is written then.
PACO_API void momentum_update_(const std::vector<at::Tensor>& key_parameters,
                               const std::vector<at::Tensor>& query_parameters, double momentum);

}  // namespace paco::nn
