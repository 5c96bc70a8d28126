#include "proco_loss.h"

#include <c10/util/Exception.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/functional/normalization.h>

#include <vector>

#include "../ops/checks.h"
#include "../ops/class_mean_update.h"
#include "../ops/vmf_logits.h"
#include "log_prior.h"

namespace paco::nn {
namespace {

namespace F = torch::nn::functional;

torch::Tensor random_means(const torch::Tensor& like) {
  return 0.9 * F::normalize(torch::randn_like(like));
}

}  // namespace

ProCoLossImpl::ProCoLossImpl(int64_t num_classes, int64_t dim, double temperature)
    : temperature(temperature) {
  TORCH_CHECK_VALUE(num_classes >= 1, "ProCoLoss: num_classes must be at least 1, got ",
                    num_classes);
  TORCH_CHECK_VALUE(dim >= 2, "ProCoLoss: dim must be at least 2, got ", dim);
  check_temperature("ProCoLoss", temperature);
  older_mean = register_buffer("older_mean", torch::empty({num_classes, dim}));
  older_count = register_buffer("older_count", torch::empty({num_classes}, torch::kInt64));
  younger_mean = register_buffer("younger_mean", torch::empty({num_classes, dim}));
  younger_count = register_buffer("younger_count", torch::empty({num_classes}, torch::kInt64));
  log_prior = register_buffer("log_prior", torch::empty({num_classes}, torch::kFloat32));
  reset_parameters();
}

void ProCoLossImpl::reset_parameters() {
  log_prior.zero_();
  older_mean.copy_(random_means(older_mean));
  older_count.zero_();
  younger_mean.copy_(random_means(younger_mean));
  younger_count.zero_();
}

void ProCoLossImpl::set_class_counts(const torch::Tensor& class_counts) {
  const torch::Tensor prior = paco::log_prior(class_counts);
  TORCH_CHECK_VALUE(prior.sizes() == log_prior.sizes(), "set_class_counts: class_counts must have ",
                    log_prior.numel(), " entries, one a class, got ", prior.numel());
  log_prior.copy_(prior);
}

void ProCoLossImpl::start_epoch() {
  older_mean.copy_(younger_mean);
  older_count.copy_(younger_count);
  younger_mean.copy_(random_means(younger_mean));
  younger_count.zero_();
}

torch::Tensor ProCoLossImpl::forward(const torch::Tensor& features, const torch::Tensor& labels) {
  const int64_t batch = labels.size(0);
  TORCH_CHECK_VALUE(batch > 0 && features.size(0) > 0 && features.size(0) % batch == 0,
                    "ProCoLoss: features must have a row for each label and view, got ",
                    features.size(0), " rows and ", batch, " labels");
  std::vector<torch::Tensor> losses;
  for (const torch::Tensor& view : features.split(batch)) {
    losses.push_back(F::cross_entropy(logits(view, labels) + log_prior, labels));
  }
  return torch::stack(losses).mean();
}

torch::Tensor ProCoLossImpl::logits(const torch::Tensor& features, const torch::Tensor& labels) {
  if (is_training()) {
    class_mean_update_(older_mean, older_count, features.detach(), labels);
    class_mean_update_(younger_mean, younger_count, features.detach(), labels);
  }
  const bool is_double = features.scalar_type() == torch::kFloat64;
  const torch::Tensor mean = older_mean.to(is_double ? torch::kFloat64 : torch::kFloat32);
  const torch::Tensor length = mean.norm(2, 1);
  const auto dim = static_cast<double>(mean.size(1));
  const torch::Tensor kappa =
      torch::where(length < 1, dim * length / (1 - length * length), 1e5).clamp_max(1e5);
  // Next to 0 there is no direction; a NaN is left for the operator to refuse.
  const torch::Tensor direction =
      (mean / length.unsqueeze(1)).masked_fill((length < 1e-10).unsqueeze(1), 0);
  return vmf_logits(features, direction, kappa, temperature);
}

void ProCoLossImpl::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  Module::to(device, non_blocking);
  to(dtype, non_blocking);
}

// In 16 bits a mean would stop moving after a few hundred features.
void ProCoLossImpl::to(torch::Dtype dtype, bool /*non_blocking*/) {
  if (torch::elementSize(dtype) < 4) return;
  older_mean.set_data(older_mean.to(dtype));
  younger_mean.set_data(younger_mean.to(dtype));
}

}  // namespace paco::nn
