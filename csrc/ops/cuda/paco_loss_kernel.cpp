#include "../aten/paco_loss_kernel.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "../paco_loss_checks.h"
#include "../paco_loss_dispatch.h"
#include "paco_loss_launch.h"

namespace paco::cuda {
namespace {

// The type that the kernels compute with; none for what they leave to the ATen form.
std::optional<FeatureType> feature_type(const at::Tensor& features) {
  switch (features.scalar_type()) {
    case at::kFloat:
      return at::globalContext().float32Precision(
                 at::Float32Backend::CUDA, at::Float32Op::MATMUL) == at::Float32Precision::TF32
                 ? FeatureType::kTf32
                 : FeatureType::kFloat32;
    case at::kHalf:
      return FeatureType::kFloat16;
    case at::kBFloat16:
      return FeatureType::kBFloat16;
    default:
      return std::nullopt;
  }
}

// Asks with the device of `features` current.
std::optional<FeatureType> supported_type(const at::Tensor& features) {
  const auto type = feature_type(features);
  bool supported = false;
  if (type) C10_CUDA_CHECK(paco_loss_supported(*type, features.size(1), supported));
  return supported ? type : std::nullopt;
}

std::optional<at::Tensor> contiguous(const std::optional<at::Tensor>& tensor) {
  return tensor ? std::optional(tensor->contiguous()) : std::nullopt;
}

template <typename T>
const T* pointer(const std::optional<at::Tensor>& tensor) {
  return tensor ? static_cast<const T*>(tensor->const_data_ptr()) : nullptr;
}

// Arguments as the kernels take them: dense, weights in float32. Owns what it had to copy.
struct DenseArguments {
  at::Tensor features;
  at::Tensor labels;
  std::optional<at::Tensor> center_logits;
  std::optional<at::Tensor> queue;
  std::optional<at::Tensor> queue_labels;
  std::optional<at::Tensor> queue_size;
  std::optional<at::Tensor> anchor_weight;

