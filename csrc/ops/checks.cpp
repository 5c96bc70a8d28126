#include "checks.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "bcl_loss_arguments.h"
#include "center_logits_arguments.h"
#include "class_mean_update_arguments.h"
#include "paco_loss_arguments.h"
#include "queue_enqueue_arguments.h"
#include "vmf_logits_arguments.h"

#define PACO_CHECK(caller, condition, ...) TORCH_CHECK_VALUE(condition, caller, ": ", __VA_ARGS__)

namespace paco {
namespace {

constexpr const char* kLoss = "paco_loss";
constexpr const char* kBCLLoss = "bcl_loss";
constexpr const char* kCenters = "center_logits";
constexpr const char* kEnqueue = "queue_enqueue_";
constexpr const char* kVmf = "vmf_logits";
constexpr const char* kClassMean = "class_mean_update_";

void check_strided(const char* caller, const char* name, const at::Tensor& tensor) {
  PACO_CHECK(caller, tensor.layout() == at::kStrided, name, " must be strided, got ",
             tensor.layout());
}

// NaN fails every one of these comparisons, as it should.
void check_positive(const char* caller, const char* name, double value) {
  PACO_CHECK(caller, value > 0 && std::isfinite(value), name, " must be finite and > 0, got ",
             value);
}

void check_not_negative(const char* caller, const char* name, double value) {
  PACO_CHECK(caller, value >= 0 && std::isfinite(value), name, " must be finite and >= 0, got ",
             value);
}

void check_dtype(const char* caller, const char* name, const at::Tensor& tensor) {
  check_strided(caller, name, tensor);
  const auto dtype = tensor.scalar_type();
  PACO_CHECK(
      caller,
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kHalf || dtype == at::kBFloat16,
      name, " must be float16, bfloat16, float32 or float64, got ", dtype);
}

void check_int64(const char* caller, const char* name, const at::Tensor& tensor) {
  check_strided(caller, name, tensor);
  PACO_CHECK(caller, tensor.scalar_type() == at::kLong, name, " must be int64, got ",
             tensor.scalar_type());
}

// No two numbers of a tensor that is written may share memory, as those of an expanded one do.
void check_no_overlap(const char* caller, const char* name, const at::Tensor& tensor) {
  if (tensor.unsafeGetTensorImpl()->has_symbolic_sizes_strides()) return;
  std::vector<std::pair<int64_t, int64_t>> dims;  // stride and size
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) > 1) dims.emplace_back(tensor.stride(d), tensor.size(d));
  }
  std::sort(dims.begin(), dims.end());
  int64_t end = 1;  // of the numbers along the dimensions so far
  bool overlaps = false;
  for (const auto& [stride, size] : dims) {
    overlaps = overlaps || stride < end;
    end += stride * (size - 1);
  }
  PACO_CHECK(caller, !overlaps || tensor.numel() == 0, name, " must not overlap itself, got sizes ",
             tensor.sizes(), " with strides ", tensor.strides());
}

void check_device(const char* caller, const char* name, const at::Tensor& tensor,
                  const char* other_name, const at::Tensor& other) {
  PACO_CHECK(caller, tensor.device() == other.device(), name, " must be on the device of ",
             other_name, " (", other.device(), "), got ", tensor.device());
}

void check_labels(const char* caller, const char* name, const at::Tensor& labels,
                  const char* rows_name, const at::Tensor& rows) {
  PACO_CHECK(caller, labels.dim() == 1 && labels.sym_size(0) == rows.sym_size(0), name,
             " must have one entry for each row of ", rows_name, " ", rows.sym_sizes(), ", got ",
             labels.sym_sizes());
  check_int64(caller, name, labels);
  check_device(caller, name, labels, rows_name, rows);
}

// Kernels compute with this number in the dtype of the sums, where it must not vanish, and its
// products with the number of rows not overflow.
void check_computable(const char* caller, const char* name, double value, c10::ScalarType dtype) {
  if (dtype == at::kDouble) return;
  static constexpr double kSmallest = std::numeric_limits<float>::min();
  static constexpr double kLargest = 1e30;
  PACO_CHECK(caller, value == 0 || (value >= kSmallest && value <= kLargest), name,
             " must be 0 or between ", kSmallest, " and ", kLargest,
             " unless features are float64, got ", value);
}

void check_features(const char* caller, const at::Tensor& features) {
  PACO_CHECK(caller, features.dim() == 2 && features.sym_size(0) > 0 && features.sym_size(1) > 0,
             "features must be [M, D] with at least one row and column, got ",
             features.sym_sizes());
  check_dtype(caller, "features", features);
}

