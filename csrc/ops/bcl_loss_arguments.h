#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../kernels/bcl_loss_problem.h"
#include "bcl_loss.h"
#include "checks.h"

namespace paco {

// Borrowed for the length of one call.
struct BCLLossArguments {
  const at::Tensor& features;
  const at::Tensor& labels;
  const at::Tensor& prototypes;
  const std::optional<at::Tensor>& queue;
  const std::optional<at::Tensor>& queue_labels;
  const std::optional<at::Tensor>& num_valid;
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

// A kernel with the arguments of bcl_loss, and perhaps more, that calls a function of the struct.
template <auto function, typename... Rest>
std::invoke_result_t<decltype(function), const BCLLossArguments&, Rest...> bcl_loss_adaptor(
    const at::Tensor& features, const at::Tensor& labels, const at::Tensor& prototypes,
    const std::optional<at::Tensor>& queue, const std::optional<at::Tensor>& queue_labels,
    const std::optional<at::Tensor>& num_valid, double temperature, Rest... rest) {
  return function(
      BCLLossArguments{features, labels, prototypes, queue, queue_labels, num_valid, temperature},
      rest...);
}

using BCLLossForward = BCLLossState(const BCLLossArguments& args, bool gradient);

template <BCLLossForward* forward>
std::tuple<at::Tensor, at::Tensor> checked_bcl_forward(const BCLLossArguments& args,
                                                       bool gradient) {
  check_bcl_loss(args);
  auto [loss, gradient_of_loss] = forward(args, gradient);
  return {loss, gradient_of_loss};
}

// The kernel bcl_loss_forward of one dispatch key.
template <BCLLossForward* forward>
constexpr auto* bcl_forward_adaptor = &bcl_loss_adaptor<checked_bcl_forward<forward>, bool>;

// The kernel bcl_loss_backward of one dispatch key.
template <auto function>
at::Tensor bcl_backward_adaptor(const at::Tensor& grad_loss, const at::Tensor& features,
                                const at::Tensor& prototypes, const at::Tensor& gradient) {
  const BCLLossBackwardArguments args{grad_loss, features, prototypes, gradient};
  check_bcl_loss_backward(args);
  return function(args);
}

// From the struct to plain pointers. Owns what had to be copied to be dense.
class DenseBCLLoss {
 public:
  explicit DenseBCLLoss(const BCLLossArguments& args);

  BCLLossProblem problem;

 private:
  std::vector<at::Tensor> kept_;
};

}  // namespace paco
