#include "class_centers.h"

#include <c10/util/Exception.h>
#include <torch/nn/init.h>

#include <cmath>
#include <optional>

#include "../ops/center_logits.h"
#include "../ops/checks.h"
#include "log_prior.h"

namespace paco::nn {
namespace {

torch::Tensor logits(const ClassCentersImpl& centers, const torch::Tensor& x,
                     const std::optional<torch::Tensor>& log_prior) {
  const ClassCentersOptions& options = centers.options;
  const auto bias = centers.bias.defined() ? std::make_optional(centers.bias) : std::nullopt;
  return center_logits(x, centers.weight, bias, log_prior, options.center_temperature, options.tau,
                       options.scale);
}

}  // namespace

ClassCentersImpl::ClassCentersImpl(int64_t in_features, int64_t num_classes,
                                   const ClassCentersOptions& options)
    : options(options) {
  check_center_options("ClassCenters", options.bias.value_or(false), options.center_temperature,
                       options.tau, options.scale);
  weight = register_parameter("weight", torch::empty({num_classes, in_features}));
  if (options.bias.value_or(!options.scale)) {
    bias = register_parameter("bias", torch::empty({num_classes}));
  }
  log_prior = register_buffer("log_prior", torch::zeros({num_classes}, torch::kFloat32));
  reset_parameters();
}

void ClassCentersImpl::reset_parameters() {
  const double bound = 1 / std::sqrt(static_cast<double>(weight.size(1)));
  torch::nn::init::uniform_(weight, -bound, bound);
  if (bias.defined()) {
    torch::nn::init::uniform_(bias, -bound, bound);
  }
}

void ClassCentersImpl::set_class_counts(const torch::Tensor& class_counts) {
  const torch::Tensor prior = paco::log_prior(class_counts);
  TORCH_CHECK_VALUE(prior.sizes() == log_prior.sizes(), "set_class_counts: class_counts must have ",
                    log_prior.numel(), " entries, one a class, got ", prior.numel());
  const bool balanced = prior.eq(prior[0]).all().item<bool>();
  log_prior.copy_(balanced ? torch::zeros_like(prior) : prior);
}

torch::Tensor ClassCentersImpl::forward(const torch::Tensor& x) {
  return logits(*this, x, log_prior);
}

torch::Tensor ClassCentersImpl::predict(const torch::Tensor& x,
                                        const std::optional<torch::Tensor>& target_prior) const {
  torch::Tensor plain = logits(*this, x, std::nullopt);
  if (!target_prior) return plain;
  return plain + log_target_prior(*target_prior, weight.size(0)).to(plain.options());
}

void ClassCentersImpl::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  Module::to(device, non_blocking);
  to(dtype, non_blocking);
}

// Half precision would round the prior of a rare class.
void ClassCentersImpl::to(torch::Dtype dtype, bool non_blocking) {
  const torch::Tensor exact = log_prior.clone();
  Module::to(dtype, non_blocking);
  log_prior.set_data(exact);
}

}  // namespace paco::nn
