#pragma once

#include <ATen/Parallel.h>

extern "C" void omp_set_num_threads(int);  // OpenMP's, whose header clang-tidy lacks

namespace paco::classify {

/// PyTorch's threads for what the calling thread computes.
class NetworkThreads {
 public:
  explicit NetworkThreads(int threads) : before_(at::get_num_threads()) {
    omp_set_num_threads(threads);  // at::set_num_threads would be for all threads of the process
  }
  ~NetworkThreads() { omp_set_num_threads(before_); }
  NetworkThreads(const NetworkThreads&) = delete;
  NetworkThreads& operator=(const NetworkThreads&) = delete;

 private:
  int before_;
};

}  // namespace paco::classify
