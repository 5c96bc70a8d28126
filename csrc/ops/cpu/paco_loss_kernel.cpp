// The PaCo loss on a CPU: one pass over tiles of columns with the online softmax of flash
// attention. A tile of [anchors, columns] logits lives in the L2 cache between two products, which
// are the BLAS's work; what happens between them is row_kernels.h. Columns are the rows of
// `features`, then the valid rows of `queue`.
//
// Every sum is taken in a fixed order that depends on the shapes and the number of threads alone,
// so equal inputs give equal bits.

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <c10/util/irange.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../paco_loss_checks.h"
#include "../paco_loss_dispatch.h"
#include "label_slots.h"
#include "row_kernels.h"

namespace paco::cpu {
namespace {

// A tile of logits, its columns and a block of anchors with their sums fit a 1 MiB L2 cache for D
// <= 256, and are large enough for the BLAS to run at its full speed.
constexpr int64_t kAnchorBlock = 128;
constexpr int64_t kTileLogits = kAnchorBlock * 512;
constexpr int64_t kTileNumbers = 512 * 128;
// Below this many anchors to a block the BLAS slows down: then threads share columns instead.
constexpr int64_t kSmallestAnchorBlock = 32;

template <typename T>
constexpr T kMinusInfinity = -std::numeric_limits<T>::infinity();

// Stands for the logit of an anchor with itself. Finite, because row_kernels.h takes infinity for a
// bad input.
template <typename T>
constexpr T kExcluded = std::numeric_limits<T>::lowest();

int64_t divide_up(int64_t x, int64_t y) { return (x + y - 1) / y; }

template <typename T>
at::Tensor matrix(T* data, int64_t rows, int64_t columns) {
  return at::from_blob(data, {rows, columns},
                       at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
}

// ---- Columns
// -------------------------------------------------------------------------------------

// Rows that anchors are paired with, in the dtype they came in.
struct Segment {
  at::Tensor rows;  // [size, D]
  const int64_t* labels;
  int64_t size;
  bool holds_anchors;  // row i is anchor i
};

struct Tile {
  const Segment* segment;
  int64_t begin;
  int64_t size;
};

std::vector<Tile> cut_into_tiles(const std::vector<Segment>& segments, int64_t tile_columns) {
  std::vector<Tile> tiles;
  for (const auto& segment : segments) {
    for (int64_t begin = 0; begin < segment.size; begin += tile_columns) {
      tiles.push_back({&segment, begin, std::min(tile_columns, segment.size - begin)});
    }
  }
  return tiles;
}

int64_t columns_of_a_tile(int64_t dim) {
  return std::clamp<int64_t>(kTileNumbers / dim, 64, kTileLogits / kAnchorBlock);
}

// The rows of a tile in the dtype of the computation, converted into `scratch` where they have to.
template <typename T>
at::Tensor tile_rows(const Tile& tile, std::vector<T>& scratch) {
  auto rows = tile.segment->rows.narrow(0, tile.begin, tile.size);
  if (rows.scalar_type() == c10::CppTypeToScalarType<T>::value) return rows;
  scratch.resize(rows.numel());
  return matrix(scratch.data(), tile.size, rows.size(1)).copy_(rows);
}

// ---- Positives
// -----------------------------------------------------------------------------------

// The sum and number of all columns of a class, for the classes of the anchors: with them no anchor
// has to visit its positives.
template <typename T>
struct ClassSums {
  LabelSlots slots;
  int64_t dim;
  std::vector<T> sums;          // [slots, D]
  std::vector<int64_t> counts;  // [slots]

  ClassSums(const int64_t* anchor_labels, int64_t num_anchors, int64_t dim)
      : slots(anchor_labels, num_anchors),
        dim(dim),
        sums(slots.size() * dim),
        counts(slots.size()) {}

  const T* sum(int32_t slot) const { return sums.data() + slot * dim; }
};

// Each thread adds its own range of dimensions, over all rows in order.
template <typename T, typename Row>
void add_rows(ClassSums<T>& classes, const int64_t* labels, int64_t size, const Row& add_row) {
  std::vector<int32_t> slot(size);
  for (const auto j : c10::irange(size)) {
    slot[j] = classes.slots[labels[j]];
    if (slot[j] != LabelSlots::kAbsent) ++classes.counts[slot[j]];
  }
  at::parallel_for(0, classes.dim, /*grain_size=*/16, [&](int64_t begin, int64_t end) {
    for (const auto j : c10::irange(size)) {
      if (slot[j] != LabelSlots::kAbsent) {
        add_row(j, classes.sums.data() + slot[j] * classes.dim, begin, end);
      }
    }
  });
}

template <typename T>
void add_segment(ClassSums<T>& classes, const Segment& segment) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, segment.rows.scalar_type(), "paco_loss", [&] {
        const auto* const rows = segment.rows.const_data_ptr<scalar_t>();
        const int64_t stride = segment.rows.stride(0);
        add_rows(classes, segment.labels, segment.size,
                 [&](int64_t j, T* sum, int64_t begin, int64_t end) {
                   const auto* const row = rows + j * stride;
                   for (const auto d : c10::irange(begin, end)) sum[d] += static_cast<T>(row[d]);
                 });
      });
}

// ---- Centers
// -------------------------------------------------------------------------------------

// Reads and writes rows of the center logits in the dtype of the computation.
template <typename T>
class CenterRows {
 public:
  explicit CenterRows(const at::Tensor& logits)
      : logits_(logits),
        direct_(logits.scalar_type() == c10::CppTypeToScalarType<T>::value),
        scratch_(direct_ ? 0 : logits.size(1)) {}

