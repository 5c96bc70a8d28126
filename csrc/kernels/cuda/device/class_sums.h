#pragma once

#include <cstddef>
#include <cstdint>

#include "../../integers.h"
#include "anchor_source.h"
#include "forward_scratch.h"
#include "pair_tiles.h"
#include "problem.h"

namespace paco::cuda {

// Shared memory of sum_classes: for each anchor of the block its label, and the count and the sum
// of the rows of its class.
PACO_HOST_DEVICE constexpr int class_memory_bytes(int dim) {
  return kPairRows *
         static_cast<int>(sizeof(int64_t) + sizeof(int) + static_cast<size_t>(dim) * sizeof(float));
}

// Sums over P(i) come from sums over whole classes: sum_{P(i)} z_j = S_{y_i} - z_i. Among the
// kPairRows anchors of a block only the first of each class adds up S, so a column is added once a
// block, however many anchors share its class. The warp that has an anchor is the only one to touch
// its sums.
template <typename Element, typename Source, typename Context>
PACO_DEVICE void sum_classes(Context& context, const DeviceProblem& problem,
                             const ForwardScratch& scratch, const Source& source) {
  constexpr int kStep = 128;  // columns that a warp looks at together, four a lane
  const int lane = context.lane();
  const auto* const features = static_cast<const Element*>(problem.features);
  const auto* const queue = static_cast<const Element*>(problem.queue);
  const int dim = problem.dim;
  const int64_t first_anchor = context.block_x() * kPairRows;
  const int num_block_anchors =
      static_cast<int>(smaller(kPairRows, problem.num_anchors - first_anchor));
  const int64_t share = context.block_y();

  auto* const anchor_labels = reinterpret_cast<int64_t*>(context.shared_memory());
  auto* const counts = reinterpret_cast<int*>(anchor_labels + kPairRows);
  auto* const sums = reinterpret_cast<float*>(counts + kPairRows);
  for (int i = context.thread(); i < kPairRows; i += context.num_threads()) {
    anchor_labels[i] = i < num_block_anchors ? source.label(problem, first_anchor + i) : -1;
    counts[i] = 0;
  }
  for (int i = context.thread(); i < kPairRows * dim; i += context.num_threads()) sums[i] = 0;
  context.sync();

  // Bit a: anchor first_in_warp + a is the first of its class.
  const int first_in_warp = context.warp() * kWarpRows;
  bool is_first = lane < kWarpRows && first_in_warp + lane < num_block_anchors;
  for (int i = 0; is_first && i < first_in_warp + lane; ++i) {
    is_first = anchor_labels[i] != anchor_labels[first_in_warp + lane];
  }
  const uint32_t firsts = context.ballot(is_first);

  const int64_t feature_rows = problem.num_rows;
  const int64_t num_columns = feature_rows + valid_queue_rows(problem);
  const int64_t columns_per_share =
      divide_up(divide_up(num_columns, kStep), scratch.num_shares) * kStep;
  const int64_t begin = smaller(share * columns_per_share, num_columns);
  const int64_t end = smaller(begin + columns_per_share, num_columns);
  const auto row_of_column = [&](int64_t column) {
    return column < feature_rows ? features + column * dim : queue + (column - feature_rows) * dim;
  };

  const auto in_range = [&](int64_t label) {
    const int64_t range = source.label_range(problem);
    return label >= 0 && (range == 0 || label < range);
  };
  bool labels_in_range = true;
  bool queue_labels_in_range = true;
  for (int64_t step = begin; step < end; step += kStep) {
    int64_t labels[kStep / 32];
    PACO_UNROLL
    for (int part = 0; part < kStep / 32; ++part) {
      const int64_t column = step + 32 * part + lane;
      labels[part] = -1;  // no class of an anchor
      if (column < end && column < feature_rows) {
        labels[part] = problem.labels[column];
        labels_in_range = labels_in_range && in_range(labels[part]);
      } else if (column < end) {
        labels[part] = problem.queue_labels[column - feature_rows];
        queue_labels_in_range = queue_labels_in_range && in_range(labels[part]);
      }
    }
    for (uint32_t left = firsts; left != 0; left &= left - 1) {
      const int anchor = first_in_warp + context.first_bit(left);
      const int64_t label = anchor_labels[anchor];
      bool any = false;
      PACO_UNROLL
      for (int part = 0; part < kStep / 32; ++part) any = any || labels[part] == label;
      if (context.ballot(any) == 0) continue;

      int count = 0;
      PACO_UNROLL
      for (int part = 0; part < kStep / 32; ++part) {
        uint32_t matches = context.ballot(labels[part] == label);
        count += context.count_bits(matches);
        // Four rows at a time are on their way, however far off they are.
        while (matches != 0) {
          const Element* rows[4];
          PACO_UNROLL
          for (int i = 0; i < 4; ++i) {
            rows[i] = nullptr;
            if (matches != 0) {
              rows[i] = row_of_column(step + 32 * part + context.first_bit(matches));
              matches &= matches - 1;
            }
          }
          for (int d = lane; d < dim; d += 32) {
            float values[4];
            PACO_UNROLL
            for (int i = 0; i < 4; ++i) {
              values[i] = rows[i] == nullptr ? 0.0f : context.to_float(rows[i][d]);
            }
            float& sum = sums[anchor * dim + d];
            sum += (values[0] + values[1]) + (values[2] + values[3]);
          }
        }
      }
      if (lane == 0) counts[anchor] += count;
    }
  }

  context.sync_warp();
  for (uint32_t left = firsts; left != 0; left &= left - 1) {
    const int anchor = first_in_warp + context.first_bit(left);
    const int64_t at = share * problem.num_anchors + first_anchor + anchor;
    if (lane == 0) scratch.class_counts[at] = counts[anchor];
    if (counts[anchor] == 0) continue;
    for (int d = lane; d < dim; d += 32) scratch.class_rows[at * dim + d] = sums[anchor * dim + d];
  }

  // Values are checked here for the whole call: every label comes by, and the launches that follow
  // do not run after a violation. At the end, where no register has to outlive the call.
  context.check(labels_in_range, "paco: labels must lie in [0, C), C the number of classes");
  context.check(queue_labels_in_range,
                "paco: queue_labels must lie in [0, C), C the number of classes");
  if constexpr (Source::kGathered) {
    if (context.thread() < num_block_anchors) {
      context.check(in_range(anchor_labels[context.thread()]),
                    "paco: anchor_labels must lie in [0, C), C the number of classes");
    }
  }
  if (problem.num_valid != nullptr) {
    context.check(*problem.num_valid >= 0 && *problem.num_valid <= problem.queue_rows,
                  "paco: num_valid must lie in [0, K], K the rows of queue");
  }
  const auto* const anchor_weight = problem.anchor_weight;
  if (anchor_weight != nullptr && context.thread() < num_block_anchors) {
    // NaN is let through: it gives NaN in the loss.
    context.check(!(anchor_weight[first_anchor + context.thread()] < 0),
                  "paco: anchor_weight must be >= 0");
  }
}

}  // namespace paco::cuda
