#include "paco_loss_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kLoss = "paco_loss";

// The arguments that forward and backward pass have in common.
void check_anchors(const at::Tensor& features, const at::Tensor& labels,
                   const OptionalTensor& center_logits, const OptionalTensor& anchor_weight,
                   const OptionalTensor& class_counts, const c10::SymInt& num_anchors,
                   const PaCoLossOptions& options, const OptionalTensor& soft_targets) {
  check_loss_options(kLoss, options);
  check_features(kLoss, features);
  check_loss_options_computable(kLoss, options, accumulate_type(features.scalar_type()));
  check_labels(kLoss, "labels", labels, "features", features);
  PACO_CHECK(kLoss, num_anchors >= 1 && num_anchors <= features.sym_size(0),
             "num_anchors must lie between 1 and the rows of features ", features.sym_sizes(),
             ", got ", num_anchors);
  if (center_logits) {
    PACO_CHECK(kLoss,
               center_logits->dim() == 2 && center_logits->sym_size(0) == num_anchors &&
                   center_logits->sym_size(1) > 0,
               "center_logits must be [num_anchors, C] with num_anchors ", num_anchors, ", got ",
               center_logits->sym_sizes());
    check_center_logits_type(kLoss, *center_logits, features);
    PACO_CHECK(kLoss, options.label_smoothing == 0 || center_logits->sym_size(1) > 1,
               "label_smoothing must be 0 with a single class, got ", options.label_smoothing);
    PACO_CHECK(kLoss, options.alpha + options.beta > 0, "alpha and beta must not both be 0");
  } else {
    PACO_CHECK(kLoss, options.alpha > 0, "alpha must be > 0 without center_logits, got ",
               options.alpha);
    PACO_CHECK(kLoss, options.gamma > 0, "gamma must be > 0 without center_logits, got ",
               options.gamma);
  }
  if (class_counts) check_class_counts(kLoss, *class_counts, center_logits, features);
  if (anchor_weight) check_anchor_weight(kLoss, *anchor_weight, num_anchors, features);
  if (soft_targets) {
    PACO_CHECK(kLoss, center_logits, "soft_targets need center_logits");
    PACO_CHECK(kLoss, options.label_smoothing == 0,
               "label_smoothing must be 0 with soft_targets, got ", options.label_smoothing);
    PACO_CHECK(kLoss, soft_targets->sym_sizes() == center_logits->sym_sizes(),
               "soft_targets must be of the shape of center_logits ", center_logits->sym_sizes(),
               ", got ", soft_targets->sym_sizes());
    check_strided(kLoss, "soft_targets", *soft_targets);
    PACO_CHECK(
        kLoss,
        soft_targets->scalar_type() == at::kFloat || soft_targets->scalar_type() == at::kDouble,
        "soft_targets must be float32 or float64, got ", soft_targets->scalar_type());
    check_device(kLoss, "soft_targets", *soft_targets, "features", features);
  }
}

}  // namespace

void check_loss_options(const char* caller, const PaCoLossOptions& options) {
  check_not_negative(caller, "alpha", options.alpha);
  check_not_negative(caller, "beta", options.beta);
  check_not_negative(caller, "gamma", options.gamma);
  check_positive(caller, "temperature", options.temperature);
  check_positive(caller, "base_temperature",
                 options.base_temperature.value_or(options.temperature));
  PACO_CHECK(caller, options.label_smoothing >= 0 && options.label_smoothing < 1,
             "label_smoothing must lie in [0, 1), got ", options.label_smoothing);
}

void check_loss_options_computable(const char* caller, const PaCoLossOptions& options,
                                   c10::ScalarType dtype) {
  check_computable(caller, "alpha", options.alpha, dtype);
  check_computable(caller, "beta", options.beta, dtype);
  check_computable(caller, "gamma", options.gamma, dtype);
  check_computable(caller, "temperature", options.temperature, dtype);
  check_computable(caller, "base_temperature",
                   options.base_temperature.value_or(options.temperature), dtype);
}

void check_center_logits_type(const char* caller, const at::Tensor& center_logits,
                              const at::Tensor& features) {
  const auto accumulate = accumulate_type(features.scalar_type());
  PACO_CHECK(caller,
             center_logits.scalar_type() == features.scalar_type() ||
                 center_logits.scalar_type() == accumulate,
             "center_logits must be ", features.scalar_type(), " (as features) or ", accumulate,
             ", got ", center_logits.scalar_type());
  check_device(caller, "center_logits", center_logits, "features", features);
}

void check_class_counts(const char* caller, const at::Tensor& class_counts,
                        const OptionalTensor& center_logits, const at::Tensor& features) {
  PACO_CHECK(caller, !center_logits, "class_counts must be left out with center_logits");
  PACO_CHECK(caller, class_counts.dim() == 1 && class_counts.sym_size(0) > 0,
             "class_counts must be [C] with C > 0, got ", class_counts.sym_sizes());
  check_int64(caller, "class_counts", class_counts);
  check_device(caller, "class_counts", class_counts, "features", features);
}

void check_anchor_weight(const char* caller, const at::Tensor& anchor_weight,
                         const c10::SymInt& num_anchors, const at::Tensor& features) {
  PACO_CHECK(caller, anchor_weight.dim() == 1 && anchor_weight.sym_size(0) == num_anchors,
             "anchor_weight must be [num_anchors] with num_anchors ", num_anchors, ", got ",
             anchor_weight.sym_sizes());
  PACO_CHECK(caller, at::isFloatingType(anchor_weight.scalar_type()),
             "anchor_weight must be floating, got ", anchor_weight.scalar_type());
  check_device(caller, "anchor_weight", anchor_weight, "features", features);
}

void check_paco_loss(const PaCoLossArguments& args) {
  const at::Tensor& features = args.features;
  check_anchors(features, args.labels, args.center_logits, args.anchor_weight, args.class_counts,
                args.count_anchors(), args.options, args.soft_targets);
  check_queue(kLoss, features, args.queue, args.queue_labels, args.num_valid);
}

void check_paco_loss_backward(const PaCoLossBackwardArguments& args) {
  const at::Tensor& features = args.features;
  const c10::SymInt num_anchors = args.log_partition.sym_numel();
  check_anchors(features, args.labels, args.center_logits, args.anchor_weight, args.class_counts,
                num_anchors, args.options, args.soft_targets);
  // The tensors that the forward pass left, and the gradient of the loss.
  const auto check_state = [&](const char* name, const at::Tensor& state, c10::SymIntArrayRef sizes,
                               c10::ScalarType dtype) {
    PACO_CHECK(kLoss, state.sym_sizes() == sizes, name, " must be ", sizes, ", got ",
               state.sym_sizes());
    PACO_CHECK(kLoss, state.scalar_type() == dtype, name, " must be ", dtype, ", got ",
               state.scalar_type());
    check_device(kLoss, name, state, "features", features);
  };
  const auto dtype = accumulate_type(features.scalar_type());
  check_state("grad_loss", args.grad_loss, {}, dtype);
  check_state("log_partition", args.log_partition, {num_anchors}, at::kDouble);
  check_state("pair_weight", args.pair_weight, {num_anchors}, dtype);
  if (args.features_grad) {
    check_state("anchor_grad", args.anchor_grad, {num_anchors, features.sym_size(1)}, dtype);
  }
  PACO_CHECK(kLoss, args.center_logits || !args.center_logits_grad,
             "center_logits_grad needs center_logits");
}

}  // namespace paco
