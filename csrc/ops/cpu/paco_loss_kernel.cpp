// The PaCo loss on a CPU: one pass over tiles of columns with the online softmax of flash
// attention. A tile of logits lives in the L2 cache from the product that makes it, over its
// exponentials, to the product that weighs its columns with them (products.h). Columns are the rows
// of `features`, then the valid rows of `queue`.
//
// Every sum is taken in a fixed order that depends on the shapes and the number of threads alone,
// so equal inputs give equal bits.

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <c10/util/irange.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "../paco_loss_checks.h"
#include "../paco_loss_dispatch.h"
#include "label_slots.h"
#include "products.h"
#include "row_kernels.h"

namespace paco::cpu {
namespace {

// A tile of logits, its columns and a block of anchors with their sums fit a 1 MiB L2 cache for D
// <= 256.
constexpr int64_t kTileColumns = 256;
constexpr int64_t kAnchorBlock = 128;
static_assert(kAnchorBlock % kLanes == 0);

template <typename T>
constexpr T kMinusInfinity = -std::numeric_limits<T>::infinity();

// The maximum before there is a pair. Finite, even less another maximum, as exponential.h wants it.
template <typename T>
constexpr T kNoPair = std::numeric_limits<T>::lowest() / 4;

// Numbers that a thread should have to work on at least.
constexpr int64_t kThreadNumbers = 65536;

int64_t divide_up(int64_t x, int64_t y) { return (x + y - 1) / y; }

// Calls function.operator()<Products>() with the way in which rows of a dtype are multiplied.
template <typename T, typename Function>
void dispatch_products(at::ScalarType rows, const Function& function) {
  if constexpr (std::is_same_v<T, float>) {
    if (rows == at::kBFloat16 && bfloat16_pair_kernels() != nullptr) {
      return function.template operator()<BFloat16Products>();
    }
  }
  function.template operator()<Products<T>>();
}

// ---- Columns ----

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

  at::Tensor rows() const { return segment->rows.narrow(0, begin, size); }
};

// Columns [first, last) of all segments in tiles of about the same size.
std::vector<Tile> cut_into_tiles(const std::vector<Segment>& segments, int64_t first,
                                 int64_t last) {
  std::vector<Tile> tiles;
  int64_t offset = 0;
  for (const auto& segment : segments) {
    const int64_t begin = std::max<int64_t>(first - offset, 0);
    const int64_t end = std::min(last - offset, segment.size);
    offset += segment.size;
    if (begin >= end) continue;
    const int64_t size = divide_up(end - begin, divide_up(end - begin, kTileColumns));
    for (int64_t at = begin; at < end; at += size) {
      tiles.push_back({&segment, at, std::min(size, end - at)});
    }
  }
  return tiles;
}

// ---- Positives ----

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
  const int64_t grain = std::max<int64_t>(kThreadNumbers / (size + 1), 16);
  at::parallel_for(0, classes.dim, grain, [&](int64_t begin, int64_t end) {
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
                   if constexpr (std::is_same_v<T, scalar_t>) {
                     row_kernels<T>().axpby(sum + begin, row + begin, end - begin, 1, 1);
                   } else {
                     for (const auto d : c10::irange(begin, end)) sum[d] += static_cast<T>(row[d]);
                   }
                 });
      });
}

// ---- Centers ----

// The center logits of some anchors in the dtype of the computation: the rows themselves, or a
// converted copy.
template <typename T>
at::Tensor center_rows(const at::Tensor& logits, int64_t first, int64_t size) {
  return logits.narrow(0, first, size).to(c10::CppTypeToScalarType<T>::value);
}

// How many rows center_rows should take at once: a copy stays small.
template <typename T>
int64_t center_rows_at_once(const at::Tensor& logits, int64_t size) {
  constexpr int64_t kNumbers = 65536;
  if (logits.scalar_type() == c10::CppTypeToScalarType<T>::value) return size;
  return std::clamp<int64_t>(kNumbers / logits.size(1), 1, size);
}

template <typename T>
struct CenterTerms {
  T maximum = kMinusInfinity<T>;  // of s_ic
  T exp_sum = 0;                  // sum_c exp(s_ic - maximum)
  T target = 0;                   // sum_c t_ic s_ic
};

