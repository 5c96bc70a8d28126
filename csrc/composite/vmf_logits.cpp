#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include "../kernels/vmf_series.h"
#include "check_values.h"
#include "composite.h"

namespace paco::composite {
namespace {

template <int kTerms, typename T>
at::Tensor polynomial(const T (&coefficients)[kTerms], const at::Tensor& u) {
  auto sum = u * coefficients[kTerms - 1] + coefficients[kTerms - 2];
  for (int k = kTerms - 3; k >= 0; --k) sum.mul_(u).add_(coefficients[k]);
  return sum;
}

// The formula of kernels/vmf_element.h, in T.
template <typename T>
VmfLogitsState forward(const VmfLogitsArguments& args, const at::Tensor& concentration,
                       bool features_grad) {
  const VmfSeries<T> series = vmf_series<T>(args.features.size(1));
  const auto dtype = c10::CppTypeToScalarType<T>::value;
  const double temperature = args.temperature;
  const double a2 = static_cast<double>(series.offset) * series.offset;
  const auto position = [&](const at::Tensor& radius) {
    return radius.reciprocal().mul_(2 * static_cast<double>(series.offset)).sub_(1);
  };
  const auto z = args.features.to(dtype);
  const auto kappa = concentration.to(dtype);
  const auto class_radius = (kappa.square() + a2).sqrt_();
  const auto class_value = polynomial(series.value, position(class_radius));

  auto step = z.matmul(args.mean_direction.to(dtype).t()).mul_(kappa * (2 / temperature));
  step.add_((z / temperature).square_().sum(1, true));
  const auto radius = (step + class_radius.square()).clamp_min_(a2).sqrt_();
  step.div_(radius + class_radius);
  const auto u = position(radius);
  auto logits = (step / (class_radius + series.offset)).log1p_().mul_(-series.factor);
  logits.add_(step).add_(polynomial(series.value, u).sub_(class_value));
  const auto out = args.mean_direction.scalar_type();
  auto slope = features_grad ? polynomial(series.slope, u).div_(radius).div_(temperature).to(out)
                             : at::empty({0}, args.mean_direction.options());
  return {logits.to(out), slope};
}

}  // namespace

at::Tensor checked_concentration(const VmfLogitsArguments& args) {
  const at::Tensor& kappa = args.concentration;
  check_values("vmf_logits", kappa.ge(0).logical_and_(kappa.isfinite()).all(),
               "concentration must be finite and >= 0");
  const auto square = args.mean_direction.square().sum(1);
  const auto uniform = square.eq(0);
  check_values("vmf_logits", uniform.logical_or((square - 1).abs_().le(1e-4)).all(),
               "mean_direction must have rows of length 1 or 0");
  return kappa.masked_fill(uniform, 0);
}

VmfLogitsState vmf_logits_forward(const VmfLogitsArguments& args, bool features_grad) {
  const auto concentration = checked_concentration(args);
  return vmf_computes_in_double(args) ? forward<double>(args, concentration, features_grad)
                                      : forward<float>(args, concentration, features_grad);
}

at::Tensor vmf_logits_backward(const VmfLogitsBackwardArguments& args) {
  const auto& [features, mean_direction, concentration, temperature] = args.forward;
  const auto weights = args.grad_logits * args.slope;
  const auto from_classes = (weights * concentration).matmul(mean_direction);
  const auto from_features =
      features.to(weights.scalar_type()) * (weights.sum(1, true) / temperature);
  return (from_classes + from_features).to(features.scalar_type());
}

}  // namespace paco::composite
