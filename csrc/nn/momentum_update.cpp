#include "momentum_update.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <c10/util/Exception.h>

namespace paco::nn {

void momentum_update_(const std::vector<at::Tensor>& key_parameters,
                      const std::vector<at::Tensor>& query_parameters, double momentum) {
  TORCH_CHECK_VALUE(momentum >= 0 && momentum <= 1,
                    "momentum_update_: momentum must lie in [0, 1], got ", momentum);
  const at::NoGradGuard no_grad;
  at::_foreach_lerp_(key_parameters, query_parameters, 1 - momentum);
}

}  // namespace paco::nn
