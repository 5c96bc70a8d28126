#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "../kernels/vmf_logits_problem.h"
#include "checks.h"
#include "dense_tensors.h"

namespace paco {

// Borrowed for the length of one call.
struct VmfLogitsArguments {
  const at::Tensor& features;
  const at::Tensor& mean_direction;
  const at::Tensor& concentration;
  double temperature;
};

// The logits, and what the backward pass needs of the forward pass; see library.cpp.
struct VmfLogitsState {
  at::Tensor logits;  // [A, C]
  at::Tensor slope;   // [A, C]; empty where not wanted
};

struct VmfLogitsBackwardArguments {
  const at::Tensor& grad_logits;
  const at::Tensor& slope;
  VmfLogitsArguments forward;
};

// See kernels/vmf_logits_problem.h.
bool vmf_computes_in_double(const VmfLogitsArguments& args);

// The halves of the operator, as calls of the dispatcher.
VmfLogitsState vmf_logits_forward(const VmfLogitsArguments& args, bool features_grad);
at::Tensor vmf_logits_backward(const VmfLogitsBackwardArguments& args);

// What the forward pass fills, on symbolic shapes too.
VmfLogitsState empty_vmf_state(const VmfLogitsArguments& args, bool features_grad);

// The kernel vmf_logits of one dispatch key.
template <at::Tensor (*function)(const VmfLogitsArguments& args)>
at::Tensor vmf_logits_adaptor(const at::Tensor& features, const at::Tensor& mean_direction,
                              const at::Tensor& concentration, double temperature) {
  return function({features, mean_direction, concentration, temperature});
}

// The kernel vmf_logits_forward of one dispatch key.
template <VmfLogitsState (*forward)(const VmfLogitsArguments& args, bool features_grad)>
std::tuple<at::Tensor, at::Tensor> vmf_forward_adaptor(const at::Tensor& features,
                                                       const at::Tensor& mean_direction,
                                                       const at::Tensor& concentration,
                                                       double temperature, bool features_grad) {
  const VmfLogitsArguments args{features, mean_direction, concentration, temperature};
  check_vmf_logits(args);
  auto [logits, slope] = forward(args, features_grad);
  return {logits, slope};
}

// The kernel vmf_logits_backward of one dispatch key.
template <auto function>
at::Tensor vmf_backward_adaptor(const at::Tensor& grad_logits, const at::Tensor& features,
                                const at::Tensor& mean_direction, const at::Tensor& concentration,
                                const at::Tensor& slope, double temperature) {
  const VmfLogitsBackwardArguments args{
      grad_logits, slope, {features, mean_direction, concentration, temperature}};
  check_vmf_logits_backward(args);
  return function(args);
}

// From the struct to plain pointers.
class DenseVmf : DenseTensors {
 public:
  explicit DenseVmf(const VmfLogitsArguments& args);

  VmfProblem problem;
};

}  // namespace paco
