#include "feature_queue.h"

#include "../ops/queue_enqueue.h"

namespace paco::nn {

FeatureQueueImpl::FeatureQueueImpl(int64_t size, int64_t dim, torch::Dtype dtype,
                                   std::optional<int64_t> num_classes) {
  TORCH_CHECK_VALUE(size >= 1, "FeatureQueue: size must be at least 1, got ", size);
  TORCH_CHECK_VALUE(dim >= 1, "FeatureQueue: dim must be at least 1, got ", dim);
  TORCH_CHECK_VALUE(num_classes.value_or(1) >= 1,
                    "FeatureQueue: num_classes must be at least 1, got ", num_classes.value_or(1));
  features = register_buffer("features", torch::zeros({size, dim}, dtype));
  labels = register_buffer("labels", num_classes ? torch::zeros({size, *num_classes}, torch::kBool)
                                                 : torch::full({size}, -1, torch::kInt64));
  state = register_buffer("state", torch::zeros({2}, torch::kInt64));
}

void FeatureQueueImpl::enqueue(const torch::Tensor& keys, const torch::Tensor& key_labels) {
  queue_enqueue_(features, labels, state, keys, key_labels);
}

void FeatureQueueImpl::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  Module::to(device, non_blocking);
  to(dtype, non_blocking);
}

// LibTorch converts every buffer, integers too.
void FeatureQueueImpl::to(torch::Dtype dtype, bool /*non_blocking*/) {
  features.set_data(features.to(dtype));
}

}  // namespace paco::nn