template <typename T>
CenterTerms<T> center_terms(const T* logits, int64_t num_classes, int64_t label, T smoothing) {
  const auto& kernels = row_kernels<T>();
  CenterTerms<T> terms;
  terms.maximum = kernels.maximum(logits, num_classes);
  terms.exp_sum = kernels.exp_sum(logits, num_classes, terms.maximum);
  terms.target = logits[label];
  if (smoothing > 0) {
    const T others = kernels.sum(logits, num_classes) - logits[label];
    terms.target =
        (1 - smoothing) * logits[label] + smoothing / static_cast<T>(num_classes - 1) * others;
  }
  return terms;
}

// ---- Pairs ----

// The online softmax of all anchors over all columns.
//
// Each thread has a group of anchors. Where there are too few anchors for that, the columns of a
// group are split among threads: each split has sums of its own, which join() adds up in order.
template <typename T>
class PairSums {
 public:
  // `rows`, [A, D], receives sum_j exp(p_ij - maximum) z_j; null where no gradient is needed.
  PairSums(int64_t num_anchors, const std::vector<Segment>& segments, T temperature, T* rows)
      : num_anchors_(num_anchors),
        dim_(segments[0].rows.size(1)),
        temperature_(temperature),
        segments_(segments),
        rows_(rows) {
    for (const auto& segment : segments) num_columns_ += segment.size;
    const int64_t threads = at::get_num_threads();
    group_ = std::max(divide_up(num_anchors_, threads), kAnchorBlock);
    const int64_t groups = divide_up(num_anchors_, group_);
    // A column less than the lanes of a register is not worth a thread.
    splits_ = std::clamp<int64_t>(divide_up(threads, groups), 1, divide_up(num_columns_, kLanes));
    maximum_.assign(splits_ * num_anchors_, kNoPair<T>);
    exp_sum_.assign(splits_ * num_anchors_, 0);
    // Split 0 adds into `rows` itself.
    if (rows != nullptr) split_rows_.resize((splits_ - 1) * num_anchors_ * dim_);
    const auto add = [&]<typename Products>() {
      at::parallel_for(0, groups * splits_, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
        const at::AutoDispatchBelowADInplaceOrView below_autograd;
        for (const auto task : c10::irange(begin, end)) {
          add_group<Products>(task / splits_ * group_, task % splits_);
        }
      });
    };
    dispatch_products<T>(segments[0].rows.scalar_type(), add);
  }

  struct Sum {
    T maximum;
    T exp_sum;  // sum_j exp(p_ij - maximum)
  };

  // Of all splits; leaves the rows of anchor i relative to the same maximum.
  Sum join(int64_t i) {
    T maximum = maximum_[i];
    for (const auto split : c10::irange<int64_t>(1, splits_)) {
      maximum = std::max(maximum, maximum_[split * num_anchors_ + i]);
    }
    T exp_sum = 0;
    for (const auto split : c10::irange(splits_)) {
      const int64_t at = split * num_anchors_ + i;
      const T rescale = maximum_[at] == maximum ? T(1) : std::exp(maximum_[at] - maximum);
      exp_sum += exp_sum_[at] * rescale;
      if (rows_ != nullptr && splits_ > 1) {
        const bool first = split == 0;
        row_kernels<T>().axpby(rows_ + i * dim_, rows_of(split) + i * dim_, dim_,
                               first ? 0 : rescale, first ? rescale : 1);
      }
    }
    return {exp_sum == 0 ? kMinusInfinity<T> : maximum, exp_sum};
  }

 private:
  T* rows_of(int64_t split) {
    return split == 0 ? rows_ : split_rows_.data() + (split - 1) * num_anchors_ * dim_;
  }

  template <typename Products>
  void add_group(int64_t first_anchor, int64_t split) {
    const int64_t last_anchor = std::min(first_anchor + group_, num_anchors_);
    std::vector<at::Tensor> blocks;
    for (int64_t i = first_anchor; i < last_anchor; i += kAnchorBlock) {
      const int64_t size = std::min(kAnchorBlock, last_anchor - i);
      blocks.push_back(Products::lanes(segments_[0].rows.narrow(0, i, size)));
    }
    Products products;
    bool first_tile = true;
    for (const auto& tile : cut_into_tiles(segments_, num_columns_ * split / splits_,
                                           num_columns_ * (split + 1) / splits_)) {
      products.set_rows(tile.rows());
      int64_t i = first_anchor;
      for (const auto& block : blocks) {
        const int64_t size = std::min(kAnchorBlock, last_anchor - i);
        add_block(i, size, split, tile, products, block, first_tile);
        i += size;
      }
      first_tile = false;
    }
  }

  template <typename Products>
  void add_block(int64_t first_anchor, int64_t size, int64_t split, const Tile& tile,
                 Products& products, const at::Tensor& lanes, bool first_tile) {
    T* const logits = products.logits(lanes);
    const int64_t stride = lanes.size(1);
    const int64_t num_lanes = stride - kLanes;
    T* const maximum = maximum_.data() + split * num_anchors_ + first_anchor;
    T* const exp_sum = exp_sum_.data() + split * num_anchors_ + first_anchor;
    std::array<T, kAnchorBlock> new_maximum{};
    std::array<T, kAnchorBlock> rescale{};
    std::array<T, kAnchorBlock> tile_sum;
    std::copy_n(maximum, size, new_maximum.begin());

    // An anchor is no column of its own: its logit is that of the next column, once more, until the
    // sum has been taken.
    const auto for_each_self = [&](const auto& visit) {
      if (!tile.segment->holds_anchors) return;
      const int64_t begin = std::max(first_anchor, tile.begin);
      const int64_t end = std::min(first_anchor + size, tile.begin + tile.size);
      for (int64_t k = begin; k < end; ++k) {
        visit(k - tile.begin, k - first_anchor);
      }
    };
    for_each_self([&](int64_t row, int64_t lane) {
      const int64_t next = (row + 1) % tile.size;
      logits[row * stride + lane] =
          tile.size > 1 ? logits[next * stride + lane] : kMinusInfinity<T>;
    });
    const auto& kernels = tile_kernels<T>();
    kernels.lane_maximum(new_maximum.data(), logits, stride, tile.size, num_lanes,
                         1 / temperature_);
    kernels.lane_exp(logits, stride, tile.size, num_lanes, 1 / temperature_, new_maximum.data(),
                     tile_sum.data());
    for_each_self([&](int64_t row, int64_t lane) {
      T& exponential = logits[row * stride + lane];
      tile_sum[lane] = tile.size > 1 ? tile_sum[lane] - exponential : 0;
      exponential = 0;
    });

    for (const auto i : c10::irange(size)) rescale[i] = maximum[i] - new_maximum[i];
    row_kernels<T>().exp_affine(rescale.data(), rescale.data(), num_lanes, 1, 0, 1, 0);
    for (const auto i : c10::irange(size)) {
      maximum[i] = new_maximum[i];
      exp_sum[i] = exp_sum[i] * rescale[i] + tile_sum[i];
    }
    if (rows_ == nullptr) return;
    T* const rows = rows_of(split) + first_anchor * dim_;
    for (const auto i : c10::irange(size)) {
      if (first_tile || rescale[i] == 1) continue;
      row_kernels<T>().axpby(rows + i * dim_, rows + i * dim_, dim_, 0, rescale[i]);
    }
    products.weigh_rows(rows, size, /*accumulate=*/!first_tile);
  }

  int64_t num_anchors_;
  int64_t dim_;
  T temperature_;
  const std::vector<Segment>& segments_;
  T* rows_;
  int64_t num_columns_ = 0;
  int64_t group_;              // anchors of a group
  int64_t splits_;             // of the columns of a group
  std::vector<T> maximum_;     // [splits, A] running maximum of p_ij
  std::vector<T> exp_sum_;     // [splits, A]
  std::vector<T> split_rows_;  // [splits - 1, A, D]
};

