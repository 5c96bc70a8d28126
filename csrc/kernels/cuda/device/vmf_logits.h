#pragma once

#include <cstdint>

#include "../../integers.h"
#include "../../platform.h"
#include "../../vmf_element.h"

// The kernel of vmf_logits: what lies between the products z . mu and the logits. A thread has a
// class, and the anchors of its block one after another.
namespace paco::cuda {

constexpr int64_t kVmfBlockAnchors = 32;

// Computed in T, from and to numbers of `Sum`.
template <typename T, typename Sum>
struct VmfPairs {
  VmfSeries<T> series;
  const T* products;         // [A, C]
  const T* squares;          // [A], |z|^2 / T^2
  const Sum* concentration;  // [C]
  Sum* logits;               // [A, C]
  Sum* slope;                // [A, C], null where not wanted
  int64_t num_anchors;
  int64_t num_classes;
  T temperature;
};

template <typename T, typename Sum, typename Context>
PACO_DEVICE void vmf_pairs(Context& context, const VmfPairs<T, Sum>& pairs) {
  const int64_t class_blocks = divide_up(pairs.num_classes, context.num_threads());
  const int64_t c = context.block_x() % class_blocks * context.num_threads() + context.thread();
  if (c >= pairs.num_classes) return;
  const T concentration = static_cast<T>(pairs.concentration[c]);
  const T pull = 2 * concentration / pairs.temperature;
  const T class_radius = vmf_class_radius<Context>(pairs.series, concentration);
  const T class_value = vmf_value<Context>(pairs.series, class_radius);
  const int64_t first = context.block_x() / class_blocks * kVmfBlockAnchors;
  const int64_t last = smaller(first + kVmfBlockAnchors, pairs.num_anchors);
  for (int64_t i = first; i < last; ++i) {
    const int64_t at = i * pairs.num_classes + c;
    const T gain = pull * pairs.products[at] + pairs.squares[i];
    const T radius = vmf_radius<Context>(pairs.series, class_radius, gain);
    pairs.logits[at] =
        static_cast<Sum>(vmf_logit<Context>(pairs.series, class_radius, class_value, gain, radius));
    if (pairs.slope != nullptr) {
      pairs.slope[at] =
          static_cast<Sum>(vmf_slope<Context>(pairs.series, radius, pairs.temperature));
    }
  }
}

}  // namespace paco::cuda
