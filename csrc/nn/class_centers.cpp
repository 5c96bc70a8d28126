#include "class_centers.h"

#include <c10/util/Exception.h>
#include <torch/nn/init.h>

#include <cmath>
#include <optional>

#include "../ops/center_logits.h"

namespace paco::nn {
namespace {

std::optional<torch::Tensor> if_defined(const torch::Tensor& tensor) {
  return tensor.defined() ? std::make_optional(tensor) : std::nullopt;
}

}  // namespace

ClassCentersImpl::ClassCentersImpl(int64_t in_features, int64_t num_classes,
                                   const ClassCentersOptions& options)
    : options(options) {
  TORCH_CHECK_VALUE(options.supt > 0 && std::isfinite(options.supt),
                    "ClassCenters: supt must be finite and > 0, got ", options.supt);
  weight = register_parameter("weight", torch::empty({num_classes, in_features}));
  if (options.bias) {
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
  return center_logits(x, weight, if_defined(bias), log_prior, options.supt, options.cosine);
}

torch::Tensor ClassCentersImpl::predict(const torch::Tensor& x) const {
  return center_logits(x, weight, if_defined(bias), std::nullopt, options.supt, options.cosine);
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
