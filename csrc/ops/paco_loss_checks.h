#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>
#include <c10/core/SymInt.h>

#include <optional>

namespace paco {

// The arguments of paco_loss_forward, borrowed for the length of one call.
struct PaCoLossArguments {
  const at::Tensor& features;
  const at::Tensor& labels;
  const std::optional<at::Tensor>& center_logits;
  const std::optional<at::Tensor>& queue;
  const std::optional<at::Tensor>& queue_labels;
  const c10::SymInt& num_anchors;
  const std::optional<at::Tensor>& queue_size;
  double alpha;
  double beta;
  double gamma;
  double temperature;
  double base_temperature;
  double label_smoothing;
  const std::optional<at::Tensor>& anchor_weight;
};

// Throws c10::ValueError for everything that shapes, dtypes, devices and scalars can get wrong.
// Works on symbolic shapes, so every kernel of the forward pass calls it, the meta kernel too.
void check_paco_loss(const PaCoLossArguments& args);

// The part of it that scalars alone can get wrong; `caller` begins the message.
void check_hyper_parameters(const char* caller, double alpha, double beta, double gamma,
                            double temperature, double base_temperature, double label_smoothing);

// The same for paco_loss_backward, whose last three tensors are what the forward pass left.
void check_paco_loss_backward(const at::Tensor& features, const at::Tensor& labels,
                              const std::optional<at::Tensor>& center_logits,
                              const std::optional<at::Tensor>& anchor_weight,
                              const at::Tensor& log_partition, const at::Tensor& pair_weight,
                              const at::Tensor& anchor_grad, bool features_grad,
                              bool center_logits_grad);

// The dtype of the loss and of everything the kernels add up: float32 for inputs of 16 and 32 bits,
// float64 for float64.
c10::ScalarType accumulate_type(c10::ScalarType dtype);

}  // namespace paco