// ---- Forward ----

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
  const bool has_centers = args.center_logits.has_value();

  ClassSums<T> classes(labels, args.alpha > 0 ? num_anchors : 0, dim);
  if (args.alpha > 0) {
    for (const auto& segment : segments) add_segment(classes, segment);
  }

  auto anchor_grad = at::empty({0}, options);
  if (features_grad) anchor_grad.resize_({num_anchors, dim});
  if (args.gamma == 0) anchor_grad.zero_();
  T* const grad_data = features_grad ? anchor_grad.template mutable_data_ptr<T>() : nullptr;
  // Without gamma no exponential of a pair is needed.
  std::optional<PairSums<T>> pairs;
  if (args.gamma > 0) pairs.emplace(num_anchors, segments, temperature, grad_data);

  // Pairs, centers and positives come together anchor by anchor.
  auto log_partition = at::empty({num_anchors}, options);
  auto pair_weight = at::empty({num_anchors}, options);
  std::vector<T> per_anchor(num_anchors);
  T* const log_partition_data = log_partition.template mutable_data_ptr<T>();
  T* const pair_weight_data = pair_weight.template mutable_data_ptr<T>();
  const auto anchor_weight =
      args.anchor_weight ? args.anchor_weight->to(options.dtype()).contiguous() : at::Tensor();
  const auto finish = [&](int64_t i, const T* center_logits) {
    const T* const anchor = anchor_data + i * dim;
    const auto pair = pairs ? pairs->join(i) : typename PairSums<T>::Sum{kMinusInfinity<T>, 0};
    CenterTerms<T> center;
    if (has_centers) {
      center = center_terms(center_logits, args.center_logits->size(1), labels[i],
                            static_cast<T>(args.label_smoothing));
    }
    const T maximum = std::max(pair.maximum, center.maximum);
    const auto at_maximum = [&](T sum, T of) {
      return of == maximum ? sum : sum * std::exp(of - maximum);
    };
    const T log_denominator = maximum + std::log(at_maximum(center.exp_sum, center.maximum) +
                                                 gamma * at_maximum(pair.exp_sum, pair.maximum));

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
    T loss = (squared_norm + pair.exp_sum + center.exp_sum) * 0;
    if (weight > 0) {
      T log_likelihood = 0;
      if (center_weight > 0) log_likelihood += center_weight * (center.target - log_denominator);
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

    if (!features_grad) return;
    T* const grad = grad_data + i * dim;
    if (weight == 0) {
      std::fill_n(grad, dim, T(0));
      return;
    }
    const T pair_scale = gamma * std::exp(pair.maximum - log_denominator);
    if (positives > 0) {
      kernels.axpby(grad, class_sum, dim, -alpha / weight, pair_scale);
      kernels.axpby(grad, anchor, dim, alpha / weight, 1);
    } else {
      kernels.axpby(grad, anchor, dim, 0, pair_scale);
    }
  };
  at::parallel_for(0, num_anchors, /*grain_size=*/16, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    if (!has_centers) {
      for (const auto i : c10::irange(begin, end)) finish(i, nullptr);
      return;
    }
    const int64_t step = center_rows_at_once<T>(*args.center_logits, end - begin);
    for (int64_t first = begin; first < end; first += step) {
      const auto rows = center_rows<T>(*args.center_logits, first, std::min(step, end - first));
      for (const auto k : c10::irange(rows.size(0))) {
        finish(first + k, rows.template const_data_ptr<T>() + k * rows.stride(0));
      }
    }
  });

  double loss = 0;
  for (const T value : per_anchor) loss += static_cast<double>(value);
  loss /= static_cast<double>(num_anchors);
  if (!pairs) {  // the rows took part in no product: look at them for NaN and infinity
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
                      anchor_weight->index({negative}).min().item<double>());
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

