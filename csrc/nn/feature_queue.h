#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "../macros.h"

namespace paco::nn {

/// Ring buffer of the last `size` keys and their labels (MoCo, CVPR 2020). It starts empty, and
/// rows that were never written do not enter the loss.
class PACO_API FeatureQueueImpl : public torch::nn::Module {
 public:
  /// K = size, D = dim and C = num_classes, each at least 1, or c10::ValueError. num_classes is for
  /// keys that have any number of classes; where absent each has one.
  FeatureQueueImpl(int64_t size, int64_t dim, torch::Dtype dtype = torch::kFloat32,
                   std::optional<int64_t> num_classes = std::nullopt);

  /// Writes keys [B, D] and labels, [B] or bool [B, C], over the oldest rows. See
  /// paco::queue_enqueue_.
  void enqueue(const torch::Tensor& keys, const torch::Tensor& labels);

  /// The number of valid rows, a 0-dim int64 tensor on the queue's device.
  torch::Tensor num_valid() const { return state[1]; }

  /// Converts the keys; labels and state stay as they are.
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Dtype dtype, bool non_blocking = false) override;
  using torch::nn::Module::to;

  torch::Tensor features;  ///< buffer [K, D]
  torch::Tensor labels;  ///< buffer int64 [K], -1 for a row that was never written; or bool [K, C]
  torch::Tensor state;   ///< buffer int64 [2], the row to write next and the number of valid rows
};
TORCH_MODULE(FeatureQueue);

}  // namespace paco::nn
