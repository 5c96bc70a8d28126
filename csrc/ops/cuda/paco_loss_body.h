#pragma once

#include <cmath>
#include <cstdint>

#include "element.h"
#include "product.h"
#include "tile.h"

// The bodies of the kernels of paco_loss; symbols are those of ops/paco_loss.h.
//
// Forward pass, three launches:
//   stream_pairs     a block has 64 anchors and a share of the columns (rows of features, then of
//                    the queue): running maximum, sum and weighted rows of exp p_ij
//   sum_classes      in the same launch: sums of the rows of each anchor's class, by the same share
//   finish_anchors   a block has one anchor: centers, the shares combined, L_i, W_i, l_i, gradient
//   average_anchors  one block: the mean
// Backward pass, a launch for each gradient:
//   feature_gradient a block has 64 rows and all anchors
//   center_gradient  elements of [A, C]
//
// Every sum is added up in an order that the shapes and the number of shares fix, so the same
// inputs give the same bits. A NaN or an infinity must come out as NaN: sums of 0 * x, the poisons,
// see to it where a maximum or an exponential would swallow it.
namespace paco::cuda {

constexpr int kPairWarps = 4;
constexpr int kPairThreads = 32 * kPairWarps;
constexpr int kPairRows = kWarpRows * kPairWarps;  // rows that a block of the pair kernels keeps
constexpr int kMaxDim = 256;
constexpr int kMaxShares = 256;
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

PACO_HOST_DEVICE constexpr int64_t divide_up(int64_t dividend, int64_t divisor) {
  return (dividend + divisor - 1) / divisor;
}

PACO_HOST_DEVICE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// What every kernel of one call is told. Nullable pointers are null where the operator's argument
// is absent.
template <typename Element>
struct PaCoLossProblem {
  Rows<Element> features;       // [M, D]
  const int64_t* labels;        // [M]
  Rows<Element> queue;          // [K, D], nullable
  const int64_t* queue_labels;  // [K], nullable
  const int64_t* queue_size;    // [1], nullable
  const void* center_logits;    // [A, C], float or Element; nullable
  const float* anchor_weight;   // [A], nullable
  int64_t num_anchors;          // A
  int64_t num_classes;          // C, 0 without centers
  float alpha;
  float beta;  // 0 without centers
  float gamma;
  float temperature;
  float base_temperature;
  float label_smoothing;
};

// What the shares of the columns leave for finish_anchors, each [share, A] or [share, A, D].
struct PaCoLossShares {
  int num_shares;
  float* maximum;     // of p_ij log2(e), less kLog2WeightUnit; -infinity without a pair
  float* exp_sum;     // sum_j 2^(p_ij log2(e) - maximum)
  float* exp_rows;    // the same sum of 2^(...) z_j; null where no gradient is wanted
  int* class_counts;  // rows of the anchor's class; written for the first anchor of a class among
                      // the kPairRows of its block
  float* class_rows;  // their sum; written where the count is not 0
};

// sum_classes reports a size out of range; nobody reads beyond the queue.
template <typename Element>
PACO_DEVICE int64_t valid_queue_rows(const PaCoLossProblem<Element>& problem) {
  if (problem.queue_size == nullptr) return problem.queue.num_rows;
  const int64_t size = *problem.queue_size;
  return size < 0 ? 0 : smaller(size, problem.queue.num_rows);
}

// ---- Forward: pairs
// ------------------------------------------------------------------------------

// Tiles of the pair kernels in shared memory: the rows that the block keeps, and two tiles of
// columns, one at work while the other is on its way.
template <typename Product, int kDim>
struct PairMemory {
  using Element = typename Product::Element;
  using Layout = TileLayout<Element, kDim>;
  static constexpr int kRowsBytes = Layout::bytes(kPairRows);
  static constexpr int kColumnsBytes = Layout::bytes(Product::kColumns);
  static constexpr int kBytes = kRowsBytes + 2 * kColumnsBytes;

  char* memory;

