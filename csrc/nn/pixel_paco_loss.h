#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "../macros.h"
#include "paco_loss.h"

namespace paco::nn {

/// Settings of PixelPaCoLoss; those of the pairs are PaCoLossOptions'.
struct PixelPaCoLossOptions {
  double alpha;                              ///< weight of a same-class pair, >= 0
  double temperature;                        ///< T, > 0
  std::optional<int64_t> num_pixels = 8192;  ///< pixels drawn of each image, >= 1; absent: all
  int64_t ignore_index = 255;                ///< label of ignored pixels
  bool across_images = false;  ///< contrast the pixels of the whole batch, not of each image
  double beta = 1.0;           ///< weight of the class center, >= 0
  double gamma = 1.0;          ///< weight of the pairs in the denominator, >= 0
  std::optional<double> base_temperature = std::nullopt;  ///< T_base, > 0; T where absent
};

/// GPaCo's loss of the pixels of a segmentation head (GPaCo, TPAMI 2023, sec. 4.4).
///
/// A pixel is an anchor and a contrast row, and its segmentation logits are those of its class
/// centers. An ignored pixel is no anchor; in the contrast it belongs to a class of its own. The
/// mean is over the anchors of an image, then over the images, where one of ignored pixels alone
/// counts as 0. Pixels are drawn without replacement, from the default generator of their device.
/// It has no state.
class PACO_API PixelPaCoLossImpl : public torch::nn::Module {
 public:
  /// Throws c10::ValueError for a setting outside its range.
  explicit PixelPaCoLossImpl(const PixelPaCoLossOptions& options);

  /// The scalar loss of a batch of images, float64 for float64 embeddings, else float32.
  ///
  /// - embeddings: [N, D, H, W], of any length; normalised here.
  /// - seg_logits: [N, C, H, W].
  /// - labels: int64 [N, H', W'], each in [0, C) or ignore_index; where the size differs the
  ///   nearest pixel's is taken.
  /// - queue: pixels of the past, [K, D], rows of unit length; optional.
  /// - queue_labels: int64 [K], in [0, C], where C stands for an ignored pixel.
  /// - num_valid: how many leading rows of `queue` are filled. See paco::paco_loss.
  ///
  /// Throws c10::ValueError for a bad argument. Labels are all checked on a CPU; on CUDA those of
  /// the drawn pixels are, as paco::paco_loss does it.
  torch::Tensor forward(const torch::Tensor& embeddings, const torch::Tensor& seg_logits,
                        const torch::Tensor& labels,
                        const std::optional<torch::Tensor>& queue = std::nullopt,
                        const std::optional<torch::Tensor>& queue_labels = std::nullopt,
                        const std::optional<torch::Tensor>& num_valid = std::nullopt);

  const PixelPaCoLossOptions options;
};
TORCH_MODULE(PixelPaCoLoss);

}  // namespace paco::nn
