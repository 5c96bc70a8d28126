#include "vmf_logits.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../integers.h"
#include "aligned_vector.h"
#include "check_values.h"
#include "products.h"
#include "row_kernels.h"
#include "rows.h"
#include "vmf_kernels.h"

namespace paco::cpu {
namespace {

constexpr int64_t kClassBlock = 128;  // along the lanes
constexpr int64_t kAnchorTile = 64;
constexpr int64_t kClassTile = 256;  // of the backward pass
// A product over more dimensions is a sum of sums: a float of one long sum would be off by more
// than its last bit times the square root of the dimensions.
constexpr int64_t kDepth = 256;

Rows feature_rows(const VmfProblem& problem) {
  return {problem.features, problem.type, problem.num_anchors, problem.dim, problem.dim};
}

// Directions and concentrations, checked. A class without a direction is uniform on the sphere, as
// one without concentration is.
template <typename Sum, typename T>
std::vector<T> concentrations(const VmfProblem& problem) {
  const auto* const mean_direction = static_cast<const Sum*>(problem.mean_direction);
  const auto* const concentration = static_cast<const Sum*>(problem.concentration);
  constexpr Sum kTolerance = 1e-4;
  std::vector<T> result(problem.num_classes);
  for (int64_t c = 0; c < problem.num_classes; ++c) {
    if (!(concentration[c] >= 0) || !std::isfinite(concentration[c])) {
      refuse("concentration must be finite and >= 0, got ", concentration[c], " at ", c);
    }
    const Sum* const row = mean_direction + c * problem.dim;
    const Sum square = row_kernels<Sum>().dot(row, row, problem.dim);
    if (square != 0 && !(std::abs(square - 1) <= kTolerance)) {
      refuse("mean_direction must have rows of length 1 or 0, got ", std::sqrt(square), " at ", c);
    }
    result[c] = square == 0 ? T(0) : static_cast<T>(concentration[c]);
  }
  return result;
}

// Computed in T, from and to numbers of `Sum`.
template <typename T, typename Sum>
class Forward {
 public:
  Forward(const VmfProblem& problem, const VmfOutput& output, const Threads& threads)
      : problem_(problem),
        output_(output),
        series_(vmf_series<T>(problem.dim)),
        temperature_(static_cast<T>(problem.temperature)),
        padded_(tile_stride(problem.num_classes)),
        numbers_(3 * padded_) {
    // Beyond the last class there are some of concentration 0.
    std::vector<T> concentration = concentrations<Sum, T>(problem);
    concentration.resize(padded_);
    vmf_kernels<T>().classes(classes(0), series_, concentration.data(), padded_, temperature_);
    const int64_t blocks = divide_up(problem.num_classes, kClassBlock);
    const int64_t splits = std::clamp<int64_t>(divide_up(threads.count, blocks), 1,
                                               divide_up(problem.num_anchors, kLanes));
    threads.parallel_for(0, blocks * splits, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t split = task % splits;
        add_block(task / splits * kClassBlock, problem.num_anchors * split / splits,
                  problem.num_anchors * (split + 1) / splits);
      }
    });
  }

 private:
  VmfClasses<T> classes(int64_t first) {
    T* const numbers = numbers_.data() + first;
    return {numbers, numbers + padded_, numbers + 2 * padded_};
  }

  void add_block(int64_t first_class, int64_t first_anchor, int64_t last_anchor) {
    const auto& tiles = tile_kernels<T>();
    const int64_t dim = problem_.dim;
    const int64_t size = std::min(kClassBlock, problem_.num_classes - first_class);
    const Rows directions{problem_.mean_direction, kElementType<Sum>, problem_.num_classes, dim,
                          dim};
    const auto lanes = Products<T>::lanes(directions.narrow(first_class, size));
    const int64_t stride = lanes.stride();
    AlignedVector<T> tile(kAnchorTile * stride);
    std::vector<T> slope(output_.slope == nullptr ? 0 : stride);
    std::vector<T> converted;
    for (int64_t i = first_anchor; i < last_anchor; i += kAnchorTile) {
      const int64_t count = std::min(kAnchorTile, last_anchor - i);
      const Rows anchors = feature_rows(problem_).narrow(i, count);
      const T* rows = static_cast<const T*>(anchors.data);
      if (anchors.type != kElementType<T>) {
        converted.resize(count * dim);
        convert(converted.data(), kElementType<T>, anchors.data, anchors.type, count * dim);
        rows = converted.data();
      }
      for (int64_t d = 0; d < dim; d += kDepth) {
        tiles.multiply({.out = tile.data(),
                        .out_stride = stride,
                        .a = {rows + d, dim, 1},
                        .b = lanes.numbers.data() + d * stride,
                        .b_stride = stride,
                        .rows = count,
                        .columns = lanes.width(),
                        .depth = std::min(kDepth, dim - d),
                        .scale = 1,
                        .accumulate = d > 0});
      }
      for (int64_t r = 0; r < count; ++r) {
        const T* const row = rows + r * dim;
        const T length2 = row_kernels<T>().dot(row, row, dim);
        T* const products = tile.data() + r * stride;
        vmf_kernels<T>().logits(products, slope.empty() ? nullptr : slope.data(), series_,
                                classes(first_class), lanes.width(),
                                length2 / temperature_ / temperature_, temperature_);
        const int64_t at = (i + r) * problem_.num_classes + first_class;
        write(output_.logits, at, products, size);
        if (output_.slope != nullptr) write(output_.slope, at, slope.data(), size);
      }
    }
  }