  PACO_DEVICE Element* rows() const { return reinterpret_cast<Element*>(memory); }
  PACO_DEVICE Element* columns(int64_t tile) const {
    return reinterpret_cast<Element*>(memory + kRowsBytes + tile % 2 * kColumnsBytes);
  }
};

// Maximum over the lanes that share a row, and sum over them.
template <typename Context>
PACO_DEVICE float quad_maximum(Context& context, float value) {
  value = fmaxf(value, context.shuffle_xor(value, 1));
  return fmaxf(value, context.shuffle_xor(value, 2));
}
template <typename Context>
PACO_DEVICE float quad_sum(Context& context, float value) {
  value += context.shuffle_xor(value, 1);
  return value + context.shuffle_xor(value, 2);
}

template <typename Product, int kDim, typename Context>
PACO_DEVICE void stream_pairs(Context& context,
                              const PaCoLossProblem<typename Product::Element>& problem,
                              const PaCoLossShares& shares) {
  using Element = typename Product::Element;
  constexpr int kColumns = Product::kColumns;
  const PairMemory<Product, kDim> memory{context.shared_memory()};
  const int lane = context.lane();
  const int64_t num_anchors = problem.num_anchors;
  const int64_t first_anchor = context.block_x() * kPairRows;
  const int64_t share = context.block_y();
  const float scale = kLog2E / problem.temperature;

  // The tiles of this share. A tile is of the features or of the queue, never of both.
  const int64_t queue_rows = valid_queue_rows(problem);
  const int64_t feature_tiles = divide_up(problem.features.num_rows, kColumns);
  const int64_t num_tiles = feature_tiles + divide_up(queue_rows, kColumns);
  const int64_t tiles_per_share = divide_up(num_tiles, shares.num_shares);
  const int64_t begin = smaller(share * tiles_per_share, num_tiles);
  const int64_t end = smaller(begin + tiles_per_share, num_tiles);
  const auto load_columns = [&](int64_t tile) {
    const bool is_queue = tile >= feature_tiles;
    const Rows<Element> rows{is_queue ? problem.queue.data : problem.features.data,
                             is_queue ? queue_rows : problem.features.num_rows,
                             problem.features.dim};
    load_tile<kDim, kColumns>(context, memory.columns(tile), rows,
                              (is_queue ? tile - feature_tiles : tile) * kColumns);
  };

  if (begin < end) {
    const Rows<Element> anchors{problem.features.data, num_anchors, problem.features.dim};
    load_tile<kDim, kPairRows>(context, memory.rows(), anchors, first_anchor);
    load_columns(begin);
    context.commit_copies();
  }

  // Of the lane's two rows. Sums and poisons are over the lane's own columns until the end.
  float maximum[2] = {-INFINITY, -INFINITY};
  float exp_sum[2] = {0, 0};
  float poison[2] = {0, 0};
  float exp_rows[2][slots(kDim)] = {};

  for (int64_t tile = begin; tile < end; ++tile) {
    if (tile + 1 < end) load_columns(tile + 1);
    context.commit_copies();
    context.template wait_copies<1>();
    if (tile == begin) Product::template settle_tile<kDim, kPairRows>(context, memory.rows());
    const Element* const columns = memory.columns(tile);
    Product::template settle_tile<kDim, kColumns>(context, memory.columns(tile));
    context.sync();

    float pairs[2][slots(kColumns)] = {};
    Product::template multiply_pairs<kDim>(
        context, memory.rows() + context.warp() * kWarpRows * TileLayout<Element, kDim>::kStride,
        columns, pairs);

    // Columns past the end take no part, nor does the pair of an anchor with itself.
    const bool is_queue = tile >= feature_tiles;
    const int64_t first_column = (is_queue ? tile - feature_tiles : tile) * kColumns;
    const int64_t num_columns = (is_queue ? queue_rows : problem.features.num_rows) - first_column;
    const bool has_self = !is_queue && first_column < first_anchor + kPairRows &&
                          first_column + kColumns > first_anchor;
    const bool masked = has_self || num_columns < kColumns;
    PACO_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int row = context.warp() * kWarpRows + lane / 4 + 8 * r;
      const int64_t self = has_self ? first_anchor + row - first_column : -1;
      float tile_maximum = -INFINITY;
      PACO_UNROLL
      for (int slot = 0; slot < slots(kColumns); ++slot) {
        float& pair = pairs[r][slot];
        poison[r] = fmaf(pair, 0.0f, poison[r]);
        if (masked) {
          const int column = Product::pair_column(slot, lane);
          if (column == self || column >= num_columns) pair = -INFINITY;
        }
        tile_maximum = fmaxf(tile_maximum, pair);
      }
      const float new_maximum = fmaxf(maximum[r], quad_maximum(context, tile_maximum) * scale);
      // An anchor without any pair so far has no maximum to subtract.
      const float shift = new_maximum == -INFINITY ? 0.0f : new_maximum;
      const float rescale = context.exp2(maximum[r] - shift);
      maximum[r] = new_maximum;
      exp_sum[r] *= rescale;
      PACO_UNROLL
      for (int slot = 0; slot < slots(kColumns); ++slot) {
        pairs[r][slot] =
            context.exp2(fmaf(pairs[r][slot], scale, Product::kLog2WeightUnit - shift));
        exp_sum[r] += pairs[r][slot];
      }
      PACO_UNROLL
      for (int slot = 0; slot < slots(kDim); ++slot) exp_rows[r][slot] *= rescale;
    }
    if (shares.exp_rows != nullptr) {
      Product::template multiply_values<kDim>(context, pairs, columns, exp_rows);
    }
    context.sync();  // the next but one tile goes where this one is
  }

