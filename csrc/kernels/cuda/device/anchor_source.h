#pragma once

#include <cstdint>

#include "../../platform.h"
#include "problem.h"
#include "tile.h"

// An anchor source says where the anchors come from. The kernels are compiled for each of the two,
// so that the loss of one process pays nothing for that of several; what the latter add does not
// lengthen the problem.
namespace paco::cuda {

// -1 for a row or column beyond the tile. In 32 bits, because registers are scarce.
template <int kSize>
PACO_DEVICE int place_in_tile(int64_t place) {
  return place >= 0 && place < kSize ? static_cast<int>(place) : -1;
}

// One process: the first rows of features. Center logits have a row for each.
struct FirstRows {
  static constexpr bool kGathered = false;

  template <typename Element>
  PACO_DEVICE Rows<Element> rows(const DeviceProblem& problem) const {
    return feature_rows<Element>(problem, problem.num_anchors);
  }
  PACO_DEVICE int64_t label(const DeviceProblem& problem, int64_t anchor) const {
    return problem.labels[anchor];
  }
  // The row of features that is the anchor, and the anchor that is a row; -1 or beyond the anchors
  // for none.
  PACO_DEVICE int64_t row_of(const DeviceProblem&, int64_t anchor) const { return anchor; }
  PACO_DEVICE int64_t anchor_of(const DeviceProblem&, int64_t row) const { return row; }
  // The row of center logits and soft targets, -1 for none.
  PACO_DEVICE int64_t center_row_of(int64_t anchor) const { return anchor; }
  PACO_DEVICE int64_t first_class() const { return 0; }
  // C, in whose range labels lie; 0 for any label.
  PACO_DEVICE int64_t label_range(const DeviceProblem& problem) const {
    return problem.num_classes;
  }
  // The gradient to an anchor's loss, beside its weight, is upstream / divisor.
  PACO_DEVICE float upstream(const PaCoLossGradients& gradients) const {
    return *static_cast<const float*>(gradients.grad_loss);
  }
  PACO_DEVICE float divisor(const DeviceProblem& problem) const {
    return static_cast<float>(problem.num_anchors) * problem.base_temperature;
  }
};

// Several processes: the anchors of all of them. The weight of an anchor is the gradient to its
// loss.
struct GatheredAnchors {
  static constexpr bool kGathered = true;

  const void* anchors;
  const int64_t* labels;
  const int64_t* anchor_rows;
  const int64_t* anchor_of_row;
  int64_t first;
  int64_t classes;
  bool has_class_share;

  explicit GatheredAnchors(const PaCoLossProblem& problem)
      : anchors(problem.share.anchors),
        labels(problem.share.anchor_labels),
        anchor_rows(problem.share.anchor_rows),
        anchor_of_row(problem.share.anchor_of_row),
        first(problem.share.first_class),
        classes(problem.label_range()),
        has_class_share(problem.share.has_class_share) {}

  template <typename Element>
  PACO_DEVICE Rows<Element> rows(const DeviceProblem& problem) const {
    return {static_cast<const Element*>(anchors), problem.num_anchors, problem.dim};
  }
  PACO_DEVICE int64_t label(const DeviceProblem&, int64_t anchor) const { return labels[anchor]; }
  // Both are read where they are needed, not kept: ptxas spills otherwise.
  PACO_DEVICE int64_t row_of(const DeviceProblem& problem, int64_t anchor) const {
    return anchor < problem.num_anchors ? anchor_rows[anchor] : -1;
  }
  PACO_DEVICE int64_t anchor_of(const DeviceProblem& problem, int64_t row) const {
    return row < problem.num_rows ? anchor_of_row[row] : -1;
  }
  PACO_DEVICE int64_t center_row_of(int64_t anchor) const {
    return has_class_share ? anchor : anchor_rows[anchor];
  }
  PACO_DEVICE int64_t first_class() const { return first; }
  PACO_DEVICE int64_t label_range(const DeviceProblem&) const { return classes; }
  PACO_DEVICE float upstream(const PaCoLossGradients&) const { return 1; }
  PACO_DEVICE float divisor(const DeviceProblem& problem) const { return problem.base_temperature; }
};

}  // namespace paco::cuda
