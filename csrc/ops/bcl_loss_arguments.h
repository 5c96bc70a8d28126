#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "../kernels/bcl_loss_problem.h"
#include "bcl_loss.h"
#include "checks.h"
#include "dense_tensors.h"

namespace paco {

// Borrowed for the length of one call.
struct BCLLossArguments {
  const at::Tensor& features;
  const at::Tensor& labels;
  const at::Tensor& prototypes;
  const OptionalTensor& queue;
  const OptionalTensor& queue_labels;
  const OptionalTensor& num_valid;
  double temperature;
};

// The loss and its gradient; see library.cpp.
struct BCLLossState {
  at::Tensor loss;      // []
  at::Tensor gradient;  // [M + C, D]; empty where not wanted
};

struct BCLLossBackwardArguments {
  const at::Tensor& grad_loss;
  const at::Tensor& features;
  const at::Tensor& prototypes;
  const at::Tensor& gradient;
};

// What the forward pass fills, on symbolic shapes too.
BCLLossState empty_state(const BCLLossArguments& args, bool gradient);

// The halves of the operator, as calls of the dispatcher.
BCLLossState bcl_loss_forward(const BCLLossArguments& args, bool gradient);
at::Tensor bcl_loss_backward(const BCLLossBackwardArguments& args);

// The kernel bcl_loss of one dispatch key.
template <at::Tensor (*loss)(const BCLLossArguments& args)>
at::Tensor bcl_loss_adaptor(const at::Tensor& features, const at::Tensor& labels,
                            const at::Tensor& prototypes, const OptionalTensor& queue,
                            const OptionalTensor& queue_labels, const OptionalTensor& num_valid,
                            double temperature) {
  return loss({features, labels, prototypes, queue, queue_labels, num_valid, temperature});
}

// The kernel bcl_loss_forward of one dispatch key.
template <BCLLossState (*forward)(const BCLLossArguments& args, bool gradient)>
std::tuple<at::Tensor, at::Tensor> bcl_forward_adaptor(
    const at::Tensor& features, const at::Tensor& labels, const at::Tensor& prototypes,
    const OptionalTensor& queue, const OptionalTensor& queue_labels,
    const OptionalTensor& num_valid, double temperature, bool gradient) {
  const BCLLossArguments args{features,     labels,    prototypes, queue,
                              queue_labels, num_valid, temperature};
  check_bcl_loss(args);
  auto [loss, gradient_of_loss] = forward(args, gradient);
  return {loss, gradient_of_loss};
}

// The kernel bcl_loss_backward of one dispatch key.
template <auto function>
at::Tensor bcl_backward_adaptor(const at::Tensor& grad_loss, const at::Tensor& features,
                                const at::Tensor& prototypes, const at::Tensor& gradient) {
  const BCLLossBackwardArguments args{grad_loss, features, prototypes, gradient};
  check_bcl_loss_backward(args);
  return function(args);
}

// From the struct to plain pointers.
class DenseBCLLoss : DenseTensors {
 public:
  explicit DenseBCLLoss(const BCLLossArguments& args);

  BCLLossProblem problem;
};

}  // namespace paco
