#pragma once

#include <ATen/core/Tensor.h>

#include "../kernels/class_mean_problem.h"
#include "checks.h"
#include "queue_enqueue_arguments.h"

namespace paco {

// Borrowed for the length of one call.
struct ClassMeanUpdateArguments {
  const at::Tensor& class_mean;
  const at::Tensor& class_count;
  const at::Tensor& features;
  const at::Tensor& labels;
};

// A kernel of class_mean_update_ that calls a function of the struct, once it is checked. Kernels
// see dense tensors; what is written goes back to where it belongs.
template <auto function>
void class_mean_update_adaptor(const at::Tensor& class_mean, const at::Tensor& class_count,
                               const at::Tensor& features, const at::Tensor& labels) {
  check_class_mean_update({class_mean, class_count, features, labels});
  const at::Tensor mean = class_mean.contiguous();
  const at::Tensor count = class_count.contiguous();
  const at::Tensor own_features = apart_from(class_mean, features).contiguous();
  const at::Tensor own_labels = apart_from(class_count, labels).contiguous();
  function(ClassMeanUpdateArguments{mean, count, own_features, own_labels});
  if (!mean.is_same(class_mean)) class_mean.copy_(mean);
  if (!count.is_same(class_count)) class_count.copy_(count);
}

// Dense arguments as kernels take them.
ClassMeanProblem class_mean_problem(const ClassMeanUpdateArguments& args);

}  // namespace paco