  PACO_UNROLL
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(context, exp_sum[r] + poison[r]);
    const int64_t anchor = first_anchor + context.warp() * kWarpRows + lane / 4 + 8 * r;
    if (anchor >= num_anchors) continue;
    const int64_t at = share * num_anchors + anchor;
    if (lane % 4 == 0) {
      shares.maximum[at] = maximum[r] - Product::kLog2WeightUnit;
      shares.exp_sum[at] = sum;
    }
    if (shares.exp_rows != nullptr) {
      const int dim = problem.features.dim;
      PACO_UNROLL
      for (int slot = 0; slot < slots(kDim); ++slot) {
        const int column = Product::value_column(slot, lane);
        if (column < dim) shares.exp_rows[at * dim + column] = exp_rows[r][slot];
      }
    }
  }
}

// ---- Forward: positives
// --------------------------------------------------------------------------

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
template <typename Element, typename Context>
PACO_DEVICE void sum_classes(Context& context, const PaCoLossProblem<Element>& problem,
                             const PaCoLossShares& shares) {
  constexpr int kStep = 128;  // columns that a warp looks at together, four a lane
  const int lane = context.lane();
  const int dim = problem.features.dim;
  const int64_t first_anchor = context.block_x() * kPairRows;
  const int num_block_anchors =
      static_cast<int>(smaller(kPairRows, problem.num_anchors - first_anchor));
  const int64_t share = context.block_y();

  auto* const anchor_labels = reinterpret_cast<int64_t*>(context.shared_memory());
  auto* const counts = reinterpret_cast<int*>(anchor_labels + kPairRows);
  auto* const sums = reinterpret_cast<float*>(counts + kPairRows);
  for (int i = context.thread(); i < kPairRows; i += context.num_threads()) {
    anchor_labels[i] = i < num_block_anchors ? problem.labels[first_anchor + i] : -1;
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

  const int64_t feature_rows = problem.features.num_rows;
  const int64_t num_columns = feature_rows + valid_queue_rows(problem);
  const int64_t columns_per_share =
      divide_up(divide_up(num_columns, kStep), shares.num_shares) * kStep;
  const int64_t begin = smaller(share * columns_per_share, num_columns);
  const int64_t end = smaller(begin + columns_per_share, num_columns);
  const auto row_of_column = [&](int64_t column) {
    return column < feature_rows ? problem.features.row(column)
                                 : problem.queue.row(column - feature_rows);
  };

  const auto in_range = [&](int64_t label) {
    return label >= 0 && (problem.center_logits == nullptr || label < problem.num_classes);
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
            sum = (((sum + values[0]) + values[1]) + values[2]) + values[3];
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
    if (lane == 0) shares.class_counts[at] = counts[anchor];
    if (counts[anchor] == 0) continue;
    for (int d = lane; d < dim; d += 32) shares.class_rows[at * dim + d] = sums[anchor * dim + d];
  }

  // Values are checked here for the whole call: every label comes by, and the launches that follow
  // do not run after a violation. At the end, where no register has to outlive the call.
  context.check(labels_in_range,
                "paco_loss: labels must lie in [0, C), C the columns of center_logits");
  context.check(queue_labels_in_range,
                "paco_loss: queue_labels must lie in [0, C), C the columns of center_logits");
  if (problem.queue_size != nullptr) {
    context.check(*problem.queue_size >= 0 && *problem.queue_size <= problem.queue.num_rows,
                  "paco_loss: queue_size must lie in [0, K], K the rows of queue");
  }
  if (problem.anchor_weight != nullptr && context.thread() < num_block_anchors) {
    // NaN is let through: it gives NaN in the loss.
    context.check(!(problem.anchor_weight[first_anchor + context.thread()] < 0),
                  "paco_loss: anchor_weight must be >= 0");
  }
}

// ---- Forward: anchors
// ----------------------------------------------------------------------------

struct Maximum {
  PACO_DEVICE static float combine(float a, float b) { return fmaxf(a, b); }
};
struct Sum {
  PACO_DEVICE static float combine(float a, float b) { return a + b; }
};

constexpr int kMaxWarps = 32;

// Reduces each of kCount numbers over the block, in a fixed order; every thread gets the results.
// `scratch` is kCount * kMaxWarps floats in shared memory.
template <typename Operation, int kCount, typename Context>
PACO_DEVICE void reduce_block(Context& context, float (&values)[kCount], float* scratch) {
  PACO_UNROLL
  for (int i = 0; i < kCount; ++i) {
    PACO_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) {
      values[i] = Operation::combine(values[i], context.shuffle_xor(values[i], mask));
    }
    if (context.lane() == 0) scratch[i * kMaxWarps + context.warp()] = values[i];
  }
  context.sync();
  PACO_UNROLL
  for (int i = 0; i < kCount; ++i) {
    values[i] = scratch[i * kMaxWarps];
    for (int warp = 1; warp < context.num_threads() / 32; ++warp) {
      values[i] = Operation::combine(values[i], scratch[i * kMaxWarps + warp]);
    }
  }
  context.sync();
}

