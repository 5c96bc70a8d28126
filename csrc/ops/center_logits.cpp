#include "center_logits.h"

#include "find_operator.h"

namespace paco {

at::Tensor center_logits(const at::Tensor& x, const at::Tensor& weight,
                         const std::optional<at::Tensor>& bias,
                         const std::optional<at::Tensor>& log_prior, double center_temperature,
                         double tau, std::optional<double> scale) {
  static const auto op = find_operator<decltype(center_logits)>("paco::center_logits");
  return op.call(x, weight, bias, log_prior, center_temperature, tau, scale);
}

}  // namespace paco
