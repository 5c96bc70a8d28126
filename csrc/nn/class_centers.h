#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "../macros.h"

namespace paco::nn {

struct ClassCentersOptions {
  /// Learn an additive bias; by default where there is no scale, with which there can be none.
  std::optional<bool> bias = std::nullopt;
  double center_temperature = 1.0;  ///< divides the linear logits, > 0; 1 with a scale
  double tau = 1.0;                 ///< weight of the log prior, >= 0
  /// Multiplies the cosine of features and centers, > 0; absent for a linear classifier.
  std::optional<double> scale = std::nullopt;
};

/// Learnable class centers, one more positive for each anchor and the classifier (PaCo, sec. 3).
///
/// Training logits are (w_c . x_i + b_c) / center_temperature + tau log pi_c or, with a scale,
/// scale cos(w_c, x_i) + tau log pi_c; the prior is left out at inference, and that of the test set
/// may take its place.
class PACO_API ClassCentersImpl : public torch::nn::Module {
 public:
  /// Centers for C = num_classes in the space of the pooled features, F = in_features. Throws
  /// c10::ValueError for an option outside its range.
  ClassCentersImpl(int64_t in_features, int64_t num_classes,
                   const ClassCentersOptions& options = {});

  /// Draws weight and bias as torch::nn::Linear does.
  void reset_parameters();

  /// Sets the prior from the number of training samples of each class, [C]. Equal counts leave no
  /// prior: it would only weigh the centers down against the pairs. Throws c10::ValueError for
  /// counts that paco::log_prior refuses, or not one a class.
  void set_class_counts(const torch::Tensor& class_counts);

  /// Training logits [A, C] of pooled features [A, F], the prior included.
  torch::Tensor forward(const torch::Tensor& x);

  /// Inference logits [A, C], the prior left out.
  ///
  /// - target_prior: q, [C], how often each class occurs where the predictions are used:
  ///   probabilities, or numbers in their proportion, each >= 0. It adds log q, whatever tau was in
  ///   training (Bayes' rule); a class of probability 0 gets -inf.
  ///
  /// Throws c10::ValueError for a prior that paco::log_target_prior refuses.
  torch::Tensor predict(const torch::Tensor& x,
                        const std::optional<torch::Tensor>& target_prior = std::nullopt) const;

  /// Converts the module, except that log_prior stays float32.
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Dtype dtype, bool non_blocking = false) override;
  using torch::nn::Module::to;

  const ClassCentersOptions options;
  torch::Tensor weight;     ///< parameter [C, F]
  torch::Tensor bias;       ///< parameter [C], undefined without bias
  torch::Tensor log_prior;  ///< buffer float32 [C], zeros for no prior
};
TORCH_MODULE(ClassCenters);

}  // namespace paco::nn