// A share of a row of center logits: sum_c exp(s_c - maximum), sum_c s_c, and the poison.
struct CenterSums {
  float maximum = -INFINITY;
  float exp_sum = 0;
  float total = 0;
  float poison = 0;
};

// One pass over the row, with a running maximum.
template <typename Logit, typename Context>
PACO_DEVICE CenterSums sum_centers(Context& context, const Logit* logits, int64_t num_classes) {
  constexpr int kBatch = 4;  // loads in flight, and terms for one change of the maximum
  CenterSums sums;
  for (int64_t begin = context.thread(); begin < num_classes;
       begin += kBatch * context.num_threads()) {
    float batch[kBatch];
    float batch_maximum = -INFINITY;
    PACO_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      const int64_t c = begin + i * context.num_threads();
      batch[i] = c < num_classes ? context.to_float(logits[c]) : -INFINITY;
      batch_maximum = fmaxf(batch_maximum, batch[i]);
      if (c < num_classes) {
        sums.total += batch[i];
        sums.poison = fmaf(batch[i], 0.0f, sums.poison);
      }
    }
    const float maximum = fmaxf(sums.maximum, batch_maximum);
    const float shift = maximum == -INFINITY ? 0.0f : maximum;
    sums.exp_sum *= expf(sums.maximum - shift);
    PACO_UNROLL
    for (int i = 0; i < kBatch; ++i) sums.exp_sum += expf(batch[i] - shift);
    sums.maximum = maximum;
  }
  return sums;
}

