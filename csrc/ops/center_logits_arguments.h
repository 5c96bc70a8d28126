#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "checks.h"

namespace paco {

// Borrowed for the length of one call.
struct CenterLogitsArguments {
  const at::Tensor& x;
  const at::Tensor& weight;
  const OptionalTensor& bias;
  const OptionalTensor& log_prior;
  double center_temperature;
  double tau;
  std::optional<double> scale;
};

// A kernel of center_logits that calls a function of the struct.
template <auto function>
at::Tensor center_logits_adaptor(const at::Tensor& x, const at::Tensor& weight,
                                 const OptionalTensor& bias, const OptionalTensor& log_prior,
                                 double center_temperature, double tau,
                                 std::optional<double> scale) {
  return function(
      CenterLogitsArguments{x, weight, bias, log_prior, center_temperature, tau, scale});
}

}  // namespace paco
