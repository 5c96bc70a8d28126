#include "paco_loss_checks.h"

#include <ATen/OpMathType.h>
#include <c10/util/Exception.h>

#include <cmath>

#define PACO_CHECK(condition, ...) TORCH_CHECK_VALUE(condition, "paco_loss: ", __VA_ARGS__)

namespace paco {
namespace {

bool is_supported_dtype(c10::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kDouble || dtype == at::kHalf ||
         dtype == at::kBFloat16;
}

void check_device(const char* name, const at::Tensor& tensor, const at::Tensor& features) {
  PACO_CHECK(tensor.device() == features.device(), name, " must be on the device of features (",
             features.device(), "), got ", tensor.device());
}

void check_labels(const char* name, const at::Tensor& labels, const char* rows_name,
                  const at::Tensor& rows) {
  PACO_CHECK(labels.dim() == 1 && labels.sym_size(0) == rows.sym_size(0), name,
             " must have one entry for each row of ", rows_name, " ", rows.sym_sizes(), ", got ",
             labels.sym_sizes());
  PACO_CHECK(labels.scalar_type() == at::kLong, name, " must be int64, got ", labels.scalar_type());
}

void check_features(const at::Tensor& features, const at::Tensor& labels) {
  PACO_CHECK(features.dim() == 2 && features.sym_size(0) > 0 && features.sym_size(1) > 0,
             "features must be [M, D] with at least one row and column, got ",
             features.sym_sizes());
  PACO_CHECK(is_supported_dtype(features.scalar_type()),
             "features must be float16, bfloat16, float32 or float64, got ",
             features.scalar_type());
  check_labels("labels", labels, "features", features);
  check_device("labels", labels, features);
}

void check_num_anchors(const c10::SymInt& num_anchors, const at::Tensor& features) {
  PACO_CHECK(num_anchors >= 1 && num_anchors <= features.sym_size(0),
             "num_anchors must lie between 1 and the rows of features ", features.sym_sizes(),
             ", got ", num_anchors);
}

void check_center_logits(const at::Tensor& center_logits, const c10::SymInt& num_anchors,
                         const at::Tensor& features) {
  PACO_CHECK(center_logits.dim() == 2 && center_logits.sym_size(0) == num_anchors &&
                 center_logits.sym_size(1) > 0,
             "center_logits must be [num_anchors, C] with num_anchors ", num_anchors, ", got ",
             center_logits.sym_sizes());
  PACO_CHECK(center_logits.scalar_type() == features.scalar_type() ||
                 center_logits.scalar_type() == accumulate_type(features.scalar_type()),
             "center_logits must be ", features.scalar_type(), " (as features) or ",
             accumulate_type(features.scalar_type()), ", got ", center_logits.scalar_type());
  check_device("center_logits", center_logits, features);
}

void check_anchor_weight(const at::Tensor& anchor_weight, const c10::SymInt& num_anchors,
                         const at::Tensor& features) {
  PACO_CHECK(anchor_weight.dim() == 1 && anchor_weight.sym_size(0) == num_anchors,
             "anchor_weight must be [num_anchors] with num_anchors ", num_anchors, ", got ",
             anchor_weight.sym_sizes());
  PACO_CHECK(at::isFloatingType(anchor_weight.scalar_type()),
             "anchor_weight must be floating, got ", anchor_weight.scalar_type());
  check_device("anchor_weight", anchor_weight, features);
}

// What the forward pass left for each anchor.
void check_state(const char* name, const at::Tensor& state, c10::SymIntArrayRef sizes,
                 const at::Tensor& features) {
  PACO_CHECK(state.sym_sizes() == sizes, name, " must be ", sizes, ", got ", state.sym_sizes());
  PACO_CHECK(state.scalar_type() == accumulate_type(features.scalar_type()), name, " must be ",
             accumulate_type(features.scalar_type()), ", got ", state.scalar_type());
  check_device(name, state, features);
}

}  // namespace

c10::ScalarType accumulate_type(c10::ScalarType dtype) { return at::toOpMathType(dtype); }

void check_hyper_parameters(const char* caller, double alpha, double beta, double gamma,
                            double temperature, double base_temperature, double label_smoothing) {
  // NaN fails every one of these comparisons, as it should.
  const auto check_non_negative = [&](const char* name, double value) {
    TORCH_CHECK_VALUE(value >= 0 && std::isfinite(value), caller, ": ", name,
                      " must be finite and >= 0, got ", value);
  };
  const auto check_positive = [&](const char* name, double value) {
    TORCH_CHECK_VALUE(value > 0 && std::isfinite(value), caller, ": ", name,
                      " must be finite and > 0, got ", value);
  };
  check_non_negative("alpha", alpha);
  check_non_negative("beta", beta);
  check_non_negative("gamma", gamma);
  check_positive("temperature", temperature);
  check_positive("base_temperature", base_temperature);
  TORCH_CHECK_VALUE(label_smoothing >= 0 && label_smoothing < 1, caller,
                    ": label_smoothing must lie in [0, 1), got ", label_smoothing);
}

void check_paco_loss(const PaCoLossArguments& args) {
  check_hyper_parameters("paco_loss", args.alpha, args.beta, args.gamma, args.temperature,
                         args.base_temperature, args.label_smoothing);
  const at::Tensor& features = args.features;
  check_features(features, args.labels);
  const c10::SymInt& num_anchors = args.num_anchors;
  check_num_anchors(num_anchors, features);
  if (args.center_logits) {
    const at::Tensor& center_logits = *args.center_logits;
    check_center_logits(center_logits, num_anchors, features);
    PACO_CHECK(args.label_smoothing == 0 || center_logits.sym_size(1) > 1,
               "label_smoothing must be 0 with a single class, got ", args.label_smoothing);
    PACO_CHECK(args.alpha + args.beta > 0, "alpha and beta must not both be 0");
  } else {
    PACO_CHECK(args.alpha > 0, "alpha must be > 0 without center_logits, got ", args.alpha);
    PACO_CHECK(args.gamma > 0, "gamma must be > 0 without center_logits, got ", args.gamma);
  }

  PACO_CHECK(args.queue.has_value() == args.queue_labels.has_value(),
             "queue and queue_labels must be given together, got only ",
             args.queue ? "queue" : "queue_labels");
  if (args.queue) {
    const at::Tensor& queue = *args.queue;
    PACO_CHECK(queue.dim() == 2 && queue.sym_size(1) == features.sym_size(1),
               "queue must be [K, D] with the D of features ", features.sym_sizes(), ", got ",
               queue.sym_sizes());
    PACO_CHECK(queue.scalar_type() == features.scalar_type(), "queue must be ",
               features.scalar_type(), " (as features), got ", queue.scalar_type());
    check_device("queue", queue, features);
    check_labels("queue_labels", *args.queue_labels, "queue", queue);
    check_device("queue_labels", *args.queue_labels, features);
  }
  if (args.queue_size) {
    const at::Tensor& queue_size = *args.queue_size;
    PACO_CHECK(args.queue, "queue_size needs a queue");
    PACO_CHECK(queue_size.dim() <= 1 && queue_size.sym_numel() == 1 &&
                   queue_size.scalar_type() == at::kLong,
               "queue_size must be one int64, got ", queue_size.scalar_type(), " ",
               queue_size.sym_sizes());
    check_device("queue_size", queue_size, features);
  }
  if (args.anchor_weight) check_anchor_weight(*args.anchor_weight, num_anchors, features);
}

void check_paco_loss_backward(const at::Tensor& features, const at::Tensor& labels,
                              const std::optional<at::Tensor>& center_logits,
                              const std::optional<at::Tensor>& anchor_weight,
                              const at::Tensor& log_partition, const at::Tensor& pair_weight,
                              const at::Tensor& anchor_grad, bool features_grad,
                              bool center_logits_grad) {
  check_features(features, labels);
  const c10::SymInt num_anchors = log_partition.sym_numel();
  check_num_anchors(num_anchors, features);
  check_state("log_partition", log_partition, {num_anchors}, features);
  check_state("pair_weight", pair_weight, {num_anchors}, features);
  if (features_grad) {
    check_state("anchor_grad", anchor_grad, {num_anchors, features.sym_size(1)}, features);
  }
  PACO_CHECK(center_logits || !center_logits_grad, "center_logits_grad needs center_logits");
  if (center_logits) check_center_logits(*center_logits, num_anchors, features);
  if (anchor_weight) check_anchor_weight(*anchor_weight, num_anchors, features);
}

}  // namespace paco