// Where finish_anchors leaves the results; see paco_loss_forward in library.cpp.
struct PaCoLossResults {
  float* anchor_loss;    // [A] l_i, weighted
  float* log_partition;  // [A]
  float* pair_weight;    // [A]
  float* anchor_grad;    // [A, D], null where not wanted
};

// Shared memory of finish_anchors, and of average_anchors, which needs less.
struct AnchorMemory {
  static constexpr int kReduced = 6;
  float scratch[kReduced * kMaxWarps];
  float share_weight[kMaxShares];
  float exp_row[kMaxDim];
  float positive_row[kMaxDim];
};

template <typename Logit, typename Element, typename Context>
PACO_DEVICE void finish_anchors(Context& context, const PaCoLossProblem<Element>& problem,
                                const PaCoLossShares& shares, const PaCoLossResults& results) {
  auto& memory = *reinterpret_cast<AnchorMemory*>(context.shared_memory());
  const int thread = context.thread();
  const int lane = context.lane();
  const int dim = problem.features.dim;
  const int64_t num_anchors = problem.num_anchors;
  const int64_t anchor = context.block_x();
  const int64_t label = problem.labels[anchor];

  // The anchor of the same block of sum_classes that added up this class.
  const int64_t first_anchor = anchor / kPairRows * kPairRows;
  const auto same_class = [&](int64_t other) {
    return other <= anchor && problem.labels[other] == label;
  };
  const uint32_t low = context.ballot(same_class(first_anchor + lane));
  const uint32_t high = context.ballot(same_class(first_anchor + 32 + lane));
  const int64_t class_anchor =
      first_anchor + (low != 0 ? context.first_bit(low) : 32 + context.first_bit(high));

  CenterSums centers;
  const Logit* logits = nullptr;
  if (problem.center_logits != nullptr) {
    logits = static_cast<const Logit*>(problem.center_logits) + anchor * problem.num_classes;
    centers = sum_centers(context, logits, problem.num_classes);
  }
  float share_maximum = -INFINITY;
  for (int share = thread; share < shares.num_shares; share += context.num_threads()) {
    share_maximum = fmaxf(share_maximum, shares.maximum[share * num_anchors + anchor]);
  }
  float maxima[2] = {share_maximum, centers.maximum};
  reduce_block<Maximum>(context, maxima, memory.scratch);
  const float pair_maximum = maxima[0];
  const float center_maximum = maxima[1];
  const float pair_shift = pair_maximum == -INFINITY ? 0.0f : pair_maximum;
  const float center_shift = center_maximum == -INFINITY ? 0.0f : center_maximum;

  float exp_sum = 0;
  float class_count = 0;
  for (int share = thread; share < shares.num_shares; share += context.num_threads()) {
    const int64_t at = share * num_anchors + anchor;
    const float weight = context.exp2(shares.maximum[at] - pair_shift);
    memory.share_weight[share] = weight;
    exp_sum += weight * shares.exp_sum[at];
    class_count += static_cast<float>(shares.class_counts[share * num_anchors + class_anchor]);
  }
  context.sync();

  // z_i . sum_{P(i)} z_j
  float positive_pairs = 0;
  for (int d = thread; d < dim; d += context.num_threads()) {
    float exp_row = 0;
    float class_row = 0;
    for (int share = 0; share < shares.num_shares; ++share) {
      const int64_t class_at = share * num_anchors + class_anchor;
      if (shares.exp_rows != nullptr) {
        const int64_t at = share * num_anchors + anchor;
        exp_row += memory.share_weight[share] * shares.exp_rows[at * dim + d];
      }
      if (shares.class_counts[class_at] != 0) class_row += shares.class_rows[class_at * dim + d];
    }
    const float feature = context.to_float(problem.features.row(anchor)[d]);
    memory.exp_row[d] = exp_row;
    memory.positive_row[d] = class_row - feature;
    positive_pairs += feature * memory.positive_row[d];
  }

  const float center_rescale = expf(centers.maximum - center_shift);
  float sums[AnchorMemory::kReduced] = {exp_sum,        class_count,
                                        positive_pairs, centers.exp_sum * center_rescale,
                                        centers.total,  centers.poison};
  reduce_block<Sum>(context, sums, memory.scratch);

  // L_i joins pairs and centers under one maximum. gamma weighs exponentials, so 0 is no special
  // case but for the maximum, in which pairs without weight have no say.
  const float gamma = problem.gamma;
  const float pair_logarithm = pair_maximum * kLn2;
  float maximum = fmaxf(gamma > 0 ? pair_logarithm : -INFINITY, center_maximum);
  if (maximum == -INFINITY) maximum = 0;
  const float pair_scale = gamma > 0 ? gamma * expf(pair_logarithm - maximum) : 0.0f;
  const float partition = pair_scale * sums[0] + expf(center_maximum - maximum) * sums[3];
  const float log_partition = maximum + logf(partition);

  const float positives = sums[1] - 1;  // the class without the anchor itself
  const float pair_weight = problem.beta + problem.alpha * positives;
  float log_likelihood =
      problem.alpha * (sums[2] / problem.temperature - positives * log_partition);
  if (logits != nullptr) {
    const float label_logit = context.to_float(logits[label]);
    float target_logit = label_logit;
    if (problem.label_smoothing > 0) {
      const float other = problem.label_smoothing / static_cast<float>(problem.num_classes - 1);
      target_logit = (1 - problem.label_smoothing) * label_logit + other * (sums[4] - label_logit);
    }
    log_likelihood += problem.beta * (target_logit - log_partition);
  }
  // An anchor without center and positives has no loss.
  const bool idle = pair_weight == 0;
  if (thread == 0) {
    float loss =
        idle ? 0.0f
             : -(problem.temperature / problem.base_temperature) * log_likelihood / pair_weight;
    float poison = 0.0f * sums[0] + sums[5];
    if (problem.anchor_weight != nullptr) {
      const float weight = problem.anchor_weight[anchor];
      loss *= weight;
      poison = fmaf(weight, 0.0f, poison);
    }
    results.anchor_loss[anchor] = loss + poison;
    results.log_partition[anchor] = log_partition;
    results.pair_weight[anchor] = pair_weight;
  }
  if (results.anchor_grad != nullptr) {
    const float exp_scale = pair_scale * expf(maximum - log_partition);
    const float positive_scale = problem.alpha / pair_weight;
    for (int d = thread; d < dim; d += context.num_threads()) {
      results.anchor_grad[anchor * dim + d] =
          idle ? 0.0f : exp_scale * memory.exp_row[d] - positive_scale * memory.positive_row[d];
    }
  }
}