  const T* read(int64_t i) {
    if (direct_) return logits_.const_data_ptr<T>() + i * logits_.stride(0);
    matrix(scratch_.data(), 1, logits_.size(1)).copy_(logits_.narrow(0, i, 1));
    return scratch_.data();
  }

  // Where row i is to be written; store(i) finishes it.
  T* write(int64_t i) {
    return direct_ ? logits_.mutable_data_ptr<T>() + i * logits_.stride(0) : scratch_.data();
  }

  void store(int64_t i) {
    if (!direct_) logits_.narrow(0, i, 1).copy_(matrix(scratch_.data(), 1, logits_.size(1)));
  }

 private:
  at::Tensor logits_;
  bool direct_;
  std::vector<T> scratch_;
};

// ---- Forward
// -------------------------------------------------------------------------------------

// The online softmax of some anchors over some columns.
template <typename T>
struct SoftmaxState {
  T* maximum;  // running maximum of p_ij
  T* exp_sum;  // sum_j exp(p_ij - maximum)
  T* rows;     // [anchors, D] sum_j exp(p_ij - maximum) z_j; null where no gradient
               // is needed
};

template <typename T>
struct Scratch {
  std::vector<T> logits;
  std::vector<T> columns;
};

template <typename T>
void add_tile(const at::Tensor& anchors, int64_t first_anchor, const Tile& tile, T temperature,
              bool first_tile, const SoftmaxState<T>& state, Scratch<T>& scratch) {
  const auto& kernels = row_kernels<T>();
  const int64_t num_anchors = anchors.size(0);
  const int64_t dim = anchors.size(1);
  const auto columns = tile_rows(tile, scratch.columns);
  scratch.logits.resize(num_anchors * tile.size);
  auto logits = matrix(scratch.logits.data(), num_anchors, tile.size);
  at::addmm_out(logits, logits, anchors, columns.t(), /*beta=*/0,
                /*alpha=*/1 / temperature);

  for (const auto i : c10::irange(num_anchors)) {
    T* const row = scratch.logits.data() + i * tile.size;
    const int64_t self = first_anchor + i - tile.begin;
    if (tile.segment->holds_anchors && self >= 0 && self < tile.size) row[self] = kExcluded<T>;
    const T tile_maximum = kernels.maximum(row, tile.size);
    T rescale = 1;
    if (tile_maximum == kExcluded<T>) {  // no pair in this tile but the anchor with itself
      std::fill_n(row, tile.size, T(0));
    } else {
      const T maximum = std::max(state.maximum[i], tile_maximum);
      rescale = std::exp(state.maximum[i] - maximum);
      state.exp_sum[i] = state.exp_sum[i] * rescale + kernels.exp_in_place(row, tile.size, maximum);
      state.maximum[i] = maximum;
    }
    if (state.rows != nullptr && !first_tile && rescale != 1) {
      kernels.axpby(state.rows + i * dim, state.rows + i * dim, dim, 0, rescale);
    }
  }
  if (state.rows != nullptr) {
    auto rows = matrix(state.rows, num_anchors, dim);
    at::addmm_out(rows, rows, logits, columns, /*beta=*/first_tile ? 0 : 1);
  }
}

// How the pairs are shared among the threads: blocks of anchors first; where there are too few,
// each block's columns in `splits` parts of their own state, which are joined in order.
struct Partition {
  int64_t block;
  int64_t blocks;
  int64_t splits;

