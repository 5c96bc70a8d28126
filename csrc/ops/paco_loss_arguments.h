#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <optional>
#include <tuple>
#include <utility>

#include "../kernels/paco_loss_problem.h"
#include "checks.h"
#include "dense_tensors.h"
#include "paco_loss.h"

// The way of the loss's arguments: a flat list in the schema, one struct for everything in ops,
// plain pointers for the kernels.
namespace paco {

// Borrowed for the length of one call.
struct PaCoLossArguments {
  const at::Tensor& features;
  const at::Tensor& labels;
  const OptionalTensor& center_logits;
  const OptionalTensor& queue;
  const OptionalTensor& queue_labels;
  const OptionalTensor& num_valid;
  const OptionalTensor& anchor_weight;
  std::optional<c10::SymInt> num_anchors;
  PaCoLossOptions options;
  const OptionalTensor& soft_targets;
  // [C]: makes it the loss of BCL, whose prototypes are the last rows of features.
  const OptionalTensor& class_counts = kNone;

  // The operator that errors are of.
  const char* name() const { return class_counts ? "bcl_loss" : "paco_loss"; }

  // A: where it is left out, the rows of center_logits, or else of features.
  c10::SymInt count_anchors() const {
    if (num_anchors) return *num_anchors;
    const at::Tensor& rows = center_logits ? *center_logits : features;
    return rows.dim() > 0 ? rows.sym_size(0) : c10::SymInt(0);
  }
};

// The loss, and what the backward pass needs of the forward pass; see library.cpp.
struct PaCoLossState {
  at::Tensor loss;           // []
  at::Tensor log_partition;  // [A] float64
  at::Tensor pair_weight;    // [A]
  at::Tensor anchor_grad;    // [A, D]; empty where not wanted
};

struct PaCoLossBackwardArguments {
  const at::Tensor& grad_loss;
  const at::Tensor& features;
  const at::Tensor& labels;
  const OptionalTensor& center_logits;
  const OptionalTensor& anchor_weight;
  const at::Tensor& log_partition;
  const at::Tensor& pair_weight;
  const at::Tensor& anchor_grad;
  PaCoLossOptions options;
  const OptionalTensor& soft_targets;
  bool features_grad;
  bool center_logits_grad;
  const OptionalTensor& class_counts;

