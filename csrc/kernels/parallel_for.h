#pragma once

#include <cstdint>

namespace paco {

// A reference to something that is called with a range [begin, end), and outlives it.
class RangeFunction {
 public:
  template <typename Function>
  RangeFunction(const Function& function)
      : function_(&function), call_([](const void* called, int64_t begin, int64_t end) {
          (*static_cast<const Function*>(called))(begin, end);
        }) {}

  void operator()(int64_t begin, int64_t end) const { call_(function_, begin, end); }

 private:
  const void* function_;
  void (*call_)(const void* called, int64_t begin, int64_t end);
};

// The caller's threads: kernels start none of their own.
struct Threads {
  int64_t count;
  // Cuts [begin, end) into pieces of at least `grain_size` and calls `body` with each, on any
  // thread. Returns when all are done.
  void (*parallel_for)(int64_t begin, int64_t end, int64_t grain_size, RangeFunction body);
};

}  // namespace paco
