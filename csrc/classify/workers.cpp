#include "workers.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "explain.h"
#include "network_threads.h"

namespace paco::classify {
namespace {

/// What an error about an image calls it.
std::string subject(const Image& image, size_t index, size_t count) {
  if (const auto* path = std::get_if<std::filesystem::path>(&image.content())) {
    return path->string();
  }
  return count == 1 ? "the image" : "image " + std::to_string(index);
}

Chunk compute(const Model& model, const std::vector<Image>& images, size_t first, size_t count) {
  const c10::InferenceMode guard;
  const auto [channels, height, width] = model.preprocessing.input_shape;
  const int64_t numbers = int64_t{channels} * height * width;
  at::Tensor batch = at::empty({static_cast<int64_t>(count), channels, height, width}, at::kFloat);
  Chunk chunk;
  chunk.entries.resize(count);
  int64_t rows = 0;
  for (size_t i = 0; i < count; ++i) {
    const Image& image = images[first + i];
    try {
      preprocess(image, model.preprocessing, batch.mutable_data_ptr<float>() + rows * numbers);
      chunk.entries[i].row = rows++;
    } catch (const std::exception& error) {
      chunk.entries[i].error = subject(image, first + i, images.size()) + " " + explain(error);
    }
  }
  if (rows == 0) {
    return chunk;
  }
  chunk.outputs = model.run(batch.narrow(0, 0, rows));
  const float* logits = chunk.outputs.logits.const_data_ptr<float>();
  const int64_t classes = chunk.outputs.logits.size(1);
  for (size_t i = 0; i < count; ++i) {
    auto& [row, error] = chunk.entries[i];
    if (row >= 0 && !are_numbers({logits + row * classes, static_cast<size_t>(classes)})) {
      row = -1;
      error = subject(images[first + i], first + i, images.size()) +
              " has logits that are NaN or infinite";
    }
  }
  return chunk;
}

/// Parts of a list that threads compute, and one thread takes in order.
class Parts {
 public:
  Parts(size_t count, size_t ahead) : count_(count), ahead_(ahead) {}

  /// The next part to compute, or `count` if there is none; waits while too many are not taken.
  size_t next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || next_ < taken_ + ahead_ || next_ == count_; });
    return stopped_ || next_ == count_ ? count_ : next_++;
  }

  void put(size_t part, Chunk chunk) {
    const std::lock_guard lock(mutex_);
    done_.emplace(part, std::move(chunk));
    changed_.notify_all();
  }

  /// Ends all; take() throws the error, if there is one.
  void stop(std::exception_ptr error = nullptr) {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    stopped_ = true;
    changed_.notify_all();
  }

  Chunk take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return error_ != nullptr || done_.contains(taken_); });
    if (error_ != nullptr) {
      std::rethrow_exception(error_);
    }
    Chunk chunk = std::move(done_.extract(taken_++).mapped());
    changed_.notify_all();
    return chunk;
  }

 private:
  const size_t count_;
  const size_t ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<size_t, Chunk> done_;
  size_t next_ = 0;
  size_t taken_ = 0;
  bool stopped_ = false;
  std::exception_ptr error_;
};

}  // namespace

bool are_numbers(std::span<const float> logits) {
  return std::any_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }) &&
         std::all_of(logits.begin(), logits.end(), [](float x) { return x < INFINITY; });
}

int list_threads(const Model& model, int threads) { return model.on_cpu ? threads : threads + 1; }

void for_each_chunk(const Model& model, const std::vector<Image>& images, size_t size, int threads,
                    const std::function<bool(size_t first, const Chunk&)>& receive) {
  const size_t count = (images.size() + size - 1) / size;
  const auto chunk_of = [&](size_t part) {
    const size_t first = part * size;
    return compute(model, images, first, std::min(size, images.size() - first));
  };
  const auto most_workers = static_cast<size_t>(list_threads(model, threads));
  if (count <= 1 || most_workers == 1) {
    for (size_t part = 0; part < count; ++part) {
      const Chunk chunk = [&] {
        const NetworkThreads network(threads);
        return chunk_of(part);
      }();
      if (!receive(part * size, chunk)) {
        return;
      }
    }
    return;
  }

  Parts parts(count, 2 * most_workers);
  const auto work = [&] {
    const NetworkThreads one(1);
    try {
      for (size_t part = parts.next(); part < count; part = parts.next()) {
        parts.put(part, chunk_of(part));
      }
    } catch (...) {
      parts.stop(std::current_exception());
    }
  };
  std::vector<std::jthread> workers;
  const struct Stop {  // destroyed before the threads, which it lets end
    Parts& parts;
    ~Stop() { parts.stop(); }
  } stop{parts};
  const size_t num_workers = std::min(count, most_workers);
  workers.reserve(num_workers);
  for (size_t i = 0; i < num_workers; ++i) {
    workers.emplace_back(work);
  }
  for (size_t part = 0; part < count; ++part) {
    if (!receive(part * size, parts.take())) {
      return;
    }
  }
}

}  // namespace paco::classify
