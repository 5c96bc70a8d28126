#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "../element.h"

namespace paco::cpu {

template <typename T>
constexpr ElementType kElementType =
    std::is_same_v<T, double> ? ElementType::kFloat64 : ElementType::kFloat32;

// Rows of numbers of any type, dense along a row.
struct Rows {
  const void* data;
  ElementType type;
  int64_t size;
  int64_t dim;
  int64_t stride;  // from row to row, in elements

  const void* at(int64_t row, int64_t column = 0) const {
    return static_cast<const char*>(data) + (row * stride + column) * element_bytes(type);
  }
  Rows narrow(int64_t first, int64_t count) const { return {at(first), type, count, dim, stride}; }
};

// `size` numbers of one type as those of another. Between 16 bits and float64 they pass through
// float32.
void convert(void* out, ElementType out_type, const void* in, ElementType in_type, int64_t size);

// Numbers of one row as T: where they lie, or converted into `buffer`.
template <typename T>
const T* numbers(const Rows& rows, int64_t row, int64_t begin, int64_t end,
                 std::vector<T>& buffer) {
  const void* const from = rows.at(row, begin);
  if (rows.type == kElementType<T>) return static_cast<const T*>(from);
  buffer.resize(end - begin);
  convert(buffer.data(), kElementType<T>, from, rows.type, end - begin);
  return buffer.data();
}

template <typename T>
const T* row_numbers(const Rows& rows, int64_t row, std::vector<T>& buffer) {
  return numbers(rows, row, 0, rows.dim, buffer);
}

}  // namespace paco::cpu