// ---- Backward ----

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

// The gradient to features as contrast to the anchors' pairs,
//   sum_i scales_i gamma exp(p_ij - L_i) z_i:
// rows of features lie along the lanes, anchors are streamed.
template <typename T, typename Products>
void add_pair_gradients(T* gradient, const at::Tensor& features, const std::vector<T>& scales,
                        const T* log_partition, T log_gamma, T temperature) {
  const auto num_anchors = static_cast<int64_t>(scales.size());
  const int64_t num_rows = features.size(0);
  const int64_t dim = features.size(1);
  const int64_t block =
      std::clamp(divide_up(num_rows, at::get_num_threads()), kLanes, kAnchorBlock);
  at::parallel_for(
      0, divide_up(num_rows, block), /*grain_size=*/1, [&](int64_t begin, int64_t end) {
        const at::AutoDispatchBelowADInplaceOrView below_autograd;
        Products products;
        for (int64_t j = begin * block; j < std::min(end * block, num_rows); j += block) {
          const int64_t size = std::min(block, num_rows - j);
          const auto lanes = Products::lanes(features.narrow(0, j, size));
          const int64_t stride = lanes.size(1);
          for (int64_t i = 0; i < num_anchors; i += kTileColumns) {
            const int64_t tile = std::min(kTileColumns, num_anchors - i);
            products.set_rows(features.narrow(0, i, tile));
            T* const logits = products.logits(lanes);
            for (const auto k : c10::irange(i, i + tile)) {
              T* const row = logits + (k - i) * stride;
              if (scales[k] == 0) {
                std::fill_n(row, stride, T(0));
                continue;
              }
              row_kernels<T>().exp_affine(row, row, stride - kLanes, 1 / temperature,
                                          log_partition[k] - log_gamma, scales[k], 0);
              if (k >= j && k < j + size) row[k - j] = 0;
            }
            products.weigh_rows(gradient + j * dim, size, /*accumulate=*/i > 0);
          }
        }
      });
}

