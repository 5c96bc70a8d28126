#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>

#include "composite.h"

namespace paco::composite {
namespace {

// The norm is float32 at least: in float16 its floor would be 0.
at::Tensor unit_rows(const at::Tensor& rows) {
  const auto wide = rows.to(at::toOpMathType(rows.scalar_type()));
  return (wide / wide.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12)).to(rows.scalar_type());
}

}  // namespace

at::Tensor center_logits(const CenterLogitsArguments& args) {
  check_center_logits(args);
  const auto inputs = args.scale ? unit_rows(args.x) : args.x;
  const auto centers = args.scale ? unit_rows(args.weight) : args.weight;
  OptionalTensor prior;
  if (args.log_prior) prior = args.tau == 1 ? *args.log_prior : *args.log_prior * args.tau;
  // The per-class terms, [C], are added to each other, and then in the product's epilogue, where
  // nothing is in the way.
  const bool fused = prior && !args.scale && args.center_temperature == 1 &&
                     prior->scalar_type() == args.x.scalar_type();
  const auto per_class = fused && args.bias ? *args.bias + *prior : fused ? prior : args.bias;
  auto logits = at::linear(inputs, centers, per_class);
  if (args.scale) {
    logits = logits * *args.scale;
  } else if (args.center_temperature != 1) {
    logits = logits / args.center_temperature;
  }
  return prior && !fused ? logits + *prior : logits;
}

}  // namespace paco::composite