void check_queue(const char* caller, const at::Tensor& features,
                 const OptionalTensor& optional_queue, const OptionalTensor& queue_labels,
                 const OptionalTensor& optional_num_valid) {
  PACO_CHECK(caller, optional_queue.has_value() == queue_labels.has_value(),
             "queue and queue_labels must be given together, got only ",
             optional_queue ? "queue" : "queue_labels");
  if (optional_queue) {
    const at::Tensor& queue = *optional_queue;
    PACO_CHECK(caller, queue.dim() == 2 && queue.sym_size(1) == features.sym_size(1),
               "queue must be [K, D] with the D of features ", features.sym_sizes(), ", got ",
               queue.sym_sizes());
    PACO_CHECK(caller, queue.scalar_type() == features.scalar_type(), "queue must be ",
               features.scalar_type(), " (as features), got ", queue.scalar_type());
    check_device(caller, "queue", queue, "features", features);
    check_labels(caller, "queue_labels", *queue_labels, "queue", queue);
  }
  if (optional_num_valid) {
    const at::Tensor& num_valid = *optional_num_valid;
    PACO_CHECK(caller, optional_queue, "num_valid needs a queue");
    PACO_CHECK(
        caller,
        num_valid.dim() <= 1 && num_valid.sym_numel() == 1 && num_valid.scalar_type() == at::kLong,
        "num_valid must be one int64, got ", num_valid.scalar_type(), " ", num_valid.sym_sizes());
    check_device(caller, "num_valid", num_valid, "features", features);
  }
}

// The arguments that forward and backward pass have in common.
void check_anchors(const at::Tensor& features, const at::Tensor& labels,
                   const OptionalTensor& center_logits, const OptionalTensor& anchor_weight,
                   const OptionalTensor& class_counts, const c10::SymInt& num_anchors,
                   const PaCoLossOptions& options, const OptionalTensor& soft_targets) {
  check_loss_options(kLoss, options);
  check_features(kLoss, features);
  const auto check = [&](const char* name, double value) {
    check_computable(kLoss, name, value, accumulate_type(features.scalar_type()));
  };
  check("alpha", options.alpha);
  check("beta", options.beta);
  check("gamma", options.gamma);
  check("temperature", options.temperature);
  check("base_temperature", options.base_temperature.value_or(options.temperature));
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
    const auto accumulate = accumulate_type(features.scalar_type());
    PACO_CHECK(kLoss,
               center_logits->scalar_type() == features.scalar_type() ||
                   center_logits->scalar_type() == accumulate,
               "center_logits must be ", features.scalar_type(), " (as features) or ", accumulate,
               ", got ", center_logits->scalar_type());
    check_device(kLoss, "center_logits", *center_logits, "features", features);
    PACO_CHECK(kLoss, options.label_smoothing == 0 || center_logits->sym_size(1) > 1,
               "label_smoothing must be 0 with a single class, got ", options.label_smoothing);
    PACO_CHECK(kLoss, options.alpha + options.beta > 0, "alpha and beta must not both be 0");
  } else {
    PACO_CHECK(kLoss, options.alpha > 0, "alpha must be > 0 without center_logits, got ",
               options.alpha);
    PACO_CHECK(kLoss, options.gamma > 0, "gamma must be > 0 without center_logits, got ",
               options.gamma);
  }
  if (class_counts) {
    PACO_CHECK(kLoss, !center_logits, "class_counts must be left out with center_logits");
    PACO_CHECK(kLoss, class_counts->dim() == 1 && class_counts->sym_size(0) > 0,
               "class_counts must be [C] with C > 0, got ", class_counts->sym_sizes());
    check_int64(kLoss, "class_counts", *class_counts);
    check_device(kLoss, "class_counts", *class_counts, "features", features);
  }
  if (anchor_weight) {
    PACO_CHECK(kLoss, anchor_weight->dim() == 1 && anchor_weight->sym_size(0) == num_anchors,
               "anchor_weight must be [num_anchors] with num_anchors ", num_anchors, ", got ",
               anchor_weight->sym_sizes());
    PACO_CHECK(kLoss, at::isFloatingType(anchor_weight->scalar_type()),
               "anchor_weight must be floating, got ", anchor_weight->scalar_type());
    check_device(kLoss, "anchor_weight", *anchor_weight, "features", features);
  }
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

