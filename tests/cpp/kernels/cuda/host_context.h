#pragma once

#include <paco/kernels/element.h>
#include <paco/kernels/platform.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "fibers.h"

// Runs the bodies of CUDA kernels on the host, a fibre for each CUDA thread. It proves the
// algorithm (indices, tails, barriers), not the hardware. Traps for mistakes:
//
// - ThreadSanitizer sees a missing barrier as a data race; one that not all threads reach aborts.
// - Shared memory starts as NaN in every type of number.
// - An asynchronous copy may happen at any time from its issue until it is waited for: its target
//   is NaN from the first on, and gets its values with the last.
// - Fragments of the tensor cores are those of the PTX manual, put together from what every lane of
//   the warp hands in.
// - Rows that ldmatrix reads together must lie in different banks.
namespace paco::cuda {

struct Grid {
  int64_t x = 1;
  int64_t y = 1;
};

// Findings of a launch, besides its output.
struct LaunchReport {
  std::string violated_check;  // empty if every check held
  int64_t bank_conflicts = 0;
};

class HostContext {
 public:
  static constexpr int kWarpSize = 32;

  // State that the threads of one launch share.
  struct Launch {
    Grid grid;
    int num_threads;
    // Not a lock's, which would order what the threads do otherwise and so hide races.
    std::atomic<const char*> violated_check{""};
    std::atomic<int64_t> bank_conflicts{0};
  };

  struct Warp {
    Barrier barrier{kWarpSize};
    // Two boards, used in turns, so that an exchange takes one barrier: nobody is still reading a
    // board when it is written again.
    std::array<std::array<std::array<uint64_t, 6>, kWarpSize>, 2> boards;
  };

  struct Block {
    Block(int num_threads, int shared_bytes)
        : barrier(num_threads),
          shared(static_cast<char*>(
              ::operator new(static_cast<size_t>(shared_bytes) + 1, kAlignment))) {
      std::memset(shared, 0xff, static_cast<size_t>(shared_bytes));
      for (int i = 0; i < num_threads / kWarpSize; ++i) warps.push_back(std::make_unique<Warp>());
    }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() { ::operator delete(shared, kAlignment); }

    static constexpr std::align_val_t kAlignment{128};
    Barrier barrier;
    char* shared;
    std::vector<std::unique_ptr<Warp>> warps;
  };

  HostContext(Launch& launch, Block& block, int thread, int64_t block_x, int64_t block_y)
      : launch_(launch),
        block_(block),
        warp_(*block.warps[static_cast<size_t>(thread / kWarpSize)]),
        thread_(thread),
        block_x_(block_x),
        block_y_(block_y) {}

  int thread() const { return thread_; }
  int num_threads() const { return launch_.num_threads; }
  int lane() const { return thread_ % kWarpSize; }
  int warp() const { return thread_ / kWarpSize; }
  int64_t block_x() const { return block_x_; }
  int64_t block_y() const { return block_y_; }
  int64_t num_blocks_x() const { return launch_.grid.x; }

  char* shared_memory() const { return block_.shared; }
  void sync() { block_.barrier.arrive_and_wait(); }
  void sync_warp() { warp_.barrier.arrive_and_wait(); }

  void copy_async(void* shared, const void* global, bool valid) {
    require_aligned(shared);
    require_aligned(global);
    std::memset(shared, 0xff, 16);
    copies_.push_back({shared, global, valid, num_commits_});
  }
  void commit_copies() { ++num_commits_; }
  template <int pending>
  void wait_copies() {
    while (!copies_.empty() && copies_.front().commit + pending < num_commits_) {
      const Copy& copy = copies_.front();
      if (copy.valid) {
        std::memcpy(copy.shared, copy.global, 16);
      } else {
        std::memset(copy.shared, 0, 16);
      }
      copies_.pop_front();
    }
  }