  Partition(int64_t num_anchors, int64_t num_tiles) {
    const int64_t threads = at::get_num_threads();
    block = std::clamp(divide_up(num_anchors, threads), kSmallestAnchorBlock, kAnchorBlock);
    blocks = divide_up(num_anchors, block);
    splits = std::clamp<int64_t>(divide_up(threads, blocks), 1, std::max<int64_t>(num_tiles, 1));
  }
};

template <typename T>
PaCoLossState forward(const PaCoLossArguments& args, const std::vector<Segment>& segments,
                      bool features_grad) {
  const auto& kernels = row_kernels<T>();
  const int64_t num_anchors = args.num_anchors.expect_int();
  const int64_t dim = args.features.size(1);
  const auto options = args.features.options().dtype(c10::CppTypeToScalarType<T>::value);
  const auto anchors = args.features.narrow(0, 0, num_anchors).to(options.dtype()).contiguous();
  const T* const anchor_data = anchors.template const_data_ptr<T>();
  const auto* const labels = segments[0].labels;
  const auto temperature = static_cast<T>(args.temperature);
  const auto alpha = static_cast<T>(args.alpha);
  const auto gamma = static_cast<T>(args.gamma);

  ClassSums<T> classes(labels, args.alpha > 0 ? num_anchors : 0, dim);
  if (args.alpha > 0) {
    for (const auto& segment : segments) add_segment(classes, segment);
  }

  // Without gamma no exponential of a pair is needed.
  const auto tiles =
      args.gamma > 0 ? cut_into_tiles(segments, columns_of_a_tile(dim)) : std::vector<Tile>();
  const Partition partition(num_anchors, static_cast<int64_t>(tiles.size()));
  auto anchor_grad = at::empty({0}, options);
  if (features_grad) {
    anchor_grad = tiles.empty() ? at::zeros({num_anchors, dim}, options)
                                : at::empty({num_anchors, dim}, options);
  }
  std::vector<T> maximum(partition.splits * num_anchors, kMinusInfinity<T>);
  std::vector<T> exp_sum(partition.splits * num_anchors);
  // Split 0 sums into the result.
  std::vector<T> split_rows(features_grad ? (partition.splits - 1) * num_anchors * dim : 0);
  T* const grad_data = features_grad ? anchor_grad.template mutable_data_ptr<T>() : nullptr;
  const auto rows_of_split = [&](int64_t split) {
    if (!features_grad) return static_cast<T*>(nullptr);
    return split == 0 ? grad_data : split_rows.data() + (split - 1) * num_anchors * dim;
  };
  const auto num_tiles = static_cast<int64_t>(tiles.size());
  const int64_t tasks = tiles.empty() ? 0 : partition.blocks * partition.splits;
  at::parallel_for(0, tasks, /*grain_size=*/1, [&](int64_t task_begin, int64_t task_end) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    Scratch<T> scratch;
    for (const auto task : c10::irange(task_begin, task_end)) {
      const int64_t split = task % partition.splits;
      const int64_t first_anchor = task / partition.splits * partition.block;
      const int64_t size = std::min(partition.block, num_anchors - first_anchor);
      T* const rows = rows_of_split(split);
      const SoftmaxState<T> state{maximum.data() + split * num_anchors + first_anchor,
                                  exp_sum.data() + split * num_anchors + first_anchor,
                                  rows == nullptr ? nullptr : rows + first_anchor * dim};
      const int64_t tile_begin = num_tiles * split / partition.splits;
      const int64_t tile_end = num_tiles * (split + 1) / partition.splits;
      const auto block = anchors.narrow(0, first_anchor, size);
      for (const auto tile : c10::irange(tile_begin, tile_end)) {
        add_tile(block, first_anchor, tiles[tile], temperature, tile == tile_begin, state, scratch);
      }
    }
  });