c10::ScalarType accumulate_type(c10::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

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

void check_paco_loss(const PaCoLossArguments& args) {
  const at::Tensor& features = args.features;
  check_anchors(features, args.labels, args.center_logits, args.anchor_weight, args.class_counts,
                args.count_anchors(), args.options, args.soft_targets);
  check_queue(kLoss, features, args.queue, args.queue_labels, args.num_valid);
}

void check_temperature(const char* caller, double temperature) {
  check_positive(caller, "temperature", temperature);
}

void check_bcl_loss(const BCLLossArguments& args) {
  const at::Tensor& features = args.features;
  const at::Tensor& prototypes = args.prototypes;
  check_temperature(kBCLLoss, args.temperature);
  check_features(kBCLLoss, features);
  check_computable(kBCLLoss, "temperature", args.temperature,
                   accumulate_type(features.scalar_type()));
  check_labels(kBCLLoss, "labels", args.labels, "features", features);
  PACO_CHECK(kBCLLoss,
             prototypes.dim() == 2 && prototypes.sym_size(0) > 0 &&
                 prototypes.sym_size(1) == features.sym_size(1),
             "prototypes must be [C, D] with at least one row and the D of features ",
             features.sym_sizes(), ", got ", prototypes.sym_sizes());
  check_strided(kBCLLoss, "prototypes", prototypes);
  PACO_CHECK(kBCLLoss, prototypes.scalar_type() == features.scalar_type(), "prototypes must be ",
             features.scalar_type(), " (as features), got ", prototypes.scalar_type());
  check_device(kBCLLoss, "prototypes", prototypes, "features", features);
  check_queue(kBCLLoss, features, args.queue, args.queue_labels, args.num_valid);
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

void check_center_options(const char* caller, bool has_bias, double center_temperature, double tau,
                          std::optional<double> scale) {
  check_positive(caller, "center_temperature", center_temperature);
  check_not_negative(caller, "tau", tau);
  if (!scale) return;
  check_positive(caller, "scale", *scale);
  PACO_CHECK(caller, !has_bias, "bias must be left out with a scale: a cosine has none");
  PACO_CHECK(caller, center_temperature == 1,
             "center_temperature must be 1 with a scale, which takes its place, got ",
             center_temperature);
}

void check_center_logits(const CenterLogitsArguments& args) {
  check_center_options(kCenters, args.bias.has_value(), args.center_temperature, args.tau,
                       args.scale);
  const at::Tensor& x = args.x;
  const at::Tensor& weight = args.weight;
  PACO_CHECK(kCenters, x.dim() == 2, "x must be [A, F], got ", x.sym_sizes());
  PACO_CHECK(kCenters, at::isFloatingType(x.scalar_type()), "x must be floating, got ",
             x.scalar_type());
  PACO_CHECK(kCenters, weight.dim() == 2 && weight.sym_size(1) == x.sym_size(1),
             "weight must be [C, F] with the F of x ", x.sym_sizes(), ", got ", weight.sym_sizes());
  const auto check_like_x = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(kCenters, tensor.scalar_type() == x.scalar_type(), name, " must be ",
               x.scalar_type(), " (as x), got ", tensor.scalar_type());
    check_device(kCenters, name, tensor, "x", x);
  };
  const auto check_per_class = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(kCenters, tensor.dim() == 1 && tensor.sym_size(0) == weight.sym_size(0), name,
               " must be [C] with the C of weight ", weight.sym_sizes(), ", got ",
               tensor.sym_sizes());
  };
  check_like_x("weight", weight);
  if (args.bias) {
    check_per_class("bias", *args.bias);
    check_like_x("bias", *args.bias);
  }
  if (args.log_prior) {
    const at::Tensor& log_prior = *args.log_prior;
    check_per_class("log_prior", log_prior);
    PACO_CHECK(kCenters,
               log_prior.scalar_type() == at::kFloat || log_prior.scalar_type() == at::kDouble,
               "log_prior must be float32 or float64, got ", log_prior.scalar_type());
    check_device(kCenters, "log_prior", log_prior, "x", x);
  }
}

void check_queue_enqueue(const QueueEnqueueArguments& args) {
  const at::Tensor& queue = args.queue;
  const at::Tensor& keys = args.keys;
  PACO_CHECK(kEnqueue, queue.dim() == 2 && queue.sym_size(0) > 0,
             "queue must be [K, D] with K > 0, got ", queue.sym_sizes());
  check_dtype(kEnqueue, "queue", queue);
  PACO_CHECK(kEnqueue, keys.dim() == 2 && keys.sym_size(1) == queue.sym_size(1),
             "keys must be [B, D] with the D of queue ", queue.sym_sizes(), ", got ",
             keys.sym_sizes());
  check_dtype(kEnqueue, "keys", keys);
  check_device(kEnqueue, "keys", keys, "queue", queue);
  const auto check_vector = [&](const char* name, const at::Tensor& tensor,
                                const c10::SymInt& size) {
    PACO_CHECK(kEnqueue, tensor.dim() == 1 && tensor.sym_size(0) == size, name, " must be [", size,
               "], got ", tensor.sym_sizes());
    check_int64(kEnqueue, name, tensor);
    check_device(kEnqueue, name, tensor, "queue", queue);
  };
  check_vector("queue_labels", args.queue_labels, queue.sym_size(0));
  check_vector("queue_state", args.queue_state, 2);
  check_vector("labels", args.labels, keys.sym_size(0));
  check_no_overlap(kEnqueue, "queue", queue);
  check_no_overlap(kEnqueue, "queue_labels", args.queue_labels);
  check_no_overlap(kEnqueue, "queue_state", args.queue_state);
}

