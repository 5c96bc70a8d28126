#include "paco_loss_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kLoss = "paco_loss";

// The arguments that forward and backward pass have in common.
template <typename Arguments>
void check_anchors(const Arguments& args, const c10::SymInt& num_anchors) {
  const at::Tensor& features = args.features;
  const OptionalTensor& center_logits = args.center_logits;
  const PaCoLossOptions& options = args.options;
  check_features(kLoss, features);
  check_loss_options(kLoss, options, accumulate_type(features.scalar_type()));
  check_labels(kLoss, "labels", args.labels, "features", features);
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
  if (args.class_counts) check_class_counts(kLoss, *args.class_counts, center_logits, features);
  if (args.anchor_weight) {
    check_anchor_weight(kLoss, *args.anchor_weight, num_anchors, "features", features);
  }
  if (args.soft_targets) {
    check_soft_targets(kLoss, *args.soft_targets, center_logits, options, features);
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

void check_loss_options(const char* caller, const PaCoLossOptions& options, c10::ScalarType dtype) {
  check_loss_options(caller, options);
  check_computable(caller, "alpha", options.alpha, dtype);
  check_computable(caller, "beta", options.beta, dtype);
  check_computable(caller, "gamma", options.gamma, dtype);
  check_computable(caller, "temperature", options.temperature, dtype);
  check_computable(caller, "base_temperature",
                   options.base_temperature.value_or(options.temperature), dtype);
}

void check_center_logits_type(const char* caller, const at::Tensor& center_logits,
                              const at::Tensor& features) {
  check_strided(caller, "center_logits", center_logits);
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
                         const c10::SymInt& num_anchors, const char* rows_name,
                         const at::Tensor& rows) {
  PACO_CHECK(caller, anchor_weight.dim() == 1 && anchor_weight.sym_size(0) == num_anchors,
             "anchor_weight must be [num_anchors] with num_anchors ", num_anchors, ", got ",
             anchor_weight.sym_sizes());
  check_strided(caller, "anchor_weight", anchor_weight);
  PACO_CHECK(caller, at::isFloatingType(anchor_weight.scalar_type()),
             "anchor_weight must be floating, got ", anchor_weight.scalar_type());
  check_device(caller, "anchor_weight", anchor_weight, rows_name, rows);
}

void check_soft_targets(const char* caller, const at::Tensor& soft_targets,
                        const OptionalTensor& center_logits, const PaCoLossOptions& options,
                        const at::Tensor& features) {
  PACO_CHECK(caller, center_logits, "soft_targets need center_logits");
  PACO_CHECK(caller, options.label_smoothing == 0,
             "label_smoothing must be 0 with soft_targets, got ", options.label_smoothing);
  PACO_CHECK(caller, soft_targets.sym_sizes() == center_logits->sym_sizes(),
             "soft_targets must be of the shape of center_logits ", center_logits->sym_sizes(),
             ", got ", soft_targets.sym_sizes());
  check_strided(caller, "soft_targets", soft_targets);
  PACO_CHECK(caller,
             soft_targets.scalar_type() == at::kFloat || soft_targets.scalar_type() == at::kDouble,
             "soft_targets must be float32 or float64, got ", soft_targets.scalar_type());
  check_device(caller, "soft_targets", soft_targets, "features", features);
}

void check_paco_loss(const PaCoLossArguments& args) {
  check_anchors(args, args.count_anchors());
  check_queue(kLoss, args.features, args.queue, args.queue_labels, args.num_valid);
}

void check_paco_loss_backward(const PaCoLossBackwardArguments& args) {
  const at::Tensor& features = args.features;
  const c10::SymInt num_anchors = args.log_partition.sym_numel();
  check_anchors(args, num_anchors);
  const auto check = [&](const char* name, const at::Tensor& state, c10::SymIntArrayRef sizes,
                         c10::ScalarType dtype) {
    check_state(kLoss, name, state, sizes, dtype, "features", features);
  };
  const auto dtype = accumulate_type(features.scalar_type());
  check("grad_loss", args.grad_loss, {}, dtype);
  check("log_partition", args.log_partition, {num_anchors}, at::kDouble);
  check("pair_weight", args.pair_weight, {num_anchors}, dtype);
  if (args.features_grad) {
    check("anchor_grad", args.anchor_grad, {num_anchors, features.sym_size(1)}, dtype);
  }
  PACO_CHECK(kLoss, args.center_logits || !args.center_logits_grad,
             "center_logits_grad needs center_logits");
}

}  // namespace paco