template <typename Context>
PACO_DEVICE void average_anchors(Context& context, const float* anchor_loss, int64_t num_anchors,
                                 float* loss) {
  auto& memory = *reinterpret_cast<AnchorMemory*>(context.shared_memory());
  float sum[1] = {0};
  for (int64_t i = context.thread(); i < num_anchors; i += context.num_threads()) {
    sum[0] += anchor_loss[i];
  }
  reduce_block<Sum>(context, sum, memory.scratch);
  if (context.thread() == 0) *loss = sum[0] / static_cast<float>(num_anchors);
}

// ---- Backward
// ------------------------------------------------------------------------------------

// What the forward pass saved, and the gradients.
struct PaCoLossGradients {
  const float* grad_loss;      // []
  const float* log_partition;  // [A]
  const float* pair_weight;    // [A]
  const float* anchor_grad;    // [A, D]
  void* grad_features;         // [M, D], Element
  void* grad_center_logits;    // [A, C], as center_logits
};

// The weight of the loss of one anchor among others; 0 without center and positives.
template <typename Element>
PACO_DEVICE float anchor_scale(const PaCoLossProblem<Element>& problem, float pair_weight,
                               int64_t anchor) {
  if (pair_weight == 0) return 0;
  return problem.anchor_weight != nullptr ? problem.anchor_weight[anchor] : 1.0f;
}