  // Join splits and centers, anchor by anchor.
  auto log_partition = at::empty({num_anchors}, options);
  auto pair_weight = at::empty({num_anchors}, options);
  std::vector<T> per_anchor(num_anchors);
  T* const log_partition_data = log_partition.template mutable_data_ptr<T>();
  T* const pair_weight_data = pair_weight.template mutable_data_ptr<T>();
  const auto anchor_weight =
      args.anchor_weight ? args.anchor_weight->to(options.dtype()).contiguous() : at::Tensor();
  at::parallel_for(0, num_anchors, /*grain_size=*/16, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const bool has_centers = args.center_logits.has_value();
    CenterRows<T> centers(has_centers ? *args.center_logits : at::empty({0, 0}, options));
    for (const auto i : c10::irange(begin, end)) {
      const T* const anchor = anchor_data + i * dim;
      T* const grad = features_grad ? grad_data + i * dim : nullptr;

      // Pairs: the maximum over the splits, their sums rescaled to it.
      T pair_maximum = maximum[i];
      for (const auto split : c10::irange<int64_t>(1, partition.splits)) {
        pair_maximum = std::max(pair_maximum, maximum[split * num_anchors + i]);
      }
      T pair_sum = 0;
      for (const auto split : c10::irange(partition.splits)) {
        const int64_t at = split * num_anchors + i;
        const T rescale = maximum[at] == pair_maximum ? T(1) : std::exp(maximum[at] - pair_maximum);
        pair_sum += exp_sum[at] * rescale;
        if (features_grad && partition.splits > 1) {
          const bool first = split == 0;
          kernels.axpby(grad, rows_of_split(split) + i * dim, dim, first ? 0 : rescale,
                        first ? rescale : 1);
        }
      }

      // Centers: the same over their logits, and the target's share.
      T total_maximum = gamma > 0 ? pair_maximum : kMinusInfinity<T>;
      T center_maximum = kMinusInfinity<T>;
      T center_sum = 0;
      T target = 0;
      if (has_centers) {
        const int64_t num_classes = args.center_logits->size(1);
        const T* const row = centers.read(i);
        center_maximum = kernels.maximum(row, num_classes);
        center_sum = kernels.exp_sum(row, num_classes, center_maximum);
        const auto smoothing = static_cast<T>(args.label_smoothing);
        target = row[labels[i]];
        if (smoothing > 0) {
          target = (1 - smoothing) * target + smoothing / static_cast<T>(num_classes - 1) *
                                                  (kernels.sum(row, num_classes) - target);
        }
        total_maximum = std::max(total_maximum, center_maximum);
      }
      const auto at_maximum = [&](T sum, T maximum) {
        return maximum == total_maximum ? sum : sum * std::exp(maximum - total_maximum);
      };
      const T partition_function = at_maximum(center_sum, center_maximum) +
                                   (gamma > 0 ? gamma * at_maximum(pair_sum, pair_maximum) : 0);
      const T log_denominator = total_maximum + std::log(partition_function);

      // Positives by their class sum, the anchor itself taken out.
      const T squared_norm = kernels.dot(anchor, anchor, dim);
      T positives = 0;
      T positive_logits = 0;
      const T* class_sum = nullptr;
      if (args.alpha > 0) {
        const int32_t slot = classes.slots[labels[i]];
        class_sum = classes.sum(slot);
        positives = static_cast<T>(classes.counts[slot] - 1);
        positive_logits = (kernels.dot(anchor, class_sum, dim) - squared_norm) / temperature;
      }
      const T center_weight = has_centers ? static_cast<T>(args.beta) : 0;
      const T weight = center_weight + alpha * positives;
      log_partition_data[i] = log_denominator;
      pair_weight_data[i] = weight;

      // A NaN reaches the loss even where nothing else uses it.
      T loss = (squared_norm + pair_sum + center_sum) * 0;
      if (weight > 0) {
        T log_likelihood = 0;
        if (center_weight > 0) log_likelihood += center_weight * (target - log_denominator);
        if (positives > 0) {
          log_likelihood += alpha * (positive_logits - positives * log_denominator);
        }
        loss -= temperature / static_cast<T>(args.base_temperature) * log_likelihood / weight;
      }
      if (anchor_weight.defined()) {
        const T factor = anchor_weight.template const_data_ptr<T>()[i];
        loss = loss * factor + factor * 0;
      }
      per_anchor[i] = loss;

      if (features_grad) {
        if (weight > 0) {
          const T pair_scale = gamma > 0 ? gamma * std::exp(pair_maximum - log_denominator) : T(0);
          if (positives > 0) {
            kernels.axpby(grad, class_sum, dim, -alpha / weight, pair_scale);
            kernels.axpby(grad, anchor, dim, alpha / weight, 1);
          } else {
            kernels.axpby(grad, anchor, dim, 0, pair_scale);
          }
        } else {
          std::fill_n(grad, dim, T(0));
        }
      }
    }
  });

  double loss = 0;
  for (const T value : per_anchor) loss += static_cast<double>(value);
  loss /= static_cast<double>(num_anchors);
  if (tiles.empty()) {  // the rows took part in no product: look at them for NaN
                        // and infinity
    for (const auto& segment : segments) {
      loss += segment.rows.sum(at::kDouble).template item<double>() * 0;
    }
  }
  return {at::scalar_tensor(loss, options), log_partition, pair_weight, anchor_grad};
}

