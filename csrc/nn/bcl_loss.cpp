#include "bcl_loss.h"

#include "../ops/bcl_loss.h"
#include "../ops/checks.h"

namespace paco::nn {

BCLLossImpl::BCLLossImpl(double temperature) : temperature(temperature) {
  check_temperature("BCLLoss", temperature);
}

torch::Tensor BCLLossImpl::forward(const torch::Tensor& features, const torch::Tensor& labels,
                                   const torch::Tensor& prototypes,
                                   const std::optional<torch::Tensor>& queue,
                                   const std::optional<torch::Tensor>& queue_labels,
                                   const std::optional<torch::Tensor>& num_valid) {
  return bcl_loss(features, labels, prototypes, queue, queue_labels, num_valid, temperature);
}

}  // namespace paco::nn
