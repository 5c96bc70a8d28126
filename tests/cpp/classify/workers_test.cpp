// What a list costs beside a device, for which a thread that sleeps stands in.

#include "../../../csrc/classify/workers.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace paco::classify {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kParts = 10;
constexpr size_t kSize = 4;

/// Images of 3000 x 2000 pixels, which are averaged to 64 x 64.
Preprocessing preprocessing() {
  static const std::map<std::string, std::string> kTexts = {{"channels", "GRAY"},
                                                            {"mean", "0"},
                                                            {"std", "1"},
                                                            {"resize", "64,64"},
                                                            {"resize_backend", "cv2"},
                                                            {"interpolation", "area"},
                                                            {"input_shape", "1,64,64"}};
  return parse_preprocessing([](const std::string& name) {
    const auto found = kTexts.find(name);
    return found == kTexts.end() ? "" : found->second;
  });
}

TEST(Workers, ADeviceDoesNotWaitForThePreprocessingOfTheNextBatch) {
  const std::vector<uint8_t> pixels(3000 * 2000);
  const std::vector<Image> images(kParts * kSize,
                                  Pixels{pixels.data(), 2000, 3000, Channels::kGray});
  Model model;
  model.preprocessing = preprocessing();
  model.on_cpu = false;

  auto decoding = Clock::duration::max();  // of one batch
  for (int i = 0; i < 5; ++i) {
    std::vector<float> output(64 * 64);
    const auto start = Clock::now();
    for (size_t k = 0; k < kSize; ++k) {
      preprocess(images[k], model.preprocessing, output.data());
    }
    decoding = std::min(decoding, Clock::now() - start);
  }

  std::vector<Clock::time_point> starts;
  std::vector<Clock::time_point> ends;
  model.run = [&](const at::Tensor& batch) {
    starts.push_back(Clock::now());
    std::this_thread::sleep_for(6 * decoding);
    ends.push_back(Clock::now());
    return Outputs{at::zeros({batch.size(0), 2}), {}};
  };
  size_t received = 0;
  for_each_chunk(one_at_a_time(model), images, kSize, /*threads=*/1,
                 [&](size_t first, const Chunk& chunk) {
                   EXPECT_EQ(first, kSize * received++);
                   EXPECT_EQ(chunk.outputs.logits.size(0), kSize);
                   return true;
                 });
  ASSERT_EQ(starts.size(), kParts);
  std::vector<Clock::duration> waits;
  for (size_t i = 1; i < kParts; ++i) {
    EXPECT_GE(starts[i], ends[i - 1]) << "two batches at once";
    waits.push_back(starts[i] - ends[i - 1]);
  }
  std::nth_element(waits.begin(), waits.begin() + 4, waits.end());
  EXPECT_LT(waits[4], decoding / 2);  // one after the other, all of them would be longer than it
}

}  // namespace
}  // namespace paco::classify
