#include <gtest/gtest.h>
#include <paco/kernels/cuda/device/launch_sizes.h>

#include <random>
#include <set>
#include <vector>

namespace paco::cuda {
namespace {

TEST(ChooseNumSharesTest, IsInRangeAndLeavesNoShareWithoutColumns) {
  std::mt19937_64 random{std::random_device{}()};
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int i = 0; i < 200; ++i) {
    const int64_t anchors = draw(1, 5000);
    const int64_t columns = draw(anchors, 200000);
    const int shares = choose_num_shares(anchors, columns, draw(1, 600));
    ASSERT_GE(shares, 1);
    ASSERT_LE(shares, kMaxShares);
    ASSERT_LE(shares, divide_up(columns, 128));
    ASSERT_LE(divide_up(divide_up(columns, 128), shares), 256);  // float sums are no longer
  }
}

TEST(ChooseNumSharesTest, KeepsTheMachineBusyInOneWave) {
  constexpr int64_t kResidentBlocks = 2 * 132;
  // Few anchors: as many shares as the columns give.
  EXPECT_EQ(choose_num_shares(128, 256 + 8192, kResidentBlocks), 66);
  // Many anchors: 64 blocks of them in four shares are 256 blocks, not 320 in two waves.
  EXPECT_EQ(choose_num_shares(4096, 8192 + 65536, kResidentBlocks), 4);
}

TEST(ForwardScratchTest, ArraysDoNotOverlap) {
  for (const bool features_grad : {false, true}) {
    const int shares = 3;
    const int64_t anchors = 5;
    const int64_t dim = 7;
    const ForwardScratch sizes(nullptr, shares, anchors, dim, features_grad);
    std::vector<float> memory(static_cast<size_t>(sizes.bytes) / sizeof(float));
    const ForwardScratch scratch(memory.data(), shares, anchors, dim, features_grad);
    std::set<const void*> places;
    int64_t count = 0;
    const auto visit = [&](const auto* array, int64_t size) {
      static_assert(sizeof(*array) == sizeof(float));
      for (int64_t i = 0; i < size; ++i) places.insert(array + i);
      count += size;
    };
    visit(scratch.maximum, shares * anchors);
    visit(scratch.exp_sum, shares * anchors);
    visit(scratch.class_counts, shares * anchors);
    visit(scratch.class_rows, shares * anchors * dim);
    if (features_grad) visit(scratch.exp_rows, shares * anchors * dim);
    visit(scratch.anchor_loss, anchors);
    EXPECT_EQ(static_cast<int64_t>(places.size()), count);
    EXPECT_EQ(count, static_cast<int64_t>(memory.size()));
    EXPECT_EQ(scratch.exp_rows != nullptr, features_grad);
    EXPECT_GE(*places.begin(), memory.data());
    EXPECT_LT(*places.rbegin(), memory.data() + memory.size());
  }
}

}  // namespace
}  // namespace paco::cuda
