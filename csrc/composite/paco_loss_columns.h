#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "composite.h"

// What the passes of the loss made of ATen operators have in common.
namespace paco::composite {

// Wide enough that the products dominate the launches, narrow enough that [A, tile] stays small.
constexpr int64_t kTileColumns = 4096;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// The anchors and their place among the columns.
struct Anchors {
  at::Tensor rows;          // [A, D], of the dtype of sums
  at::Tensor labels;        // [A, 1]
  at::Tensor index;         // [A, 1] the row of features that is the anchor, -1 for none
  bool are_first_rows;      // of features: the index counts up from 0
  bool has_class_share;     // center_logits have a row for each anchor
  c10::SymInt first_class;  // of center_logits
  int64_t num_classes;      // C; any label where it is the largest integer

  // Values of rows of center_logits, [n, ...], as those of anchors, 0 where an anchor has none.
  at::Tensor of_center_rows(const at::Tensor& values) const {
    if (are_first_rows || has_class_share) return values;
    const auto none = at::zeros({1, values.size(1)}, values.options());
    const auto where = index.squeeze(1);
    return at::cat({values, none}).index_select(0, where.masked_fill(where < 0, values.size(0)));
  }

  // Values of anchors, [A, 1], as those of the first `count` rows of features, which are anchors.
  at::Tensor to_rows(const at::Tensor& values, int64_t count) const {
    if (are_first_rows) return values;
    const auto result = at::zeros({count + 1, 1}, values.options());
    return result.scatter(0, index.masked_fill(index < 0, count), values).narrow(0, 0, count);
  }

  // The same for rows of center_logits.
  at::Tensor to_center_rows(const at::Tensor& values, int64_t count) const {
    return has_class_share ? values : to_rows(values, count);
  }
};

template <typename Arguments>
int64_t num_classes_of(const Arguments& args) {
  return args.center_logits  ? args.center_logits->size(1)
         : args.class_counts ? args.class_counts->size(0)
                             : std::numeric_limits<int64_t>::max();
}

template <typename Arguments>
Anchors anchors_of(const Arguments& args, int64_t num_anchors, c10::ScalarType dtype) {
  return {args.features.narrow(0, 0, num_anchors).to(dtype),
          args.labels.narrow(0, 0, num_anchors).unsqueeze(1),
          at::arange(num_anchors, args.labels.options()).unsqueeze(1),
          /*are_first_rows=*/true,
          /*has_class_share=*/false,
          /*first_class=*/0,
          num_classes_of(args)};
}

inline Anchors anchors_of(const PaCoLossPartialArguments& args, c10::ScalarType dtype) {
  return {args.anchors.to(dtype),
          args.anchor_labels.unsqueeze(1),
          args.anchor_rows.unsqueeze(1),
          /*are_first_rows=*/false,
          /*has_class_share=*/args.num_classes.has_value(),
          args.first_class,
          args.num_classes ? args.num_classes->expect_int() : num_classes_of(args)};
}

// The weights of BCL's pairs, [A, tile]; undefined without class counts.
inline at::Tensor pair_weights(const OptionalTensor& class_counts, const at::Tensor& anchor_labels,
                               const at::Tensor& labels, c10::ScalarType dtype) {
  if (!class_counts) return {};
  // Labels of rows that are not valid may be anything.
  const auto columns = labels.clamp(0, class_counts->size(0) - 1);
  const auto counts = class_counts->index_select(0, columns).to(dtype);
  return at::where(anchor_labels.eq(columns), 1 / (counts - 1), 1 / counts);
}

// t for each row of center_logits: the soft targets or, without them, 1 - label_smoothing for the
// class of its anchor, whose label is [n, 1], an equal share of the rest elsewhere.
inline at::Tensor targets_of(const Anchors& anchors, const OptionalTensor& soft_targets,
                             const at::Tensor& labels, int64_t width, double label_smoothing,
                             const at::TensorOptions& options) {
  if (soft_targets) return soft_targets->to(options.dtype());
  const double off =
      anchors.num_classes > 1 ? label_smoothing / static_cast<double>(anchors.num_classes - 1) : 0;
  const auto classes = at::arange(width, labels.options()) + anchors.first_class.expect_int();
  const auto own = labels.eq(classes);
  return at::full(own.sizes(), off, options).masked_fill_(own, 1 - label_smoothing);
}

}  // namespace paco::composite
