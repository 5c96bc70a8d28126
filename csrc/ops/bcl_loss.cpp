#include "bcl_loss.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>

#include "bcl_loss_arguments.h"

namespace paco {
namespace {

// n_c over rows, prototypes and valid rows of the queue. A label out of range is counted somewhere:
// the kernels report it.
at::Tensor count_classes(const BCLLossArguments& args) {
  const c10::SymInt num_classes = args.prototypes.sym_size(0);
  auto counts = at::ones_symint({num_classes}, args.labels.options());
  const auto add = [&](const at::Tensor& labels, const at::Tensor& valid) {
    counts.scatter_add_(0, labels.clamp(0, at::Scalar(num_classes - 1)), valid);
  };
  add(args.labels, at::ones_like(args.labels));
  if (args.queue) {
    const at::Tensor& labels = *args.queue_labels;
    add(labels, args.num_valid ? at::arange(at::Scalar(labels.sym_size(0)), labels.options())
                                     .lt(*args.num_valid)
                                     .to(at::kLong)
                               : at::ones_like(labels));
  }
  return counts;
}

}  // namespace

BCLAsPaCo::BCLAsPaCo(const BCLLossArguments& args) : args_(args) {
  check_bcl_loss(args);
  rows_ = at::cat({args.features, args.prototypes});
  const auto classes = at::arange(at::Scalar(args.prototypes.sym_size(0)), args.labels.options());
  labels_ = at::cat({args.labels, classes});
  class_counts_ = count_classes(args);
}

PaCoLossArguments BCLAsPaCo::arguments() const {
  static const OptionalTensor kNone;
  return {rows_,
          labels_,
          /*center_logits=*/kNone,
          args_.queue,
          args_.queue_labels,
          args_.num_valid,
          /*anchor_weight=*/kNone,
          args_.features.sym_size(0),
          {.alpha = 1, .temperature = args_.temperature},
          /*soft_targets=*/kNone,
          class_counts_};
}

at::Tensor bcl_loss(const at::Tensor& features, const at::Tensor& labels,
                    const at::Tensor& prototypes, const std::optional<at::Tensor>& queue,
                    const std::optional<at::Tensor>& queue_labels,
                    const std::optional<at::Tensor>& num_valid, double temperature) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::bcl_loss", "")
                             .typed<decltype(bcl_loss)>();
  return op.call(features, labels, prototypes, queue, queue_labels, num_valid, temperature);
}

}  // namespace paco
