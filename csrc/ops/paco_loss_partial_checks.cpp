#include "paco_loss_partial_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kPartial = "paco_loss_partial";
constexpr const char* kCombine = "paco_loss_combine";

void check_centers(const PaCoLossPartialArguments& args) {
  const at::Tensor& logits = *args.center_logits;
  const at::Tensor& features = args.features;
  PACO_CHECK(kPartial, logits.dim() == 2 && logits.sym_size(1) > 0,
             "center_logits must be [A, C] with C > 0, got ", logits.sym_sizes());
  check_center_logits_type(kPartial, logits, features);
  if (args.num_classes) {
    PACO_CHECK(kPartial, logits.sym_size(0) == args.anchors.sym_size(0),
               "center_logits must have a row for each of ", args.anchors.sym_size(0),
               " anchors with num_classes, got ", logits.sym_sizes());
    PACO_CHECK(kPartial,
               args.first_class >= 0 && args.first_class + logits.sym_size(1) <= *args.num_classes,
               "center_logits must be of classes below num_classes ", *args.num_classes, ", got ",
               logits.sym_size(1), " from first_class ", args.first_class);
  } else {
    PACO_CHECK(kPartial, logits.sym_size(0) <= features.sym_size(0),
               "center_logits must have a row for each anchor among features ",
               features.sym_sizes(), ", got ", logits.sym_sizes());
    PACO_CHECK(kPartial, args.first_class == 0, "first_class needs num_classes, got ",
               args.first_class);
  }
  PACO_CHECK(kPartial,
             args.options.label_smoothing == 0 || args.num_classes.value_or(logits.sym_size(1)) > 1,
             "label_smoothing must be 0 with a single class, got ", args.options.label_smoothing);
}

}  // namespace

void check_paco_loss_partial(const PaCoLossPartialArguments& args) {
  const at::Tensor& features = args.features;
  const at::Tensor& anchors = args.anchors;
  PACO_CHECK(kPartial, features.dim() == 2 && features.sym_size(1) > 0,
             "features must be [M, D] with at least one column, got ", features.sym_sizes());
  check_dtype(kPartial, "features", features);
  check_loss_options(kPartial, args.options, accumulate_type(features.scalar_type()));
  PACO_CHECK(
      kPartial,
      anchors.dim() == 2 && anchors.sym_size(0) > 0 && anchors.sym_size(1) == features.sym_size(1),
      "anchors must be [A, D] with at least one row and the D of features ", features.sym_sizes(),
      ", got ", anchors.sym_sizes());
  check_like(kPartial, "anchors", anchors, "features", features);
  check_labels(kPartial, "labels", args.labels, "features", features);
  check_labels(kPartial, "anchor_labels", args.anchor_labels, "anchors", anchors);
  check_labels(kPartial, "anchor_rows", args.anchor_rows, "anchors", anchors);
  check_queue(kPartial, features, args.queue, args.queue_labels, args.num_valid);
  if (args.center_logits) check_centers(args);
  if (args.class_counts) {
    check_class_counts(kPartial, *args.class_counts, args.center_logits, features);
  }
  if (args.soft_targets) {
    check_soft_targets(kPartial, *args.soft_targets, args.center_logits, args.options, features);
  }
}

void check_paco_loss_combine(const PaCoLossCombineArguments& args) {
  const at::Tensor& anchors = args.anchors;
  PACO_CHECK(kCombine, anchors.dim() == 2 && anchors.sym_size(1) > 0,
             "anchors must be [A, D] with at least one column, got ", anchors.sym_sizes());
  check_dtype(kCombine, "anchors", anchors);
  const auto dtype = accumulate_type(anchors.scalar_type());
  check_loss_options(kCombine, args.options, dtype);
  PACO_CHECK(kCombine, args.sums.dim() == 3 && args.sums.sym_size(0) > 0, "sums must be [S, A, ",
             kNumSums, "] with at least one share, got ", args.sums.sym_sizes());
  const c10::SymInt shares = args.sums.sym_size(0);
  check_state(kCombine, "sums", args.sums, {shares, anchors.sym_size(0), kNumSums}, at::kDouble,
              "anchors", anchors);
  PACO_CHECK(kCombine,
             args.rows.dim() == 4 && (args.rows.sym_size(2) == 1 || args.rows.sym_size(2) == 2),
             "rows must be [S, A, R, D] with R 1 or 2, got ", args.rows.sym_sizes());
  check_state(kCombine, "rows", args.rows,
              {shares, anchors.sym_size(0), args.rows.sym_size(2), anchors.sym_size(1)}, dtype,
              "anchors", anchors);
  if (args.anchor_weight) {
    check_anchor_weight(kCombine, *args.anchor_weight, anchors.sym_size(0), "anchors", anchors);
  }
}

void check_paco_loss_partial_backward(const PaCoLossPartialBackwardArguments& args) {
  check_paco_loss_partial(args.share);
  const at::Tensor& anchors = args.share.anchors;
  const c10::SymInt num_anchors = anchors.sym_size(0);
  const auto dtype = accumulate_type(anchors.scalar_type());
  const auto check = [&](const char* name, const at::Tensor& state, c10::ScalarType of) {
    check_state(kPartial, name, state, {num_anchors}, of, "anchors", anchors);
  };
  check("grad_losses", args.grad_losses, dtype);
  check("log_partition", args.log_partition, at::kDouble);
  check("pair_weight", args.pair_weight, dtype);
  if (args.features_grad) {
    const at::Tensor& grad = args.anchor_grad;
    PACO_CHECK(kPartial, grad.dim() == 2 && grad.sym_size(0) <= args.share.features.sym_size(0),
               "anchor_grad must have a row for each anchor among features ",
               args.share.features.sym_sizes(), ", got ", grad.sym_sizes());
    check_state(kPartial, "anchor_grad", grad, {grad.sym_size(0), anchors.sym_size(1)}, dtype,
                "anchors", anchors);
  }
  PACO_CHECK(kPartial, args.share.center_logits || !args.center_logits_grad,
             "center_logits_grad needs center_logits");
}

}  // namespace paco
