// Preloaded, this makes PyTorch say that it is version 2.1.0.

#include <cstdint>

extern "C" uint64_t aoti_torch_abi_version() { return uint64_t{2} << 56 | uint64_t{1} << 48; }
