#pragma once

#include <cstdint>

// The kinds of numbers that kernels read and write.
namespace paco {

// Numbers of 16 bits as they lie in memory.
struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

enum class ElementType : uint8_t { kFloat64, kFloat32, kFloat16, kBFloat16 };

constexpr int64_t element_bytes(ElementType type) {
  return type == ElementType::kFloat64 ? 8 : type == ElementType::kFloat32 ? 4 : 2;
}

// The type that sums over such elements are taken in.
constexpr ElementType accumulate_type(ElementType type) {
  return type == ElementType::kFloat64 ? type : ElementType::kFloat32;
}

}  // namespace paco
