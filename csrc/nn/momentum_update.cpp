#include "momentum_update.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <c10/util/Exception.h>

namespace paco::nn {

void momentum_update_(const std::vector<at::Tensor>& key_parameters,
                      const std::vector<at::Tensor>& query_parameters, double momentum) {
  TORCH_CHECK_VALUE(momentum >= 0 && momentum <= 1,
                    "momentum_update_: momentum must lie in [0, 1], got ", momentum);
  TORCH_CHECK_VALUE(key_parameters.size() == query_parameters.size(),
                    "momentum_update_: query_parameters must be as many as key_parameters, ",
                    key_parameters.size(), ", got ", query_parameters.size());
  for (size_t i = 0; i < key_parameters.size(); ++i) {
    TORCH_CHECK_VALUE(key_parameters[i].sizes() == query_parameters[i].sizes(),
                      "momentum_update_: query_parameters[", i, "] must be ",
                      key_parameters[i].sizes(), " as in key_parameters, got ",
                      query_parameters[i].sizes());
  }
  if (key_parameters.empty()) return;
  const at::NoGradGuard no_grad;
  at::_foreach_lerp_(key_parameters, query_parameters, 1 - momentum);
}

}  // namespace paco::nn