void check_label_values(const char* name, const int64_t* labels, int64_t size,
                        int64_t num_classes) {
  for (const auto j : c10::irange(size)) {
    TORCH_CHECK_VALUE(labels[j] >= 0 && labels[j] < num_classes, "paco_loss: ", name,
                      " must lie in [0, C), got ", labels[j], " at ", j,
                      num_classes == std::numeric_limits<int64_t>::max()
                          ? std::string()
                          : c10::str(" with C = ", num_classes));
  }
}

PaCoLossState paco_loss_forward(const at::Tensor& features, const at::Tensor& labels,
                                const std::optional<at::Tensor>& center_logits,
                                const std::optional<at::Tensor>& queue,
                                const std::optional<at::Tensor>& queue_labels, int64_t num_anchors,
                                const std::optional<at::Tensor>& queue_size, double alpha,
                                double beta, double gamma, double temperature,
                                double base_temperature, double label_smoothing,
                                const std::optional<at::Tensor>& anchor_weight,
                                bool features_grad) {
  const PaCoLossArguments args{
      features,    labels,           center_logits,   queue,        queue_labels,
      num_anchors, queue_size,       alpha,           beta,         gamma,
      temperature, base_temperature, label_smoothing, anchor_weight};
  check_paco_loss(args);

  const int64_t num_classes =
      center_logits ? center_logits->size(1) : std::numeric_limits<int64_t>::max();
  const auto contiguous_labels = labels.contiguous();
  const auto contiguous_features = features.contiguous();
  std::vector<Segment> segments{{contiguous_features, contiguous_labels.const_data_ptr<int64_t>(),
                                 features.size(0), /*holds_anchors=*/true}};
  check_label_values("labels", segments[0].labels, segments[0].size, num_classes);
  at::Tensor contiguous_queue;
  at::Tensor contiguous_queue_labels;
  if (queue) {
    const int64_t capacity = queue->size(0);
    const int64_t size = queue_size ? queue_size->item<int64_t>() : capacity;
    TORCH_CHECK_VALUE(size >= 0 && size <= capacity,
                      "paco_loss: queue_size must lie between 0 and the rows of queue, ", capacity,
                      ", got ", size);
    // A queue with unit stride along its rows is used where it lies.
    contiguous_queue = queue->stride(1) == 1 ? *queue : queue->contiguous();
    contiguous_queue = contiguous_queue.narrow(0, 0, size);
    contiguous_queue_labels = queue_labels->contiguous();
    segments.push_back({contiguous_queue, contiguous_queue_labels.const_data_ptr<int64_t>(), size,
                        /*holds_anchors=*/false});
    check_label_values("queue_labels", segments[1].labels, size, num_classes);
  }
  if (anchor_weight) {
    const auto negative = anchor_weight->lt(0);
    TORCH_CHECK_VALUE(!negative.any().item<bool>(), "paco_loss: anchor_weight must be >= 0, got ",
                      anchor_weight->min().item<double>());
  }
  const std::optional<at::Tensor> contiguous_logits =
      center_logits ? std::optional(center_logits->contiguous()) : std::nullopt;
  const PaCoLossArguments contiguous_args{contiguous_features,
                                          labels,
                                          contiguous_logits,
                                          queue,
                                          queue_labels,
                                          args.num_anchors,
                                          queue_size,
                                          alpha,
                                          beta,
                                          gamma,
                                          temperature,
                                          base_temperature,
                                          label_smoothing,
                                          anchor_weight};
  return accumulate_type(features.scalar_type()) == at::kDouble
             ? forward<double>(contiguous_args, segments, features_grad)
             : forward<float>(contiguous_args, segments, features_grad);
}

