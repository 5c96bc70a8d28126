#include "rows.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "convert_kernels.h"

namespace paco::cpu {
namespace {

void to_float(float* out, const void* in, ElementType type, int64_t size) {
  switch (type) {
    case ElementType::kFloat64:
      std::copy_n(static_cast<const double*>(in), size, out);
      break;
    case ElementType::kFloat32:
      std::copy_n(static_cast<const float*>(in), size, out);
      break;
    case ElementType::kFloat16:
      convert_kernels().from_float16(out, static_cast<const Float16*>(in), size);
      break;
    case ElementType::kBFloat16:
      convert_kernels().from_bfloat16(out, static_cast<const BFloat16*>(in), size);
      break;
  }
}

void from_float(void* out, ElementType type, const float* in, int64_t size) {
  switch (type) {
    case ElementType::kFloat64:
      std::copy_n(in, size, static_cast<double*>(out));
      break;
    case ElementType::kFloat32:
      std::copy_n(in, size, static_cast<float*>(out));
      break;
    case ElementType::kFloat16:
      convert_kernels().to_float16(static_cast<Float16*>(out), in, size);
      break;
    case ElementType::kBFloat16:
      convert_kernels().to_bfloat16(static_cast<BFloat16*>(out), in, size);
      break;
  }
}

}  // namespace

void convert(void* out, ElementType out_type, const void* in, ElementType in_type, int64_t size) {
  if (size == 0) return;  // the pointers may be null, which memcpy must not see
  if (in_type == out_type) {
    std::memcpy(out, in, size * element_bytes(in_type));
  } else if (out_type == ElementType::kFloat32) {
    to_float(static_cast<float*>(out), in, in_type, size);
  } else if (in_type == ElementType::kFloat32) {
    from_float(out, out_type, static_cast<const float*>(in), size);
  } else {
    std::array<float, 256> buffer{};
    for (int64_t first = 0; first < size; first += 256) {
      const int64_t count = std::min<int64_t>(size - first, 256);
      to_float(buffer.data(), static_cast<const char*>(in) + first * element_bytes(in_type),
               in_type, count);
      from_float(static_cast<char*>(out) + first * element_bytes(out_type), out_type, buffer.data(),
                 count);
    }
  }
}

}  // namespace paco::cpu
