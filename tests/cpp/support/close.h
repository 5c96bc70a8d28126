#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace paco::testing {

/// Equal up to the order of sums in float32.
inline void expect_close(const torch::Tensor& value, const torch::Tensor& expected) {
  ASSERT_EQ(value.sizes(), expected.sizes());
  EXPECT_TRUE(torch::allclose(value, expected, 1e-5, 1e-6))
      << "largest difference " << (value - expected).abs().max().item<double>();
}

}  // namespace paco::testing
