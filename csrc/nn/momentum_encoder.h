#pragma once

#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <memory>

#include "momentum_update.h"

namespace paco::nn {

/// The key encoder of MoCo and PaCo: a copy of the query encoder that follows it slowly, takes no
/// gradient, and whose BatchNorm statistics are its own.
///
/// `Encoder` is a module holder (TORCH_MODULE) of a torch::nn::Cloneable.
template <typename Encoder>
class MomentumEncoderImpl : public torch::nn::Module {
 public:
  /// A copy of `query`. A momentum outside [0, 1] is refused by update().
  explicit MomentumEncoderImpl(const Encoder& query, double momentum = 0.999)
      : encoder(this->register_module(
            "encoder",
            Encoder(std::dynamic_pointer_cast<typename Encoder::ContainedType>(query->clone())))),
        momentum(momentum) {
    for (torch::Tensor& parameter : encoder->parameters()) {
      parameter.set_requires_grad(false);
    }
  }

  /// Moves the parameters towards those of `query`; published code does so before forward().
  void update(const Encoder& query) {
    momentum_update_(encoder->parameters(), query->parameters(), momentum);
  }

  /// The copy's output for x, without a gradient.
  torch::Tensor forward(const torch::Tensor& x) {
    const at::NoGradGuard no_grad;
    return encoder->forward(x);
  }

  Encoder encoder;        ///< submodule "encoder"
  const double momentum;  ///< in [0, 1]
};

/// Holds a MomentumEncoderImpl, as TORCH_MODULE's holders do.
template <typename Encoder>
class MomentumEncoder : public torch::nn::ModuleHolder<MomentumEncoderImpl<Encoder>> {
 public:
  using torch::nn::ModuleHolder<MomentumEncoderImpl<Encoder>>::ModuleHolder;
};

}  // namespace paco::nn
