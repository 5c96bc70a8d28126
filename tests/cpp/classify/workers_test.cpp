// How a list is computed beside a device, for which functions stand in.

#include "../../../csrc/classify/workers.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace paco::classify {
namespace {

constexpr size_t kParts = 10;
constexpr size_t kSize = 4;

/// For grey images of 8 x 8 pixels.
Preprocessing preprocessing() {
  static const std::map<std::string, std::string> kTexts = {{"channels", "GRAY"},
                                                            {"mean", "0"},
                                                            {"std", "1"},
                                                            {"resize", "8,8"},
                                                            {"resize_backend", "cv2"},
                                                            {"interpolation", "area"},
                                                            {"input_shape", "1,8,8"}};
  return parse_preprocessing([](const std::string& name) {
    const auto found = kTexts.find(name);
    return found == kTexts.end() ? "" : found->second;
  });
}

/// Takes a list in batches, for which `run` stands in for the network on a device.
void compute_list(Model model, const std::function<void()>& run) {
  const std::vector<uint8_t> pixels(64);
  const std::vector<Image> images(kParts * kSize, Pixels{pixels.data(), 8, 8, Channels::kGray});
  model.run = [&](const at::Tensor& batch) {
    run();
    return Outputs{at::zeros({batch.size(0), 2}), {}};
  };
  size_t received = 0;
  const auto receive = [&](size_t first, const Chunk& chunk) {
    EXPECT_EQ(first, kSize * received++);
    EXPECT_EQ(chunk.outputs.logits.size(0), kSize);
    return true;
  };
  for_each_chunk(model, images, kSize, /*threads=*/1, receive);
  EXPECT_EQ(received, kParts);
}

Model on_device() {
  Model model;
  model.preprocessing = preprocessing();
  model.on_cpu = false;
  return model;
}

TEST(Workers, TheNextBatchIsPreprocessedWhileADeviceComputes) {
  std::mutex mutex;
  std::condition_variable changed;
  size_t arrived = 0;
  compute_list(on_device(), [&] {
    std::unique_lock lock(mutex);
    const size_t own = ++arrived;
    changed.notify_all();
    // The device is not done before the next batch is there, but for the last.
    const auto next_is_there = [&] { return arrived > own || own == kParts; };
    EXPECT_TRUE(testing::Test::HasFailure() ||
                changed.wait_for(lock, std::chrono::minutes(1), next_is_there));
  });
}

TEST(Workers, ADeviceHasOneBatchAtATime) {
  std::atomic<bool> busy = false;
  Model model = on_device();
  model.run = [&](const at::Tensor& batch) {
    EXPECT_FALSE(busy.exchange(true));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // time for another to come
    busy = false;
    return Outputs{at::zeros({batch.size(0), 2}), {}};
  };
  const Model alone = one_at_a_time(std::move(model));
  compute_list(on_device(), [&] { alone.run(at::zeros({1})); });
}

}  // namespace
}  // namespace paco::classify