// The gradient to the rows of features: as contrast, and as anchors what the forward pass left.
template <typename T>
at::Tensor features_gradient(const at::Tensor& features, const int64_t* labels,
                             const std::vector<T>& scales, const at::Tensor& log_partition,
                             const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
                             double alpha, double gamma, double temperature) {
  const auto& kernels = row_kernels<T>();
  const auto num_anchors = static_cast<int64_t>(scales.size());
  const int64_t num_rows = features.size(0);
  const int64_t dim = features.size(1);
  const auto contiguous = features.contiguous();
  const auto rows = contiguous.to(log_partition.scalar_type());
  const T* const row_data = rows.template const_data_ptr<T>();
  const T* const anchor_grad_data = anchor_grad.template const_data_ptr<T>();

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
  if (gamma > 0) {
    const auto add = [&]<typename Products>() {
      add_pair_gradients<T, Products>(gradient_data, contiguous, scales,
                                      log_partition.template const_data_ptr<T>(),
                                      static_cast<T>(std::log(gamma)), static_cast<T>(temperature));
    };
    dispatch_products<T>(features.scalar_type(), add);
  }
  at::parallel_for(0, num_rows, kThreadNumbers / dim + 1, [&](int64_t begin, int64_t end) {
    for (const auto k : c10::irange(begin, end)) {
      T* const row = gradient_data + k * dim;
      const int32_t slot = alpha > 0 ? classes.slots[labels[k]] : LabelSlots::kAbsent;
      if (slot != LabelSlots::kAbsent) kernels.axpby(row, classes.sum(slot), dim, -1, 1);
      if (k < num_anchors) {
        kernels.axpby(row, row_data + k * dim, dim, positive_scales[k], 1);
        kernels.axpby(row, anchor_grad_data + k * dim, dim, scales[k], 1);
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
  const auto smoothing = static_cast<T>(label_smoothing);
  const T other = num_classes > 1 ? smoothing / static_cast<T>(num_classes - 1) : T(0);
  auto gradient = at::empty_like(contiguous);
  at::parallel_for(0, num_anchors, /*grain_size=*/16, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const int64_t step = center_rows_at_once<T>(contiguous, end - begin);
    for (int64_t first = begin; first < end; first += step) {
      const auto logits = center_rows<T>(contiguous, first, std::min(step, end - first));
      auto result = gradient.narrow(0, first, logits.size(0));
      const bool direct = result.scalar_type() == logits.scalar_type();
      auto rows = direct ? result : at::empty_like(logits);
      for (const auto k : c10::irange(logits.size(0))) {
        const int64_t i = first + k;
        T* const row = rows.template mutable_data_ptr<T>() + k * num_classes;
        const T scale = scales[i] * static_cast<T>(temperature);
        if (scale == 0) {
          std::fill_n(row, num_classes, T(0));
          continue;
        }
        const T target_scale =
            scale * static_cast<T>(beta) / pair_weight.template const_data_ptr<T>()[i];
        kernels.exp_affine(row, logits.template const_data_ptr<T>() + k * num_classes, num_classes,
                           1, log_partition.template const_data_ptr<T>()[i], scale,
                           target_scale * other);
        row[labels[i]] -= target_scale * (1 - smoothing - other);
      }
      if (!direct) result.copy_(rows);
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
  check_paco_loss_backward(features, labels, center_logits, anchor_weight, log_partition,
                           pair_weight, anchor_grad, features_grad, center_logits_grad);
  const auto contiguous_labels = labels.contiguous();
  const auto* const label_data = contiguous_labels.const_data_ptr<int64_t>();
  if (center_logits) {
    check_label_values("labels", label_data, log_partition.size(0), center_logits->size(1));
  }
  const auto dense_log_partition = log_partition.contiguous();
  const auto dense_pair_weight = pair_weight.contiguous();
  auto grad_features = at::empty({0}, features.options());
  auto grad_center_logits = at::empty({0}, features.options());
  const auto run = [&]<typename T>(T /*accumulate type*/) {
    const auto scales =
        anchor_scales<T>(grad_loss, anchor_weight, dense_pair_weight, base_temperature);
    if (features_grad) {
      grad_features =
          features_gradient(features, label_data, scales, dense_log_partition, dense_pair_weight,
                            anchor_grad.contiguous(), alpha, gamma, temperature);
    }
    if (center_logits_grad) {
      grad_center_logits =
          center_logits_gradient(*center_logits, label_data, scales, dense_log_partition,
                                 dense_pair_weight, beta, temperature, label_smoothing);
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