  template <typename T>
  T shuffle(T value, int source_lane) {
    return from_word<T>(exchange({to_word(value)})[static_cast<size_t>(source_lane)][0]);
  }
  template <typename T>
  T shuffle_xor(T value, int mask) {
    return shuffle(value, lane() ^ mask);
  }
  uint32_t ballot(bool vote) {
    const auto& board = exchange({vote ? 1u : 0u});
    uint32_t votes = 0;
    for (size_t i = 0; i < kWarpSize; ++i) votes |= static_cast<uint32_t>(board[i][0]) << i;
    return votes;
  }

  void load_matrices(const void* row, uint32_t (&matrices)[4]) {
    const auto rows = exchange_rows(row);
    for (size_t m = 0; m < 4; ++m) {
      std::memcpy(&matrices[m], rows[8 * m + quad()] + 4 * place(), 4);
    }
  }
  void load_matrices_transposed(const void* row, uint32_t (&matrices)[4]) {
    const auto rows = exchange_rows(row);
    for (size_t m = 0; m < 4; ++m) {
      std::array<uint16_t, 2> pair;
      for (size_t i = 0; i < 2; ++i) {
        std::memcpy(&pair[i], rows[8 * m + 2 * place() + i] + 2 * quad(), 2);
      }
      matrices[m] = std::bit_cast<uint32_t>(pair);
    }
  }

  template <typename Element>
  void multiply_add(Element, float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4],
                    uint32_t b0, uint32_t b1) {
    const auto& board = exchange({a[0], a[1], a[2], a[3], b0, b1});
    float* const c[2][2] = {{&c0, &c1}, {&c2, &c3}};
    for (size_t r = 0; r < 2; ++r) {
      for (size_t i = 0; i < 2; ++i) {
        const size_t column = 2 * place() + i;
        for (size_t k = 0; k < kMmaK<Element>; ++k) {
          *c[r][i] += element<Element>(board, quad() * 4, k, r, 2) *
                      element<Element>(board, column * 4, k, 4, 1);
        }
      }
    }
  }

  static float to_float(float value) { return value; }
  static float to_float(BFloat16 value) {
    return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
  }
  static float to_float(Float16 value) { return std::bit_cast<_Float16>(value.bits); }
  static void assign(float& to, float value) { to = value; }
  static void assign(BFloat16& to, float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const uint32_t to_nearest_even = 0x7fff + (bits >> 16 & 1);
    to.bits = static_cast<uint16_t>(std::isnan(value) ? 0x7fff : (bits + to_nearest_even) >> 16);
  }
  static void assign(Float16& to, float value) {
    to.bits = std::bit_cast<uint16_t>(static_cast<_Float16>(value));
  }
  template <typename Element>
  static uint32_t pack(Element, float low, float high) {
    std::array<Element, 2> pair;
    assign(pair[0], low);
    assign(pair[1], high);
    return std::bit_cast<uint32_t>(pair);
  }
  static uint32_t round_to_tf32(float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
    return is_finite ? (bits + 0x1000u) & ~0x1fffu : bits;
  }
  static float multiply(float a, float b) {
    const volatile float product = a * b;
    return product;
  }
  static float exp2(float x) { return std::exp2(x); }
  template <typename T>
  static T sqrt(T x) {
    return std::sqrt(x);
  }
  template <typename T>
  static T log1p(T x) {
    return std::log1p(x);
  }
  static uint32_t float_bits(float value) { return std::bit_cast<uint32_t>(value); }
  static float bits_to_float(uint32_t bits) { return std::bit_cast<float>(bits); }
  static int first_bit(uint32_t bits) { return std::countr_zero(bits); }
  static int count_bits(uint32_t bits) { return std::popcount(bits); }

  void check(bool holds, const char* message) {
    if (!holds) launch_.violated_check.store(message, std::memory_order_relaxed);
  }

 private:
  using Board = std::array<std::array<uint64_t, 6>, kWarpSize>;

  struct Copy {
    void* shared;
    const void* global;
    bool valid;
    int commit;
  };

  template <typename Element>
  static constexpr size_t kMmaK = sizeof(Element) == 2 ? 16 : 8;

