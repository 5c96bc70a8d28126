#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <optional>
#include <tuple>

// The two halves of paco_loss as seen by the dispatcher; their schemas are in library.cpp.
namespace paco {

// loss [], log_partition [A], pair_weight [A], anchor_grad [A, D]
using PaCoLossState = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

PaCoLossState paco_loss_forward(const at::Tensor& features, const at::Tensor& labels,
                                const std::optional<at::Tensor>& center_logits,
                                const std::optional<at::Tensor>& queue,
                                const std::optional<at::Tensor>& queue_labels,
                                c10::SymInt num_anchors,
                                const std::optional<at::Tensor>& queue_size, double alpha,
                                double beta, double gamma, double temperature,
                                double base_temperature, double label_smoothing,
                                const std::optional<at::Tensor>& anchor_weight, bool features_grad);

// grad_features [M, D], grad_center_logits [A, C]
std::tuple<at::Tensor, at::Tensor> paco_loss_backward(
    const at::Tensor& grad_loss, const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& anchor_weight,
    const at::Tensor& log_partition, const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
    double alpha, double beta, double gamma, double temperature, double base_temperature,
    double label_smoothing, bool features_grad, bool center_logits_grad);

}  // namespace paco