// ---- Backward
// ------------------------------------------------------------------------------------

// What a row is weighed with in the gradient: upstream / (A T_base) times the weight of the anchor,
// 0 for an anchor without center and positives.
template <typename T>
std::vector<T> anchor_scales(const at::Tensor& grad_loss,
                             const std::optional<at::Tensor>& anchor_weight,
                             const at::Tensor& pair_weight, double base_temperature) {
  const int64_t num_anchors = pair_weight.size(0);
  const auto scale = static_cast<T>(grad_loss.item<double>() /
                                    (static_cast<double>(num_anchors) * base_temperature));
  const auto weights = anchor_weight ? anchor_weight->to(pair_weight.scalar_type()).contiguous()
                                     : at::ones_like(pair_weight);
  std::vector<T> scales(num_anchors);
  for (const auto i : c10::irange(num_anchors)) {
    scales[i] =
        pair_weight.const_data_ptr<T>()[i] == 0 ? T(0) : scale * weights.const_data_ptr<T>()[i];
  }
  return scales;
}

// The gradient to the rows of features: as contrast over the block [A, M], and as anchors what the
// forward pass left.
template <typename T>
at::Tensor features_gradient(const at::Tensor& features, const int64_t* labels,
                             const std::vector<T>& scales, const at::Tensor& log_partition,
                             const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
                             double alpha, double gamma, double temperature) {
  const auto& kernels = row_kernels<T>();
  const auto num_anchors = static_cast<int64_t>(scales.size());
  const int64_t num_rows = features.size(0);
  const int64_t dim = features.size(1);
  const auto rows = features.to(log_partition.scalar_type()).contiguous();
  const T* const row_data = rows.template const_data_ptr<T>();
  const T* const log_partition_data = log_partition.template const_data_ptr<T>();
  const T* const anchor_grad_data = anchor_grad.template const_data_ptr<T>();
  const auto log_gamma = static_cast<T>(std::log(gamma));

  std::vector<T> positive_scales(num_anchors);
  for (const auto i : c10::irange(num_anchors)) {
    if (scales[i] != 0) {
      positive_scales[i] =
          scales[i] * static_cast<T>(alpha) / pair_weight.template const_data_ptr<T>()[i];
    }
  }
  ClassSums<T> classes(labels, alpha > 0 ? num_anchors : 0, dim);
  if (alpha > 0) {
    add_rows(classes, labels, num_anchors, [&](int64_t i, T* sum, int64_t begin, int64_t end) {
      const T* const anchor = row_data + i * dim;
      for (const auto d : c10::irange(begin, end)) sum[d] += positive_scales[i] * anchor[d];
    });
  }

  auto gradient = gamma > 0 ? at::empty_like(rows) : at::zeros_like(rows);
  T* const gradient_data = gradient.template mutable_data_ptr<T>();
  const int64_t tile = std::clamp<int64_t>(divide_up(num_rows, at::get_num_threads()),
                                           kSmallestAnchorBlock, kAnchorBlock);
  const int64_t block = kTileLogits / tile;
  at::parallel_for(
      0, divide_up(num_rows, tile), /*grain_size=*/1, [&](int64_t tile_begin, int64_t tile_end) {
        const at::AutoDispatchBelowADInplaceOrView below_autograd;
        std::vector<T> scratch(std::min(block, num_anchors) * std::min(tile, num_rows));
        for (int64_t j = tile_begin * tile; j < std::min(tile_end * tile, num_rows); j += tile) {
          const int64_t columns = std::min(tile, num_rows - j);
          auto tile_gradient = gradient.narrow(0, j, columns);
          for (int64_t i = 0; gamma > 0 && i < num_anchors; i += block) {
            const auto anchors = rows.narrow(0, i, std::min(block, num_anchors - i));
            auto pairs = matrix(scratch.data(), anchors.size(0), columns);
            at::addmm_out(pairs, pairs, anchors, rows.narrow(0, j, columns).t(), 0,
                          1 / temperature);
            for (const auto k : c10::irange(i, i + anchors.size(0))) {
              T* const row = scratch.data() + (k - i) * columns;
              if (scales[k] == 0) {
                std::fill_n(row, columns, T(0));
                continue;
              }
              kernels.exp_affine(row, row, columns, log_partition_data[k] - log_gamma, scales[k],
                                 0);
              if (k >= j && k < j + columns) row[k - j] = 0;
            }
            at::addmm_out(tile_gradient, tile_gradient, pairs.t(), anchors,
                          /*beta=*/i == 0 ? 0 : 1);
          }
          for (const auto k : c10::irange(j, j + columns)) {
            T* const row = gradient_data + k * dim;
            const int32_t slot = alpha > 0 ? classes.slots[labels[k]] : LabelSlots::kAbsent;
            if (slot != LabelSlots::kAbsent) kernels.axpby(row, classes.sum(slot), dim, -1, 1);
            if (k < num_anchors) {
              kernels.axpby(row, row_data + k * dim, dim, positive_scales[k], 1);
              kernels.axpby(row, anchor_grad_data + k * dim, dim, scales[k], 1);
            }
          }
        }
      });
  return gradient.to(features.scalar_type());
}