// Of all anchors, over the block; 1 where no weight is above 0. `scratch` is that of reduce_block.
template <typename Element, typename Context>
PACO_DEVICE float largest_anchor_weight(Context& context, const PaCoLossProblem<Element>& problem,
                                        float* scratch) {
  if (problem.anchor_weight == nullptr) return 1;
  float largest[1] = {0};
  for (int64_t i = context.thread(); i < problem.num_anchors; i += context.num_threads()) {
    largest[0] = fmaxf(largest[0], problem.anchor_weight[i]);
  }
  reduce_block<Maximum>(context, largest, scratch);
  return largest[0] > 0 ? largest[0] : 1.0f;
}

// One column of the in-batch block: an anchor, what its pairs are made of.
struct AnchorColumn {
  float log2_partition;  // L_i log2(e); infinite where pair_scale is 0
  float pair_scale;      // gamma, weighted
  float positive_scale;  // alpha / W_i, weighted
  int64_t label;
};

template <typename Product, int kDim>
struct GradientMemory : PairMemory<Product, kDim> {
  using Tiles = PairMemory<Product, kDim>;
  static constexpr int kBytes =
      Tiles::kBytes + 2 * Product::kColumns * static_cast<int>(sizeof(AnchorColumn));

  PACO_DEVICE AnchorColumn* anchors(int64_t tile) const {
    return reinterpret_cast<AnchorColumn*>(this->memory + Tiles::kBytes) +
           tile % 2 * Product::kColumns;
  }
};

// dl/dz_j = sum over anchors i of (dl/dp_ij) z_i / T, and for an anchor its own row on top.
template <typename Product, int kDim, typename Context>
PACO_DEVICE void feature_gradient(Context& context,
                                  const PaCoLossProblem<typename Product::Element>& problem,
                                  const PaCoLossGradients& gradients) {
  using Element = typename Product::Element;
  constexpr int kColumns = Product::kColumns;
  const GradientMemory<Product, kDim> memory{{context.shared_memory()}};
  const int lane = context.lane();
  const Rows<Element>& features = problem.features;
  const Rows<Element> anchors{features.data, problem.num_anchors, features.dim};
  const int64_t first_row = context.block_x() * kPairRows;
  const int64_t num_tiles = divide_up(problem.num_anchors, kColumns);
  const float scale = kLog2E / problem.temperature;

  // Of the weights of pairs, none of which is above the largest of an anchor. First of all, because
  // ptxas spills otherwise.
  float unit = 1;
  if constexpr (Product::kLog2WeightUnit > 0) {
    unit = context.exp2(Product::kLog2WeightUnit - 1) /
           largest_anchor_weight(context, problem, reinterpret_cast<float*>(memory.anchors(0)));
  }

  int64_t row[2];
  int64_t row_label[2];
  PACO_UNROLL
  for (int r = 0; r < 2; ++r) {
    row[r] = first_row + context.warp() * kWarpRows + lane / 4 + 8 * r;
    row_label[r] = row[r] < features.num_rows ? problem.labels[row[r]] : -1;
  }

  load_tile<kDim, kPairRows>(context, memory.rows(), features, first_row);
  load_tile<kDim, kColumns>(context, memory.columns(0), anchors, 0);
  context.commit_copies();

  float gradient[2][slots(kDim)] = {};
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t first_column = tile * kColumns;
    if (tile + 1 < num_tiles) {
      load_tile<kDim, kColumns>(context, memory.columns(tile + 1), anchors,
                                first_column + kColumns);
    }
    context.commit_copies();
    for (int i = context.thread(); i < kColumns; i += context.num_threads()) {
      AnchorColumn column{0, 0, 0, -1};
      const int64_t anchor = first_column + i;
      if (anchor < problem.num_anchors) {
        const float pair_weight = gradients.pair_weight[anchor];
        const float weight = unit * anchor_scale(problem, pair_weight, anchor);
        if (pair_weight != 0) {
          column.log2_partition = gradients.log_partition[anchor] * kLog2E;
          column.pair_scale = weight * problem.gamma;
          column.positive_scale = weight * problem.alpha / pair_weight;
          column.label = problem.labels[anchor];
        }
      }
      // Pairs without gamma are not in L, and exp(p - L) may be beyond any number.
      if (column.pair_scale == 0) column.log2_partition = INFINITY;
      memory.anchors(tile)[i] = column;
    }
    context.template wait_copies<1>();
    if (tile == 0) Product::template settle_tile<kDim, kPairRows>(context, memory.rows());
    Product::template settle_tile<kDim, kColumns>(context, memory.columns(tile));
    context.sync();

    float pairs[2][slots(kColumns)] = {};
    Product::template multiply_pairs<kDim>(
        context, memory.rows() + context.warp() * kWarpRows * TileLayout<Element, kDim>::kStride,
        memory.columns(tile), pairs);
    PACO_UNROLL
    for (int slot = 0; slot < slots(kColumns); ++slot) {
      const int column = Product::pair_column(slot, lane);
      const AnchorColumn anchor = memory.anchors(tile)[column];
      PACO_UNROLL
      for (int r = 0; r < 2; ++r) {
        float& pair = pairs[r][slot];
        const float exponential = context.exp2(fmaf(pair, scale, -anchor.log2_partition));
        pair = anchor.pair_scale * exponential;
        if (row_label[r] == anchor.label) pair -= anchor.positive_scale;
        if (row[r] == first_column + column) pair = 0;
      }
    }
    Product::template multiply_values<kDim>(context, pairs, memory.columns(tile), gradient);
    context.sync();
  }

  const float upstream =
      *gradients.grad_loss / (static_cast<float>(problem.num_anchors) * problem.base_temperature);
  const float inverse_unit = 1 / unit;
  PACO_UNROLL
  for (int r = 0; r < 2; ++r) {
    if (row[r] >= features.num_rows) continue;
    const bool is_anchor = row[r] < problem.num_anchors;
    const float weight =
        is_anchor ? anchor_scale(problem, gradients.pair_weight[row[r]], row[r]) : 0.0f;
    PACO_UNROLL
    for (int slot = 0; slot < slots(kDim); ++slot) {
      const int column = Product::value_column(slot, lane);
      if (column >= features.dim) continue;
      const int64_t at = row[r] * features.dim + column;
      float value = gradient[r][slot] * inverse_unit;
      if (is_anchor) value += weight * gradients.anchor_grad[at];
      context.assign(static_cast<Element*>(gradients.grad_features)[at], upstream * value);
    }
  }
}

