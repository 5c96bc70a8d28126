#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace paco::cpu {

// Numbers the distinct labels of the anchors 0, 1, ... in order of appearance. An open-addressing
// hash table, because labels without centers can be any number.
class LabelSlots {
 public:
  static constexpr int32_t kAbsent = -1;

  LabelSlots(const int64_t* labels, int64_t size)
      : mask_(std::bit_ceil(static_cast<uint64_t>(size) * 2) - 1), entries_(mask_ + 1) {
    for (int64_t i = 0; i < size; ++i) {
      Entry& entry = entries_[position(labels[i])];
      if (entry.slot == kAbsent) entry = {labels[i], size_++};
    }
  }

  int32_t size() const { return size_; }

  // The slot of a label, kAbsent where no anchor has it.
  int32_t operator[](int64_t label) const { return entries_[position(label)].slot; }

 private:
  struct Entry {
    int64_t label = 0;
    int32_t slot = kAbsent;
  };

  // The entry of the label, or the free one where it would go.
  uint64_t position(int64_t label) const {
    constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;
    uint64_t at = (static_cast<uint64_t>(label) * kGoldenRatio >> 32) & mask_;
    while (entries_[at].slot != kAbsent && entries_[at].label != label) at = (at + 1) & mask_;
    return at;
  }

  uint64_t mask_;
  std::vector<Entry> entries_;
  int32_t size_ = 0;
};

}  // namespace paco::cpu