  size_t quad() const { return static_cast<size_t>(lane() / 4); }
  size_t place() const { return static_cast<size_t>(lane() % 4); }

  template <typename T>
  static uint64_t to_word(T value) {
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof(T));
    return word;
  }
  template <typename T>
  static T from_word(uint64_t word) {
    T value;
    std::memcpy(&value, &word, sizeof(T));
    return value;
  }

  void require_aligned(const void* address) {
    check(reinterpret_cast<uintptr_t>(address) % 16 == 0, "unaligned access of 16 bytes");
  }

  // Every lane hands in some words and sees those of the whole warp.
  const Board& exchange(const std::array<uint64_t, 6>& words) {
    Board& board = warp_.boards[turn_];
    turn_ = 1 - turn_;
    board[static_cast<size_t>(lane())] = words;
    warp_.barrier.arrive_and_wait();
    return board;
  }

  // The rows of four matrices, with a look at the banks that the eight of one matrix lie in.
  std::array<const char*, kWarpSize> exchange_rows(const void* row) {
    require_aligned(row);
    const auto& board = exchange({to_word(row)});
    std::array<const char*, kWarpSize> rows;
    for (size_t i = 0; i < kWarpSize; ++i) rows[i] = from_word<const char*>(board[i][0]);
    if (lane() == 0) {
      for (size_t m = 0; m < 4; ++m) {
        uint32_t banks = 0;
        for (size_t r = 0; r < 8; ++r) {
          banks |= 1u << reinterpret_cast<uintptr_t>(rows[8 * m + r]) / 16 % 8;
        }
        launch_.bank_conflicts.fetch_add(8 - std::popcount(banks), std::memory_order_relaxed);
      }
    }
    return rows;
  }

  // Element k of row `row_lane / 4` of an operand, whose registers start at `first`; those of its
  // second half of k are `step` further. 16-bit numbers lie two in a register.
  template <typename Element>
  float element(const Board& board, size_t row_lane, size_t k, size_t first, size_t step) const {
    constexpr size_t kHalf = kMmaK<Element> / 2;
    constexpr size_t kPerRegister = 4 / sizeof(Element);
    const auto word =
        static_cast<uint32_t>(board[row_lane + k % kHalf / kPerRegister][first + k / kHalf * step]);
    if constexpr (sizeof(Element) == 2) {
      return to_float(std::bit_cast<std::array<Element, 2>>(word)[k % 2]);
    } else {
      return std::bit_cast<float>(word & ~0x1fffu);  // tensor cores ignore the bits beyond tf32
    }
  }

  Launch& launch_;
  Block& block_;
  Warp& warp_;
  const int thread_;
  const int64_t block_x_;
  const int64_t block_y_;
  size_t turn_ = 0;
  std::deque<Copy> copies_;
  int num_commits_ = 0;
};

// Runs `body(context)` for every thread of every block. Blocks run at the same time, as far as
// there are fibres: races between them are found too.
template <typename Body>
LaunchReport launch_on_host(Grid grid, int num_threads, int shared_bytes, const Body& body) {
  HostContext::Launch launch{grid, num_threads};
  const int64_t num_blocks = grid.x * grid.y;
  const int64_t batch = Fibers::kMaxFibers / num_threads;
  for (int64_t begin = 0; begin < num_blocks; begin += batch) {
    std::vector<std::unique_ptr<HostContext::Block>> blocks;
    for (int64_t i = begin; i < std::min(begin + batch, num_blocks); ++i) {
      blocks.push_back(std::make_unique<HostContext::Block>(num_threads, shared_bytes));
    }
    Fibers::pool().run(static_cast<int>(blocks.size()) * num_threads, [&](int fiber) {
      const int block = fiber / num_threads;
      HostContext context(launch, *blocks[static_cast<size_t>(block)], fiber % num_threads,
                          (begin + block) % grid.x, (begin + block) / grid.x);
      body(context);
    });
  }
  return {launch.violated_check.load(), launch.bank_conflicts.load()};
}

}  // namespace paco::cuda
