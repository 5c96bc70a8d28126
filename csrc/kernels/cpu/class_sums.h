#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../parallel_for.h"
#include "columns.h"
#include "label_slots.h"
#include "row_kernels.h"

namespace paco::cpu {

// Numbers that a thread should have to work on at least.
constexpr int64_t kThreadNumbers = 65536;

// The sum and number of all columns of a class, for the classes of the anchors: with them no anchor
// has to visit its positives. Sums are of double, because a class may be as long as the queue, and
// because an anchor is taken out of its own.
template <typename T>
struct ClassSums {
  LabelSlots slots;
  int64_t dim;
  std::vector<double> sums;     // [slots, D]
  std::vector<int64_t> counts;  // [slots]

  ClassSums(const int64_t* anchor_labels, int64_t num_anchors, int64_t dim)
      : slots(anchor_labels, num_anchors),
        dim(dim),
        sums(slots.size() * dim),
        counts(slots.size()) {}

  const double* sum(int32_t slot) const { return sums.data() + slot * dim; }

  // Adds each row, times its factor where factors are given. A thread has a range of dimensions,
  // over all rows in order.
  void add(const Rows& rows, const int64_t* labels, const T* factors, const Threads& threads) {
    std::vector<int32_t> slot(rows.size);
    for (int64_t j = 0; j < rows.size; ++j) {
      slot[j] = slots[labels[j]];
      if (slot[j] != LabelSlots::kAbsent) ++counts[slot[j]];
    }
    const int64_t grain = std::max<int64_t>(kThreadNumbers / (rows.size + 1), 16);
    threads.parallel_for(0, dim, grain, [&](int64_t begin, int64_t end) {
      std::vector<T> buffer;
      for (int64_t j = 0; j < rows.size; ++j) {
        if (slot[j] == LabelSlots::kAbsent) continue;
        row_kernels<T>().add(sums.data() + slot[j] * dim + begin,
                             numbers(rows, j, begin, end, buffer), end - begin,
                             factors == nullptr ? 1 : factors[j]);
      }
    });
  }
};

}  // namespace paco::cpu