  const char* name() const { return class_counts ? "bcl_loss" : "paco_loss"; }
};

// A gradient that is not wanted is empty.
struct PaCoLossInputGradients {
  at::Tensor features;
  at::Tensor center_logits;
};

// Not yet written results; sizes may be symbolic.
PaCoLossState empty_state(const PaCoLossArguments& args, bool features_grad);
PaCoLossInputGradients empty_gradients(const PaCoLossBackwardArguments& args);

// The loss and its halves, as calls of the dispatcher.
at::Tensor dispatch_paco_loss(const PaCoLossArguments& args, bool detach_keys);
PaCoLossState paco_loss_forward(const PaCoLossArguments& args, bool features_grad);
PaCoLossInputGradients paco_loss_backward(const PaCoLossBackwardArguments& args);

// From the flat list of the schema to the struct.

// The kernel paco_loss of one dispatch key.
template <at::Tensor (*loss)(const PaCoLossArguments& args, bool detach_keys)>
at::Tensor paco_loss_adaptor(const at::Tensor& features, const at::Tensor& labels,
                             const OptionalTensor& center_logits, const OptionalTensor& queue,
                             const OptionalTensor& queue_labels, const OptionalTensor& num_valid,
                             const OptionalTensor& anchor_weight,
                             std::optional<c10::SymInt> num_anchors, double beta, double gamma,
                             std::optional<double> base_temperature, double label_smoothing,
                             const OptionalTensor& soft_targets, bool detach_keys, double alpha,
                             double temperature) {
  const PaCoLossOptions options{alpha, temperature, beta, gamma, base_temperature, label_smoothing};
  return loss({features, labels, center_logits, queue, queue_labels, num_valid, anchor_weight,
               std::move(num_anchors), options, soft_targets},
              detach_keys);
}

using PaCoLossForward = PaCoLossState(const PaCoLossArguments& args, bool features_grad);
using PaCoLossBackward = PaCoLossInputGradients(const PaCoLossBackwardArguments& args);

// The kernel paco_loss_forward of one dispatch key.
template <PaCoLossForward* forward>
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> forward_adaptor(
    const at::Tensor& features, const at::Tensor& labels, const OptionalTensor& center_logits,
    const OptionalTensor& queue, const OptionalTensor& queue_labels,
    const OptionalTensor& num_valid, const OptionalTensor& anchor_weight,
    std::optional<c10::SymInt> num_anchors, double beta, double gamma,
    std::optional<double> base_temperature, double label_smoothing,
    const OptionalTensor& soft_targets, double alpha, double temperature, bool features_grad,
    const OptionalTensor& class_counts) {
  const PaCoLossOptions options{alpha, temperature, beta, gamma, base_temperature, label_smoothing};
  const PaCoLossArguments args{features,     labels,       center_logits, queue,
                               queue_labels, num_valid,    anchor_weight, std::move(num_anchors),
                               options,      soft_targets, class_counts};
  check_paco_loss(args);
  auto [loss, log_partition, pair_weight, anchor_grad] = forward(args, features_grad);
  return {loss, log_partition, pair_weight, anchor_grad};
}

// The kernel paco_loss_backward of one dispatch key.
template <PaCoLossBackward* backward>
std::tuple<at::Tensor, at::Tensor> backward_adaptor(
    const at::Tensor& grad_loss, const at::Tensor& features, const at::Tensor& labels,
    const OptionalTensor& center_logits, const OptionalTensor& anchor_weight,
    const at::Tensor& log_partition, const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
    double beta, double gamma, std::optional<double> base_temperature, double label_smoothing,
    const OptionalTensor& soft_targets, double alpha, double temperature, bool features_grad,
    bool center_logits_grad, const OptionalTensor& class_counts) {
  const PaCoLossOptions options{alpha, temperature, beta, gamma, base_temperature, label_smoothing};
  const PaCoLossBackwardArguments args{
      grad_loss,     features,           labels,      center_logits, anchor_weight,
      log_partition, pair_weight,        anchor_grad, options,       soft_targets,
      features_grad, center_logits_grad, class_counts};
  check_paco_loss_backward(args);
  auto [grad_features, grad_center_logits] = backward(args);
  return {grad_features, grad_center_logits};
}

// Where a forward pass writes.
PaCoLossOutput output_of(const PaCoLossState& state);

struct PaCoLossCombineArguments;
struct PaCoLossPartialArguments;
struct PaCoLossPartialBackwardArguments;

// From the struct to plain pointers: arguments as kernels take them.
class DensePaCoLoss : DenseTensors {
 public:
  explicit DensePaCoLoss(const PaCoLossArguments& args);
  explicit DensePaCoLoss(const PaCoLossBackwardArguments& args);
  explicit DensePaCoLoss(const PaCoLossPartialArguments& args);
  explicit DensePaCoLoss(const PaCoLossCombineArguments& args);

  PaCoLossProblem problem{};

  // What the backward pass reads and writes besides; `args` are those of the constructor.
  PaCoLossGradients gradients(const PaCoLossBackwardArguments& args,
                              const PaCoLossInputGradients& result);
  PaCoLossGradients gradients(const PaCoLossPartialBackwardArguments& args,
                              const PaCoLossInputGradients& result);
  PaCoLossRecords records(const PaCoLossCombineArguments& args);

 private:
  // The part of the problem that several operators read.
  template <typename Arguments>
  void set_columns(const Arguments& args);
  void set_options(const PaCoLossOptions& options);
};

}  // namespace paco
