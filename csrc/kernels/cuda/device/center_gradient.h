#pragma once

#include <cmath>
#include <cstdint>

#include "../../integers.h"
#include "anchor_source.h"
#include "problem.h"

namespace paco::cuda {

// dl/ds_ic for kCenterStep elements of one anchor.
constexpr int kCenterStep = 2048;

template <typename Logit, typename Source, typename Context>
PACO_DEVICE void center_gradient(Context& context, const DeviceProblem& problem,
                                 const PaCoLossGradients& gradients, const Source& source) {
  const int64_t anchor = context.block_x();
  const int64_t center_row = source.center_row_of(anchor);
  if (center_row < 0) return;
  const int64_t begin = context.block_y() * kCenterStep;
  const int64_t end = smaller(begin + kCenterStep, problem.num_classes);
  const auto* const logits =
      static_cast<const Logit*>(problem.center_logits) + center_row * problem.num_classes;
  auto* const gradient =
      static_cast<Logit*>(gradients.grad_center_logits) + center_row * problem.num_classes;

  const float pair_weight = static_cast<const float*>(gradients.pair_weight)[anchor];
  const Split log_partition(gradients.log_partition[anchor]);
  const bool idle = pair_weight == 0;
  const float scale = source.upstream(gradients) * anchor_scale(problem, pair_weight, anchor) *
                      problem.temperature / source.divisor(problem);
  const int64_t label = source.label(problem, anchor) - source.first_class();
  const auto smoothing = problem.label_smoothing;
  const float* const soft_targets = problem.soft_targets != nullptr
                                        ? problem.soft_targets + center_row * problem.num_classes
                                        : nullptr;
  const float center_share = problem.beta / pair_weight;
  const float label_share = center_share * (1 - smoothing);
  const float other_share =
      smoothing > 0 ? center_share * smoothing / static_cast<float>(source.label_range(problem) - 1)
                    : 0.0f;
  constexpr int kBatch = 4;  // loads in flight
  for (int64_t first = begin + context.thread(); first < end;
       first += kBatch * context.num_threads()) {
    float batch[kBatch];
    PACO_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      const int64_t c = first + i * context.num_threads();
      batch[i] = c < end ? context.to_float(logits[c]) : 0.0f;
    }
    PACO_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      const int64_t c = first + i * context.num_threads();
      if (c >= end) continue;
      const float share = soft_targets != nullptr ? center_share * soft_targets[c]
                          : c == label            ? label_share
                                                  : other_share;
      context.assign(
          gradient[c],
          idle ? 0.0f
               : scale * (expf((batch[i] - log_partition.high) - log_partition.low) - share));
    }
  }
}

}  // namespace paco::cuda