// dl/ds_ic for kCenterStep elements of one anchor.
constexpr int kCenterStep = 2048;

template <typename Logit, typename Element, typename Context>
PACO_DEVICE void center_gradient(Context& context, const PaCoLossProblem<Element>& problem,
                                 const PaCoLossGradients& gradients) {
  const int64_t anchor = context.block_x();
  const int64_t begin = context.block_y() * kCenterStep;
  const int64_t end = smaller(begin + kCenterStep, problem.num_classes);
  const auto* const logits =
      static_cast<const Logit*>(problem.center_logits) + anchor * problem.num_classes;
  auto* const gradient =
      static_cast<Logit*>(gradients.grad_center_logits) + anchor * problem.num_classes;

  const float pair_weight = gradients.pair_weight[anchor];
  const float log_partition = gradients.log_partition[anchor];
  const bool idle = pair_weight == 0;
  const float scale = *gradients.grad_loss * anchor_scale(problem, pair_weight, anchor) *
                      problem.temperature /
                      (static_cast<float>(problem.num_anchors) * problem.base_temperature);
  const int64_t label = problem.labels[anchor];
  const float center_share = problem.beta / pair_weight;
  const float label_share = center_share * (1 - problem.label_smoothing);
  const float other_share =
      problem.label_smoothing > 0
          ? center_share * problem.label_smoothing / static_cast<float>(problem.num_classes - 1)
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
      const float share = c == label ? label_share : other_share;
      context.assign(gradient[c], idle ? 0.0f : scale * (expf(batch[i] - log_partition) - share));
    }
  }
}

}  // namespace paco::cuda
