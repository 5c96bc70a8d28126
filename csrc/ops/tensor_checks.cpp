#include "tensor_checks.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace paco {

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

void check_constant(const char* caller, const char* name, const OptionalTensor& tensor) {
  PACO_CHECK(caller, !(tensor && at::GradMode::is_enabled() && tensor->requires_grad()), name,
             " must not require a gradient (none flows to it); detach it");
}

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

void check_like(const char* caller, const char* name, const at::Tensor& tensor,
                const char* other_name, const at::Tensor& other) {
  check_strided(caller, name, tensor);
  PACO_CHECK(caller, tensor.scalar_type() == other.scalar_type(), name, " must be ",
             other.scalar_type(), " (as ", other_name, "), got ", tensor.scalar_type());
  check_device(caller, name, tensor, other_name, other);
}

void check_state(const char* caller, const char* name, const at::Tensor& state,
                 c10::SymIntArrayRef sizes, c10::ScalarType dtype, const char* other_name,
                 const at::Tensor& other) {
  PACO_CHECK(caller, state.sym_sizes() == sizes, name, " must be ", sizes, ", got ",
             state.sym_sizes());
  check_strided(caller, name, state);
  PACO_CHECK(caller, state.scalar_type() == dtype, name, " must be ", dtype, ", got ",
             state.scalar_type());
  check_device(caller, name, state, other_name, other);
}

void check_labels(const char* caller, const char* name, const at::Tensor& labels,
                  const char* rows_name, const at::Tensor& rows) {
  PACO_CHECK(caller, labels.dim() == 1 && labels.sym_size(0) == rows.sym_size(0), name,
             " must have one entry for each row of ", rows_name, " ", rows.sym_sizes(), ", got ",
             labels.sym_sizes());
  check_int64(caller, name, labels);
  check_device(caller, name, labels, rows_name, rows);
}

void check_label_vectors(const char* caller, const char* name, const at::Tensor& labels,
                         const char* rows_name, const at::Tensor& rows,
                         const c10::SymInt& num_classes) {
  PACO_CHECK(caller,
             labels.dim() == 2 && labels.sym_size(0) == rows.sym_size(0) &&
                 labels.sym_size(1) == num_classes,
             name, " must be [rows, C] with C = ", num_classes, " and the rows of ", rows_name, " ",
             rows.sym_sizes(), ", got ", labels.sym_sizes());
  check_strided(caller, name, labels);
  PACO_CHECK(caller, labels.scalar_type() == at::kBool, name,
             " must be bool, which classes a row has, got ", labels.scalar_type());
  check_device(caller, name, labels, rows_name, rows);
}

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

void check_queue_rows(const char* caller, const at::Tensor& features,
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
    check_like(caller, "queue", queue, "features", features);
  }
  if (optional_num_valid) {
    const at::Tensor& num_valid = *optional_num_valid;
    PACO_CHECK(caller, optional_queue, "num_valid needs a queue");
    check_strided(caller, "num_valid", num_valid);
    PACO_CHECK(
        caller,
        num_valid.dim() <= 1 && num_valid.sym_numel() == 1 && num_valid.scalar_type() == at::kLong,
        "num_valid must be one int64, got ", num_valid.scalar_type(), " ", num_valid.sym_sizes());
    check_device(caller, "num_valid", num_valid, "features", features);
  }
}

void check_queue(const char* caller, const at::Tensor& features, const OptionalTensor& queue,
                 const OptionalTensor& queue_labels, const OptionalTensor& num_valid) {
  check_queue_rows(caller, features, queue, queue_labels, num_valid);
  if (queue) check_labels(caller, "queue_labels", *queue_labels, "queue", *queue);
}

c10::ScalarType accumulate_type(c10::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

void check_temperature(const char* caller, double temperature) {
  check_positive(caller, "temperature", temperature);
}

}  // namespace paco
