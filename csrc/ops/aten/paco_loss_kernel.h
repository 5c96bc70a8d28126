#pragma once

#include <tuple>

#include "../paco_loss_dispatch.h"

namespace paco::aten {

// paco_loss on ATen operators alone, for every device. Columns (rows of features, then of the
// queue) are streamed in tiles with the running maximum and rescaling of online softmax, so the
// largest temporary is [A, tile]. Nothing waits for the device.
PaCoLossState paco_loss_forward(const at::Tensor& features, const at::Tensor& labels,
                                const std::optional<at::Tensor>& center_logits,
                                const std::optional<at::Tensor>& queue,
                                const std::optional<at::Tensor>& queue_labels, int64_t num_anchors,
                                const std::optional<at::Tensor>& queue_size, double alpha,
                                double beta, double gamma, double temperature,
                                double base_temperature, double label_smoothing,
                                const std::optional<at::Tensor>& anchor_weight, bool features_grad);

std::tuple<at::Tensor, at::Tensor> paco_loss_backward(
    const at::Tensor& grad_loss, const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& anchor_weight,
    const at::Tensor& log_partition, const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
    double alpha, double beta, double gamma, double temperature, double base_temperature,
    double label_smoothing, bool features_grad, bool center_logits_grad);

}  // namespace paco::aten
