#include "log_prior.h"

#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

namespace paco {

at::Tensor log_prior(const at::Tensor& class_counts) {
  TORCH_CHECK_VALUE(class_counts.dim() == 1 && class_counts.numel() > 0,
                    "log_prior: class_counts must be [C] with at least one class, got ",
                    class_counts.sizes());
  TORCH_CHECK_VALUE(!class_counts.is_complex(), "log_prior: class_counts must be real, got ",
                    class_counts.scalar_type());
  const auto counts = class_counts.to(at::kDouble);
  TORCH_CHECK_VALUE(counts.isfinite().logical_and(counts >= 0).all().item<bool>(),
                    "log_prior: class_counts must be finite and >= 0, got ", class_counts);
  const auto total = counts.sum();
  TORCH_CHECK_VALUE(total.item<double>() > 0, "log_prior: class_counts are all 0");
  return (counts / total + 1e-9).log().to(at::kFloat);
}

at::Tensor log_target_prior(const at::Tensor& target_prior, int64_t num_classes) {
  TORCH_CHECK_VALUE(target_prior.dim() == 1 && target_prior.numel() == num_classes,
                    "log_target_prior: target_prior must be [", num_classes,
                    "], a number for each class, got ", target_prior.sizes());
  TORCH_CHECK_VALUE(!target_prior.is_complex(), "log_target_prior: target_prior must be real, got ",
                    target_prior.scalar_type());
  const auto q = target_prior.to(at::kDouble);
  const auto valid = q.isfinite().logical_and(q >= 0).all().logical_and(q.any());
  TORCH_CHECK_VALUE(valid.item<bool>(),
                    "log_target_prior: target_prior must be finite, >= 0 and not all zero, got ",
                    target_prior);
  return (q / q.sum()).log();
}

}  // namespace paco