void check_vmf_logits(const VmfLogitsArguments& args) {
  const at::Tensor& features = args.features;
  const at::Tensor& mean_direction = args.mean_direction;
  PACO_CHECK(kVmf, features.dim() == 2 && features.sym_size(0) > 0,
             "features must be [A, D] with at least one row, got ", features.sym_sizes());
  check_dtype(kVmf, "features", features);
  PACO_CHECK(kVmf, features.sym_size(1) >= 2,
             "features must be [A, D] with D >= 2, where there are ",
             "directions to spread over, got ", features.sym_sizes());
  check_temperature(kVmf, args.temperature);
  const auto dtype = accumulate_type(features.scalar_type());
  check_computable(kVmf, "temperature", args.temperature, dtype);
  PACO_CHECK(kVmf,
             mean_direction.dim() == 2 && mean_direction.sym_size(0) > 0 &&
                 mean_direction.sym_size(1) == features.sym_size(1),
             "mean_direction must be [C, D] with at least one row and the D of features ",
             features.sym_sizes(), ", got ", mean_direction.sym_sizes());
  PACO_CHECK(
      kVmf,
      args.concentration.dim() == 1 && args.concentration.sym_size(0) == mean_direction.sym_size(0),
      "concentration must have one entry for each row of mean_direction ",
      mean_direction.sym_sizes(), ", got ", args.concentration.sym_sizes());
  const auto check_statistics = [&](const char* name, const at::Tensor& tensor) {
    check_strided(kVmf, name, tensor);
    PACO_CHECK(kVmf, tensor.scalar_type() == dtype, name, " must be ", dtype,
               " beside features of ", features.scalar_type(), ", got ", tensor.scalar_type());
    check_device(kVmf, name, tensor, "features", features);
  };
  check_statistics("mean_direction", mean_direction);
  check_statistics("concentration", args.concentration);
}

void check_vmf_logits_backward(const VmfLogitsBackwardArguments& args) {
  check_vmf_logits(args.forward);
  const at::Tensor& features = args.forward.features;
  const auto dtype = accumulate_type(features.scalar_type());
  const auto check_pairs = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(kVmf,
               tensor.dim() == 2 && tensor.sym_size(0) == features.sym_size(0) &&
                   tensor.sym_size(1) == args.forward.mean_direction.sym_size(0),
               name, " must be [A, C] of features and mean_direction, got ", tensor.sym_sizes());
    PACO_CHECK(kVmf, tensor.scalar_type() == dtype, name, " must be ", dtype, ", got ",
               tensor.scalar_type());
    check_device(kVmf, name, tensor, "features", features);
  };
  check_pairs("grad_logits", args.grad_logits);
  check_pairs("slope", args.slope);
}

void check_class_mean_update(const ClassMeanUpdateArguments& args) {
  const at::Tensor& mean = args.class_mean;
  const at::Tensor& features = args.features;
  PACO_CHECK(kClassMean, mean.dim() == 2 && mean.sym_size(0) > 0 && mean.sym_size(1) > 0,
             "class_mean must be [C, D] with at least one row and column, got ", mean.sym_sizes());
  check_strided(kClassMean, "class_mean", mean);
  PACO_CHECK(kClassMean, mean.scalar_type() == at::kFloat || mean.scalar_type() == at::kDouble,
             "class_mean must be float32 or float64, which a mean of many rows needs, got ",
             mean.scalar_type());
  PACO_CHECK(kClassMean, features.dim() == 2 && features.sym_size(1) == mean.sym_size(1),
             "features must be [N, D] with the D of class_mean ", mean.sym_sizes(), ", got ",
             features.sym_sizes());
  check_dtype(kClassMean, "features", features);
  check_device(kClassMean, "features", features, "class_mean", mean);
  check_labels(kClassMean, "class_count", args.class_count, "class_mean", mean);
  check_labels(kClassMean, "labels", args.labels, "features", features);
  check_no_overlap(kClassMean, "class_mean", mean);
  check_no_overlap(kClassMean, "class_count", args.class_count);
}

}  // namespace paco
