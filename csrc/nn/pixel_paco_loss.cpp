#include "pixel_paco_loss.h"

#include <torch/nn/functional/normalization.h>

#include <vector>

#include "../ops/tensor_checks.h"

namespace paco::nn {
namespace {

constexpr const char* kPixels = "PixelPaCoLoss";

PaCoLossOptions loss_options(const PixelPaCoLossOptions& options) {
  return {.alpha = options.alpha,
          .temperature = options.temperature,
          .beta = options.beta,
          .gamma = options.gamma,
          .base_temperature = options.base_temperature};
}

void check_pixels(const torch::Tensor& embeddings, const torch::Tensor& seg_logits,
                  const torch::Tensor& labels) {
  PACO_CHECK(kPixels,
             embeddings.dim() == 4 && embeddings.numel() > 0 && embeddings.is_floating_point(),
             "embeddings must be floating-point [N, D, H, W], none of them 0, got ",
             embeddings.scalar_type(), " ", embeddings.sizes());
  const int64_t n = embeddings.size(0);
  const int64_t h = embeddings.size(2);
  const int64_t w = embeddings.size(3);
  PACO_CHECK(kPixels,
             seg_logits.dim() == 4 && seg_logits.size(0) == n && seg_logits.size(1) > 0 &&
                 seg_logits.size(2) == h && seg_logits.size(3) == w &&
                 seg_logits.is_floating_point() && seg_logits.device() == embeddings.device(),
             "seg_logits must be floating-point [N, C, H, W] with N, H, W = ", n, ", ", h, ", ", w,
             " on ", embeddings.device(), " as in embeddings, got ", seg_logits.scalar_type(), " ",
             seg_logits.sizes(), " on ", seg_logits.device());
  PACO_CHECK(kPixels,
             labels.dim() == 3 && labels.size(0) == n && labels.numel() > 0 &&
                 labels.scalar_type() == torch::kInt64 && labels.device() == embeddings.device(),
             "labels must be int64 [N, H', W'] with N = ", n, " on ", embeddings.device(),
             " as in embeddings, got ", labels.scalar_type(), " ", labels.sizes(), " on ",
             labels.device());
}

// Classes [N, H, W] of the pixels: C for an ignored one.
torch::Tensor pixel_classes(const torch::Tensor& labels, const torch::Tensor& seg_logits,
                            int64_t ignore_index) {
  const int64_t num_classes = seg_logits.size(1);
  const torch::Tensor ignored = labels == ignore_index;
  const torch::Tensor bad = ((labels < 0) | (labels >= num_classes)) & ~ignored;
  if (labels.is_cpu() && bad.any().item<bool>()) {
    PACO_CHECK(kPixels, false, "labels must lie in [0, C) with C = ", num_classes,
               ", or be ignore_index, ", ignore_index, ", got ",
               labels.masked_select(bad)[0].item<int64_t>());
  }
  // Elsewhere the operator finds -1, which no class has; C would pass for an ignored pixel.
  torch::Tensor classes = labels.masked_fill(bad, -1).masked_fill(ignored, num_classes);
  if (classes.sizes().slice(1) == seg_logits.sizes().slice(2)) return classes;
  // In float64, which holds every class: there is no interpolation of integers.
  return torch::upsample_nearest2d(classes.unsqueeze(1).to(torch::kFloat64),
                                   seg_logits.sizes().slice(2))
      .squeeze(1)
      .to(torch::kInt64);
}

// Rows of one problem: embeddings [M, D], logits [M, C], classes [M].
struct Pixels {
  torch::Tensor z, s, y;
};

Pixels draw(const torch::Tensor& z, const torch::Tensor& s, const torch::Tensor& y,
            const std::optional<int64_t>& num_pixels) {
  Pixels all = {z.flatten(1).t(), s.flatten(1).t(), y.flatten()};
  const int64_t number = num_pixels.value_or(all.y.size(0));
  if (number >= all.y.size(0)) return all;
  const torch::Tensor drawn =
      torch::randperm(all.y.size(0), torch::dtype(torch::kInt64).device(y.device()))
          .slice(/*dim=*/0, /*start=*/0, number);
  return {all.z.index_select(0, drawn), all.s.index_select(0, drawn), all.y.index_select(0, drawn)};
}

Pixels concatenated(const std::vector<Pixels>& images) {
  std::vector<torch::Tensor> z, s, y;
  for (const Pixels& image : images) {
    z.push_back(image.z);
    s.push_back(image.s);
    y.push_back(image.y);
  }
  return {torch::cat(z), torch::cat(s), torch::cat(y)};
}

}  // namespace

PixelPaCoLossImpl::PixelPaCoLossImpl(const PixelPaCoLossOptions& options) : options(options) {
  check_loss_options(kPixels, loss_options(options));
  PACO_CHECK(kPixels, !options.num_pixels || *options.num_pixels >= 1,
             "num_pixels must be at least 1, or absent, got ", *options.num_pixels);
}

torch::Tensor PixelPaCoLossImpl::forward(const torch::Tensor& embeddings,
                                         const torch::Tensor& seg_logits,
                                         const torch::Tensor& labels,
                                         const std::optional<torch::Tensor>& queue,
                                         const std::optional<torch::Tensor>& queue_labels,
                                         const std::optional<torch::Tensor>& num_valid) {
  check_pixels(embeddings, seg_logits, labels);
  const torch::Tensor classes = pixel_classes(labels, seg_logits, options.ignore_index);
  std::vector<Pixels> problems;
  problems.reserve(embeddings.size(0));
  for (int64_t image = 0; image < embeddings.size(0); ++image) {
    problems.push_back(
        draw(embeddings[image], seg_logits[image], classes[image], options.num_pixels));
  }
  if (options.across_images) problems = {concatenated(problems)};

  const auto dtype =
      embeddings.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  std::vector<torch::Tensor> losses;
  for (const auto& [z, s, y] : problems) {
    // Ignored pixels stay in the rows with weight 0: their number is not known without waiting for
    // a GPU. Their class, the C-th, has a center that adds exp(-1e10) = 0 to the partition.
    const torch::Tensor is_anchor = (y < s.size(1)).to(dtype);
    const torch::Tensor centers = torch::cat({s.to(dtype), -1e10 * is_anchor.unsqueeze(1)}, 1);
    const torch::Tensor rows = torch::nn::functional::normalize(z.to(dtype));
    const torch::Tensor loss = paco_loss(rows, y, centers, queue, queue_labels, num_valid,
                                         is_anchor, std::nullopt, loss_options(options));
    losses.push_back(loss * (static_cast<double>(rows.size(0)) / is_anchor.sum().clamp_min(1)));
  }
  return torch::stack(losses).mean();
}

}  // namespace paco::nn
