#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <optional>
#include <tuple>
#include <utility>

#include "checks.h"
#include "paco_loss_arguments.h"

// The loss in two halves, for columns that are shared out among processes: a record of the columns
// of each share, and the losses of anchors from the records of all. paco.distributed sends them.
namespace paco {

// Borrowed for the length of one call.
struct PaCoLossPartialArguments {
  const at::Tensor& anchors;
  const at::Tensor& anchor_labels;
  const at::Tensor& anchor_rows;
  const at::Tensor& features;
  const at::Tensor& labels;
  const OptionalTensor& center_logits;
  const OptionalTensor& queue;
  const OptionalTensor& queue_labels;
  const OptionalTensor& num_valid;
  c10::SymInt first_class;
  // C, where center_logits are those of all anchors and of classes from first_class on; absent
  // where they are those of the anchors among features, and of all classes.
  std::optional<c10::SymInt> num_classes;
  PaCoLossOptions options;
  const OptionalTensor& soft_targets;
  // [C], over all shares: makes it the loss of BCL, whose prototypes are rows of features.
  const OptionalTensor& class_counts;
};

// See library.cpp.
struct PaCoLossRecord {
  at::Tensor sums;  // [A, 6] float64: kernels' PaCoLossSums
  at::Tensor rows;  // [A, R, D]
};

struct PaCoLossCombineArguments {
  const at::Tensor& sums;     // [S, A, 6]
  const at::Tensor& rows;     // [S, A, R, D]
  const at::Tensor& anchors;  // [A, D]
  const OptionalTensor& anchor_weight;
  PaCoLossOptions options;

  bool features_grad() const { return rows.sym_size(2) == 2; }
};

struct PaCoLossCombined {
  at::Tensor losses;         // [A] float64
  at::Tensor log_partition;  // [A] float64
  at::Tensor pair_weight;    // [A]
  at::Tensor anchor_grad;    // [A, D]; empty where not wanted
};

struct PaCoLossPartialBackwardArguments {
  const at::Tensor& grad_losses;    // [A]
  PaCoLossPartialArguments share;   // without queue
  const at::Tensor& log_partition;  // [A]
  const at::Tensor& pair_weight;    // [A]
  const at::Tensor& anchor_grad;    // a row for each anchor among features
  bool features_grad;
  bool center_logits_grad;
};

// Not yet written results; sizes may be symbolic.
PaCoLossRecord empty_record(const PaCoLossPartialArguments& args, bool features_grad);
PaCoLossCombined empty_combined(const PaCoLossCombineArguments& args);
PaCoLossInputGradients empty_partial_gradients(const PaCoLossPartialBackwardArguments& args);

// The tensors that a share's record and a combination are written to, as pointers.
PaCoLossRecords records_of(const PaCoLossRecord& record);
PaCoLossOutput output_of(const PaCoLossCombined& result);

using PaCoLossPartial = PaCoLossRecord(const PaCoLossPartialArguments& args, bool features_grad);
using PaCoLossCombine = PaCoLossCombined(const PaCoLossCombineArguments& args);
using PaCoLossPartialBackward =
    PaCoLossInputGradients(const PaCoLossPartialBackwardArguments& args);

// The kernels of one dispatch key, from the flat lists of the schemas to the structs.

template <PaCoLossPartial* partial>
std::tuple<at::Tensor, at::Tensor> partial_adaptor(
    const at::Tensor& anchors, const at::Tensor& anchor_labels, const at::Tensor& anchor_rows,
    const at::Tensor& features, const at::Tensor& labels, const OptionalTensor& center_logits,
    const OptionalTensor& queue, const OptionalTensor& queue_labels,
    const OptionalTensor& num_valid, c10::SymInt first_class,
    std::optional<c10::SymInt> num_classes, double gamma, double label_smoothing,
    const OptionalTensor& soft_targets, double alpha, double temperature, bool features_grad,
    const OptionalTensor& class_counts) {
  const PaCoLossOptions options{.alpha = alpha,
                                .temperature = temperature,
                                .gamma = gamma,
                                .label_smoothing = label_smoothing};
  const PaCoLossPartialArguments args{anchors,
                                      anchor_labels,
                                      anchor_rows,
                                      features,
                                      labels,
                                      center_logits,
                                      queue,
                                      queue_labels,
                                      num_valid,
                                      std::move(first_class),
                                      std::move(num_classes),
                                      options,
                                      soft_targets,
                                      class_counts};
  check_paco_loss_partial(args);
  auto [sums, rows] = partial(args, features_grad);
  return {sums, rows};
}

template <PaCoLossCombine* combine>
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> combine_adaptor(
    const at::Tensor& sums, const at::Tensor& rows, const at::Tensor& anchors,
    const OptionalTensor& anchor_weight, double beta, double gamma,
    std::optional<double> base_temperature, double alpha, double temperature) {
  const PaCoLossOptions options{alpha, temperature, beta, gamma, base_temperature};
  const PaCoLossCombineArguments args{sums, rows, anchors, anchor_weight, options};
  check_paco_loss_combine(args);
  auto [losses, log_partition, pair_weight, anchor_grad] = combine(args);
  return {losses, log_partition, pair_weight, anchor_grad};
}

template <PaCoLossPartialBackward* backward>
std::tuple<at::Tensor, at::Tensor> partial_backward_adaptor(
    const at::Tensor& grad_losses, const at::Tensor& anchors, const at::Tensor& anchor_labels,
    const at::Tensor& anchor_rows, const at::Tensor& features, const at::Tensor& labels,
    const OptionalTensor& center_logits, c10::SymInt first_class,
    std::optional<c10::SymInt> num_classes, const at::Tensor& log_partition,
    const at::Tensor& pair_weight, const at::Tensor& anchor_grad, double beta, double gamma,
    std::optional<double> base_temperature, double label_smoothing,
    const OptionalTensor& soft_targets, double alpha, double temperature, bool features_grad,
    bool center_logits_grad, const OptionalTensor& class_counts) {
  const PaCoLossOptions options{alpha, temperature, beta, gamma, base_temperature, label_smoothing};
  const PaCoLossPartialArguments share{anchors,
                                       anchor_labels,
                                       anchor_rows,
                                       features,
                                       labels,
                                       center_logits,
                                       /*queue=*/kNone,
                                       /*queue_labels=*/kNone,
                                       /*num_valid=*/kNone,
                                       std::move(first_class),
                                       std::move(num_classes),
                                       options,
                                       soft_targets,
                                       class_counts};
  const PaCoLossPartialBackwardArguments args{grad_losses,       share,       log_partition,
                                              pair_weight,       anchor_grad, features_grad,
                                              center_logits_grad};
  check_paco_loss_partial_backward(args);
  auto [grad_features, grad_center_logits] = backward(args);
  return {grad_features, grad_center_logits};
}

}  // namespace paco
