#include <vector>

#include "check_values.h"
#include "gradients.h"
#include "paco_loss.h"

namespace paco::cpu {
namespace {

template <typename T>
void backward(const PaCoLossProblem& problem, const PaCoLossGradients& gradients,
              const Threads& threads) {
  check_values<T>(problem);
  const std::vector<T> scales = anchor_scales<T>(problem, gradients);
  if (gradients.grad_features != nullptr) feature_gradient(problem, scales, gradients, threads);
  if (gradients.grad_center_logits != nullptr) center_gradient(problem, scales, gradients, threads);
}

}  // namespace

void paco_loss_backward(const PaCoLossProblem& problem, const PaCoLossGradients& gradients,
                        const Threads& threads) {
  problem.type == ElementType::kFloat64 ? backward<double>(problem, gradients, threads)
                                        : backward<float>(problem, gradients, threads);
}

}  // namespace paco::cpu
