#pragma once

#include <ATen/core/Tensor.h>

#include <type_traits>

#include "bcl_loss.h"
#include "checks.h"
#include "paco_loss_arguments.h"

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

// A kernel with the arguments of bcl_loss that calls a function of the struct.
template <auto function>
at::Tensor bcl_loss_adaptor(const at::Tensor& features, const at::Tensor& labels,
                            const at::Tensor& prototypes, const OptionalTensor& queue,
                            const OptionalTensor& queue_labels, const OptionalTensor& num_valid,
                            double temperature) {
  return function(
      BCLLossArguments{features, labels, prototypes, queue, queue_labels, num_valid, temperature});
}

// BCL as a PaCo loss: prototypes are rows that are no anchors, there are no centers, and pairs are
// weighed by the counts of their classes.
class BCLAsPaCo {
 public:
  // Checks the arguments.
  explicit BCLAsPaCo(const BCLLossArguments& args);

  // Borrows of this object and of the arguments.
  PaCoLossArguments arguments() const;

 private:
  const BCLLossArguments& args_;
  at::Tensor rows_;          // [M + C, D]
  at::Tensor labels_;        // [M + C]
  at::Tensor class_counts_;  // [C]
};

}  // namespace paco