  PaCoLossInput input(FeatureType type, int64_t num_anchors, double alpha, double beta,
                      double gamma, double temperature, double base_temperature,
                      double label_smoothing) const {
    return {
        .feature_type = type,
        .float_logits = !center_logits || center_logits->scalar_type() == at::kFloat,
        .features = features.const_data_ptr(),
        .labels = labels.const_data_ptr<int64_t>(),
        .center_logits = pointer<void>(center_logits),
        .queue = pointer<void>(queue),
        .queue_labels = pointer<int64_t>(queue_labels),
        .queue_size = pointer<int64_t>(queue_size),
        .anchor_weight = pointer<float>(anchor_weight),
        .num_rows = features.size(0),
        .num_anchors = num_anchors,
        .queue_rows = queue ? queue->size(0) : 0,
        .num_classes = center_logits ? center_logits->size(1) : 0,
        .dim = features.size(1),
        .alpha = alpha,
        .beta = beta,
        .gamma = gamma,
        .temperature = temperature,
        .base_temperature = base_temperature,
        .label_smoothing = label_smoothing,
    };
  }
};

std::optional<at::Tensor> dense_weight(const std::optional<at::Tensor>& anchor_weight) {
  return anchor_weight ? std::optional(anchor_weight->to(at::kFloat).contiguous()) : std::nullopt;
}

PaCoLossState paco_loss_forward(const at::Tensor& features, const at::Tensor& labels,
                                const std::optional<at::Tensor>& center_logits,
                                const std::optional<at::Tensor>& queue,
                                const std::optional<at::Tensor>& queue_labels, int64_t num_anchors,
                                const std::optional<at::Tensor>& queue_size, double alpha,
                                double beta, double gamma, double temperature,
                                double base_temperature, double label_smoothing,
                                const std::optional<at::Tensor>& anchor_weight,
                                bool features_grad) {
  check_paco_loss({features, labels, center_logits, queue, queue_labels, num_anchors, queue_size,
                   alpha, beta, gamma, temperature, base_temperature, label_smoothing,
                   anchor_weight});
  const c10::cuda::CUDAGuard guard(features.device());
  const auto type = supported_type(features);
  if (!type) {
    return aten::paco_loss_forward(features, labels, center_logits, queue, queue_labels,
                                   num_anchors, queue_size, alpha, beta, gamma, temperature,
                                   base_temperature, label_smoothing, anchor_weight, features_grad);
  }
  const DenseArguments arguments{features.contiguous(),      labels.contiguous(),
                                 contiguous(center_logits),  contiguous(queue),
                                 contiguous(queue_labels),   contiguous(queue_size),
                                 dense_weight(anchor_weight)};
  const auto input = arguments.input(*type, num_anchors, alpha, beta, gamma, temperature,
                                     base_temperature, label_smoothing);
  PaCoLossPlan plan{};
  C10_CUDA_CHECK(plan_paco_loss_forward(input, features_grad, plan));

  const auto options = features.options().dtype(at::kFloat);
  const auto workspace = at::empty({plan.workspace_bytes}, options.dtype(at::kByte));
  PaCoLossState state{at::empty({}, options), at::empty({num_anchors}, options),
                      at::empty({num_anchors}, options),
                      features_grad ? at::empty({num_anchors, features.size(1)}, options)
                                    : at::empty({0}, options)};
  auto& [loss, log_partition, pair_weight, anchor_grad] = state;
  C10_CUDA_CHECK(launch_paco_loss_forward(
      input, plan, workspace.mutable_data_ptr(),
      {
          .loss = loss.mutable_data_ptr<float>(),
          .log_partition = log_partition.mutable_data_ptr<float>(),
          .pair_weight = pair_weight.mutable_data_ptr<float>(),
          .anchor_grad = features_grad ? anchor_grad.mutable_data_ptr<float>() : nullptr,
      },
      c10::cuda::getCurrentCUDAStream()));
  return state;
}

std::tuple<at::Tensor, at::Tensor> paco_loss_backward(
    const at::Tensor& grad_loss, const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& anchor_weight,
    const at::Tensor& log_partition, const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
    double alpha, double beta, double gamma, double temperature, double base_temperature,
    double label_smoothing, bool features_grad, bool center_logits_grad) {
  const c10::cuda::CUDAGuard guard(features.device());
  const auto type = supported_type(features);
  if (!type) {
    return aten::paco_loss_backward(grad_loss, features, labels, center_logits, anchor_weight,
                                    log_partition, pair_weight, anchor_grad, alpha, beta, gamma,
                                    temperature, base_temperature, label_smoothing, features_grad,
                                    center_logits_grad);
  }
  check_paco_loss_backward(features, labels, center_logits, anchor_weight, log_partition,
                           pair_weight, anchor_grad, features_grad, center_logits_grad);
  const DenseArguments arguments{
      features.contiguous(), labels.contiguous(), contiguous(center_logits),  std::nullopt,
      std::nullopt,          std::nullopt,        dense_weight(anchor_weight)};
  const auto input = arguments.input(*type, log_partition.size(0), alpha, beta, gamma, temperature,
                                     base_temperature, label_smoothing);
  const auto dense_grad_loss = grad_loss.to(at::kFloat).contiguous();
  const auto dense_log_partition = log_partition.contiguous();
  const auto dense_pair_weight = pair_weight.contiguous();
  const auto dense_anchor_grad = anchor_grad.contiguous();

  auto grad_features = features_grad
                           ? at::empty(arguments.features.sizes(), arguments.features.options())
                           : at::empty({0}, features.options());
  auto grad_center_logits = center_logits_grad ? at::empty(arguments.center_logits->sizes(),
                                                           arguments.center_logits->options())
                                               : at::empty({0}, features.options());
  C10_CUDA_CHECK(launch_paco_loss_backward(
      input,
      {
          .grad_loss = dense_grad_loss.const_data_ptr<float>(),
          .log_partition = dense_log_partition.const_data_ptr<float>(),
          .pair_weight = dense_pair_weight.const_data_ptr<float>(),
          .anchor_grad = features_grad ? dense_anchor_grad.const_data_ptr<float>() : nullptr,
          .grad_features = features_grad ? grad_features.mutable_data_ptr() : nullptr,
          .grad_center_logits =
              center_logits_grad ? grad_center_logits.mutable_data_ptr() : nullptr,
      },
      c10::cuda::getCurrentCUDAStream()));
  return {grad_features, grad_center_logits};
}

}  // namespace
}  // namespace paco::cuda

TORCH_LIBRARY_IMPL(paco, CUDA, m) {
  m.impl("paco_loss_forward", TORCH_FN(paco::cuda::paco_loss_forward));
  m.impl("paco_loss_backward", TORCH_FN(paco::cuda::paco_loss_backward));
}
