#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "../macros.h"

namespace paco::nn {

/// Contrast against the distributions of the classes (Du et al., ProCo, TPAMI 2024).
///
/// The features of each class are taken to follow a von Mises-Fisher distribution, whose mean
/// direction mu and concentration kappa come from the running mean m of the features:
///
///     mu = m / |m|,   R = |m|,   kappa = D R / (1 - R^2), at most 1e5
///     loss = mean over the views of CE( s + log pi, y ),   s of paco::vmf_logits
///
/// Two estimates of m see every feature, each view's before its logits are computed. The logits
/// come from the older; start_epoch() puts the younger in its place and starts that anew. In
/// evaluation mode nothing is added. A class without a feature in an estimate has a random
/// direction with R = .9.
class PACO_API ProCoLossImpl : public torch::nn::Module {
 public:
  /// With C classes, features of length D >= 2 and T > 0.
  ProCoLossImpl(int64_t num_classes, int64_t dim, double temperature);

  /// Starts both estimates anew, and forgets the prior.
  void reset_parameters();

  /// Sets the prior from the number of training samples of each class, [C].
  void set_class_counts(const torch::Tensor& class_counts);

  /// Puts the younger estimate in the older one's place and starts it anew: before each epoch.
  void start_epoch();

  /// The scalar loss of unit rows [V B, D], view after view, and labels int64 [B]; the features are
  /// in the estimates from then on.
  torch::Tensor forward(const torch::Tensor& features, const torch::Tensor& labels);

  /// The logits [B, C] of one view, the prior left out, once its features are added.
  torch::Tensor logits(const torch::Tensor& features, const torch::Tensor& labels);

  // Module's functions convert every buffer: counts, and statistics to 16 bits too.
  using torch::nn::Module::to;
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Dtype dtype, bool non_blocking = false) override;

  torch::Tensor older_mean;     ///< buffer [C, D]
  torch::Tensor older_count;    ///< buffer int64 [C]
  torch::Tensor younger_mean;   ///< buffer [C, D]
  torch::Tensor younger_count;  ///< buffer int64 [C]
  torch::Tensor log_prior;      ///< buffer float32 [C], zeros for no prior
  const double temperature;
};
TORCH_MODULE(ProCoLoss);

}  // namespace paco::nn
