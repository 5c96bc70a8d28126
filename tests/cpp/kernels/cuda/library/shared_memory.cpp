// Prints the dynamic shared memory, in bytes, of every kernel whose launch asks for an amount that
// depends on the product and its tile: a line each, "KERNEL<PRODUCT, DIM, WEIGHTS, SOURCE> BYTES".

#include <paco/kernels/cuda/device/launch_sizes.h>

#include <iostream>

namespace {

using namespace paco;
using namespace paco::cuda;

template <typename Product, int kDim, typename Weights>
void print_tile(const char* product, const char* weights) {
  using Memory = LaunchMemory<Product, kDim, Weights>;
  const auto print = [&](const char* kernel, int bytes) {
    for (const char* source : {"FirstRows", "GatheredAnchors"}) {
      std::cout << kernel << '<' << product << ", " << kDim << ", " << weights << ", " << source
                << "> " << bytes << '\n';
    }
  };
  print("stream_columns_kernel", Memory::kStreamColumns);
  print("feature_gradient_kernel", Memory::kFeatureGradient);
}

template <typename Product, typename Weights>
void print_tiles(const char* product, const char* weights) {
  print_tile<Product, 64, Weights>(product, weights);
  print_tile<Product, 128, Weights>(product, weights);
  print_tile<Product, 256, Weights>(product, weights);
}

template <typename Product>
void print_product(const char* product) {
  print_tiles<Product, EqualWeights>(product, "EqualWeights");
  print_tiles<Product, ClassWeights>(product, "ClassWeights");
}

}  // namespace

int main() {
  print_product<FloatProduct>("FloatProduct");
  print_product<Tf32Product>("Tf32Product");
  print_product<HalfProduct<Float16>>("HalfProduct<Float16>");
  print_product<HalfProduct<BFloat16>>("HalfProduct<BFloat16>");
}
