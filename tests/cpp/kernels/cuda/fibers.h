#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// The threads of a kernel, as fibres that take turns on one thread of the machine: the tests are
// ten times as fast as with threads of the operating system. ThreadSanitizer is told that each is a
// thread, and when one has waited for another; so it sees the race behind a missing barrier,
// whatever the turns were.
namespace paco::cuda {

// ThreadSanitizer is to see nothing of the machinery itself but what it is told.
#define PACO_UNSEEN __attribute__((no_sanitize("thread"), noinline))

namespace tsan {

#if defined(__SANITIZE_THREAD__)
inline void* current_fiber() { return __tsan_get_current_fiber(); }
inline void* create_fiber() { return __tsan_create_fiber(0); }
inline void switch_to(void* fiber) {
  __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
}
inline void release(void* address) { __tsan_release(address); }
inline void acquire(void* address) { __tsan_acquire(address); }
#else
inline void* current_fiber() { return nullptr; }
inline void* create_fiber() { return nullptr; }
inline void switch_to(void*) {}
inline void release(void*) {}
inline void acquire(void*) {}
#endif

}  // namespace tsan

class Fibers {
 public:
  static constexpr int kMaxFibers = 512;

  // The pool of all launches.
  PACO_UNSEEN static Fibers& pool() {
    static Fibers fibers;
    return fibers;
  }

  // Runs body(i) for every i < count, each in a fibre of its own.
  PACO_UNSEEN void run(int count, const std::function<void(int)>& body) {
    while (num_fibers_ < count) create();
    body_ = &body;
    num_unfinished_ = count;
    for (int i = 0; i < count; ++i) wake(i);
    tsan::release(&body_);
    change_from(kMain);
    tsan::acquire(&num_unfinished_);
    if (num_unfinished_ > 0) {
      std::fputs("a barrier waits for threads that have ended, or wait at another\n", stderr);
      std::abort();
    }
  }

  PACO_UNSEEN int current() const { return current_; }
  // Until somebody wakes the current fibre.
  PACO_UNSEEN void wait() { change_from(current_); }
  PACO_UNSEEN void wake(int fiber) {
    ready_[end_ % kMaxFibers] = fiber;
    ++end_;
  }

 private:
  static constexpr int kMain = kMaxFibers;
  static constexpr size_t kStackBytes = 256 << 10;

  struct Fiber {
    ucontext_t context;
    void* tsan_fiber;
    std::unique_ptr<char[]> stack;
  };

  PACO_UNSEEN Fibers() : fibers_(new Fiber[kMaxFibers + 1]) {
    fibers_[kMain].tsan_fiber = tsan::current_fiber();
  }

  PACO_UNSEEN void create() {
    Fiber& fiber = fibers_[num_fibers_++];
    fiber.stack.reset(new char[kStackBytes]);
    fiber.tsan_fiber = tsan::create_fiber();
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Fibers::live, 0);
  }

  PACO_UNSEEN static void live() {
    Fibers& fibers = pool();
    for (;;) {
      tsan::acquire(&fibers.body_);
      (*fibers.body_)(fibers.current_);
      tsan::release(&fibers.num_unfinished_);
      --fibers.num_unfinished_;
      fibers.wait();  // for the next launch
    }
  }

  // From `self` to the next that is ready; to the launch itself if there is none.
  PACO_UNSEEN void change_from(int self) {
    const int next = begin_ < end_ ? ready_[begin_++ % kMaxFibers] : kMain;
    if (next == self) return;
    current_ = next;
    tsan::switch_to(fibers_[next].tsan_fiber);
    swapcontext(&fibers_[self].context, &fibers_[next].context);
  }

  Fiber* fibers_;  // lives as long as the program, as whoever runs in it does
  int num_fibers_ = 0;
  int current_ = kMain;
  int ready_[kMaxFibers];
  unsigned begin_ = 0;
  unsigned end_ = 0;
  const std::function<void(int)>* body_ = nullptr;
  int num_unfinished_ = 0;
};

// Lets nobody through before all have come.
class Barrier {
 public:
  explicit Barrier(int num_threads)
      : num_threads_(num_threads), waiting_(static_cast<size_t>(num_threads)) {}

  PACO_UNSEEN void arrive_and_wait() {
    // Two places to meet, used in turns: a late one must not learn what an early one has done
    // since.
    uint64_t* const place = &places_[turn_];
    tsan::release(place);
    if (num_waiting_ + 1 < num_threads_) {
      waiting_.data()[num_waiting_++] = Fibers::pool().current();
      Fibers::pool().wait();
    } else {
      turn_ = 1 - turn_;
      for (int i = 0; i < num_waiting_; ++i) Fibers::pool().wake(waiting_.data()[i]);
      num_waiting_ = 0;
    }
    tsan::acquire(place);
  }

 private:
  const int num_threads_;
  std::vector<int> waiting_;
  int num_waiting_ = 0;
  int turn_ = 0;
  uint64_t places_[2] = {};
};

}  // namespace paco::cuda
