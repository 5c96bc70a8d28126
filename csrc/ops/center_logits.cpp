#include "center_logits.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <cmath>

#define PACO_CHECK(condition, ...) TORCH_CHECK_VALUE(condition, "center_logits: ", __VA_ARGS__)

namespace paco {
namespace {

void check_center_logits(const at::Tensor& x, const at::Tensor& weight,
                         const std::optional<at::Tensor>& bias,
                         const std::optional<at::Tensor>& log_prior, double supt) {
  PACO_CHECK(supt > 0 && std::isfinite(supt), "supt must be finite and > 0, got ", supt);
  PACO_CHECK(x.dim() == 2, "x must be [A, F], got ", x.sym_sizes());
  PACO_CHECK(at::isFloatingType(x.scalar_type()), "x must be floating, got ", x.scalar_type());
  PACO_CHECK(weight.dim() == 2 && weight.sym_size(1) == x.sym_size(1),
             "weight must be [C, F] with the F of x ", x.sym_sizes(), ", got ", weight.sym_sizes());
  const auto check_per_class = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(tensor.dim() == 1 && tensor.sym_size(0) == weight.sym_size(0), name,
               " must be [C] with the C of weight ", weight.sym_sizes(), ", got ",
               tensor.sym_sizes());
  };
  const auto check_like_x = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(tensor.scalar_type() == x.scalar_type(), name, " must be ", x.scalar_type(),
               " (as x), got ", tensor.scalar_type());
  };
  const auto check_device = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(tensor.device() == x.device(), name, " must be on the device of x (", x.device(),
               "), got ", tensor.device());
  };
  check_like_x("weight", weight);
  check_device("weight", weight);
  if (bias) {
    check_per_class("bias", *bias);
    check_like_x("bias", *bias);
    check_device("bias", *bias);
  }
  if (log_prior) {
    check_per_class("log_prior", *log_prior);
    PACO_CHECK(log_prior->scalar_type() == at::kFloat || log_prior->scalar_type() == at::kDouble,
               "log_prior must be float32 or float64, got ", log_prior->scalar_type());
    check_device("log_prior", *log_prior);
  }
}

// The norm is float32 at least: in float16 its floor would be 0.
at::Tensor unit_rows(const at::Tensor& rows) {
  const auto wide = rows.to(at::toOpMathType(rows.scalar_type()));
  return (wide / wide.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12)).to(rows.scalar_type());
}

// Made of differentiable ATen operators, so it needs no derivative of its own, runs on every
// device, and is transparent to torch.compile and torch.export.
at::Tensor center_logits_composite(const at::Tensor& x, const at::Tensor& weight,
                                   const std::optional<at::Tensor>& bias,
                                   const std::optional<at::Tensor>& log_prior, double supt,
                                   bool cosine) {
  check_center_logits(x, weight, bias, log_prior, supt);
  const auto inputs = cosine ? unit_rows(x) : x;
  const auto centers = cosine ? unit_rows(weight) : weight;
  // Where no dtype is in the way, the per-class terms are added to each other, [C], and then in the
  // product's epilogue.
  const bool fused = log_prior && log_prior->scalar_type() == x.scalar_type();
  const auto per_class = fused && bias ? *bias + *log_prior : fused ? log_prior : bias;
  auto logits = at::linear(inputs, centers, per_class);
  if (log_prior && !fused) logits = logits + *log_prior;
  return supt == 1 ? logits : logits / supt;
}

}  // namespace

at::Tensor center_logits(const at::Tensor& x, const at::Tensor& weight,
                         const std::optional<at::Tensor>& bias,
                         const std::optional<at::Tensor>& log_prior, double supt, bool cosine) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::center_logits", "")
                             .typed<decltype(center_logits)>();
  return op.call(x, weight, bias, log_prior, supt, cosine);
}

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

}  // namespace paco

TORCH_LIBRARY_IMPL(paco, CompositeImplicitAutograd, m) {
  m.impl("center_logits", TORCH_FN(paco::center_logits_composite));
}