template <typename T>
at::Tensor center_logits_gradient(const at::Tensor& center_logits, const int64_t* labels,
                                  const std::vector<T>& scales, const at::Tensor& log_partition,
                                  const at::Tensor& pair_weight, double beta, double temperature,
                                  double label_smoothing) {
  const auto& kernels = row_kernels<T>();
  const auto num_anchors = static_cast<int64_t>(scales.size());
  const auto contiguous = center_logits.contiguous();
  const int64_t num_classes = contiguous.size(1);
  auto gradient = at::empty_like(contiguous);
  at::parallel_for(0, num_anchors, /*grain_size=*/16, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    CenterRows<T> logits(contiguous);
    CenterRows<T> out(gradient);
    for (const auto i : c10::irange(begin, end)) {
      T* const row = out.write(i);
      const T scale = scales[i] * static_cast<T>(temperature);
      if (scale == 0) {
        std::fill_n(row, num_classes, T(0));
      } else {
        const T weight = pair_weight.template const_data_ptr<T>()[i];
        const T target_scale = scale * static_cast<T>(beta) / weight;
        const auto smoothing = static_cast<T>(label_smoothing);
        const T other = num_classes > 1 ? smoothing / static_cast<T>(num_classes - 1) : T(0);
        kernels.exp_affine(row, logits.read(i), num_classes,
                           log_partition.template const_data_ptr<T>()[i], scale,
                           target_scale * other);
        row[labels[i]] -= target_scale * (1 - smoothing - other);
      }
      out.store(i);
    }
  });
  return gradient;
}

std::tuple<at::Tensor, at::Tensor> paco_loss_backward(
    const at::Tensor& grad_loss, const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& anchor_weight,
    const at::Tensor& log_partition, const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
    double alpha, double beta, double gamma, double temperature, double base_temperature,
    double label_smoothing, bool features_grad, bool center_logits_grad) {
  const auto contiguous_labels = labels.contiguous();
  const auto* const label_data = contiguous_labels.const_data_ptr<int64_t>();
  auto grad_features = at::empty({0}, features.options());
  auto grad_center_logits = at::empty({0}, features.options());
  const auto run = [&]<typename T>(T /*accumulate type*/) {
    const auto scales = anchor_scales<T>(grad_loss, anchor_weight, pair_weight, base_temperature);
    if (features_grad) {
      grad_features = features_gradient(features, label_data, scales, log_partition, pair_weight,
                                        anchor_grad, alpha, gamma, temperature);
    }
    if (center_logits_grad) {
      grad_center_logits = center_logits_gradient(*center_logits, label_data, scales, log_partition,
                                                  pair_weight, beta, temperature, label_smoothing);
    }
  };
  log_partition.scalar_type() == at::kDouble ? run(double()) : run(float());
  return {grad_features, grad_center_logits};
}

}  // namespace
}  // namespace paco::cpu

TORCH_LIBRARY_IMPL(paco, CPU, m) {
  m.impl("paco_loss_forward", TORCH_FN(paco::cpu::paco_loss_forward));
  m.impl("paco_loss_backward", TORCH_FN(paco::cpu::paco_loss_backward));
}