  static void write(void* out, int64_t at, const T* numbers, int64_t size) {
    convert(static_cast<Sum*>(out) + at, kElementType<Sum>, numbers, kElementType<T>, size);
  }

  const VmfProblem& problem_;
  const VmfOutput& output_;
  VmfSeries<T> series_;
  T temperature_;
  int64_t padded_;          // classes in whole registers
  std::vector<T> numbers_;  // [3, padded] of the classes
};

template <typename T>
void backward(const VmfProblem& problem, const VmfGradients& gradients, const Threads& threads) {
  const int64_t dim = problem.dim;
  const int64_t num_classes = problem.num_classes;
  const auto* const grad_logits = static_cast<const T*>(gradients.grad_logits);
  const auto* const slope = static_cast<const T*>(gradients.slope);
  const auto* const directions = static_cast<const T*>(problem.mean_direction);
  const auto* const concentration = static_cast<const T*>(problem.concentration);
  const Rows features = feature_rows(problem);
  const Rows result{gradients.grad_features, problem.type, features.size, dim, dim};
  // A product reads whole registers of its streamed rows.
  const int64_t stride = dim % kLanes == 0 ? dim : tile_stride(dim);
  const int64_t group = std::clamp(divide_up(features.size, threads.count), kLanes, kAnchorTile);
  threads.parallel_for(
      0, divide_up(features.size, group), /*grain_size=*/1, [&](int64_t begin, int64_t end) {
        std::vector<T> weights(group * kClassTile);
        std::vector<T> gradient(group * dim);
        AlignedVector<T> padded(stride == dim ? 0 : kClassTile * stride);
        std::vector<double> sums(group);
        std::vector<T> buffer;
        for (int64_t first = begin * group; first < std::min(end * group, features.size);
             first += group) {
          const int64_t count = std::min(group, features.size - first);
          std::fill(sums.begin(), sums.end(), 0);
          for (int64_t c = 0; c < num_classes; c += kClassTile) {
            const int64_t size = std::min(kClassTile, num_classes - c);
            for (int64_t r = 0; r < count; ++r) {
              const int64_t at = (first + r) * num_classes + c;
              sums[r] += vmf_kernels<T>().weigh(weights.data() + r * kClassTile, grad_logits + at,
                                                slope + at, concentration + c, size);
            }
            const T* tile = directions + c * dim;
            if (stride != dim) {
              for (int64_t k = 0; k < size; ++k) {
                std::copy_n(tile + k * dim, dim, padded.data() + k * stride);
              }
              tile = padded.data();
            }
            tile_kernels<T>().multiply({.out = gradient.data(),
                                        .out_stride = dim,
                                        .a = {weights.data(), kClassTile, 1},
                                        .b = tile,
                                        .b_stride = stride,
                                        .rows = count,
                                        .columns = dim,
                                        .depth = size,
                                        .scale = 1,
                                        .accumulate = c > 0});
          }
          for (int64_t r = 0; r < count; ++r) {
            T* const row = gradient.data() + r * dim;
            row_kernels<T>().axpby(row, row_numbers(features, first + r, buffer), dim,
                                   static_cast<T>(sums[r] / problem.temperature), 1);
            convert(const_cast<void*>(result.at(first + r)), result.type, row, kElementType<T>,
                    dim);
          }
        }
      });
}

}  // namespace

void vmf_logits_forward(const VmfProblem& problem, const VmfOutput& output,
                        const Threads& threads) {
  if (problem.type == ElementType::kFloat64) {
    Forward<double, double>(problem, output, threads);
  } else if (vmf_computes_in_double(problem.type, problem.dim)) {
    Forward<double, float>(problem, output, threads);
  } else {
    Forward<float, float>(problem, output, threads);
  }
}

void vmf_logits_backward(const VmfProblem& problem, const VmfGradients& gradients,
                         const Threads& threads) {
  problem.type == ElementType::kFloat64 ? backward<double>(problem, gradients, threads)
                                        : backward<float>(problem, gradients, threads);
}

}  // namespace paco::cpu
