#include "output.h"

#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text.h"

namespace paco::classify {
namespace {

/// Columns that printable text takes: its bytes without UTF-8's continuations.
size_t width(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

size_t largest_width(const std::vector<std::string>& texts) {
  size_t result = 0;
  for (const std::string& text : texts) {
    result = std::max(result, width(printable(text)));
  }
  return result;
}

std::string padded(const std::string& name, size_t columns) {
  const std::string text = printable(name);
  return text + std::string(columns - std::min(columns, width(text)), ' ');
}

/// Nine digits tell every float from its neighbours; JSON has no NaN.
std::string json_number(float number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", number);
  return std::isfinite(number) ? text : "null";
}

}  // namespace

Results::Results(const std::vector<std::string>& images, const std::vector<std::string>& classes,
                 int top_k, bool json)
    : classes_(classes),
      top_k_(std::min<int64_t>(top_k, static_cast<int64_t>(classes.size()))),
      json_(json) {
  if (json) {
    return;
  }
  image_width_ = std::max(largest_width(images), width("image"));
  class_width_ = largest_width(classes);
  std::string header = padded("image", image_width_);
  for (int64_t k = 1; k <= top_k_; ++k) {
    header += "  " + padded("top-" + std::to_string(k), class_width_ + 8);
  }
  std::puts(header.c_str());
}

void Results::write(const std::string& image, const at::Tensor& logits) {
  const at::Tensor probabilities = logits.softmax(0);
  const at::Tensor best = std::get<1>(logits.topk(top_k_));
  std::string line =
      json_ ? "{\"image\": " + json_string(image) + ", \"top\": [" : padded(image, image_width_);
  for (int64_t k = 0; k < top_k_; ++k) {
    const auto c = best[k].item<int64_t>();
    const std::string& name = classes_[c];
    const auto probability = probabilities[c].item<float>();
    if (json_) {
      line += std::string(k == 0 ? "" : ", ") + "{\"class\": " + json_string(name) +
              ", \"index\": " + std::to_string(c) +
              ", \"probability\": " + json_number(probability) +
              ", \"logit\": " + json_number(logits[c].item<float>()) + "}";
    } else {
      char percent[16];
      std::snprintf(percent, sizeof percent, "%6.1f %%", 100 * probability);
      line += "  " + padded(name, class_width_) + percent;
    }
  }
  line += json_ ? "]}" : "";
  std::puts(line.c_str());
}

Progress::Progress(size_t total, size_t few)
    : total_(total), visible_(total > few && isatty(STDERR_FILENO) != 0) {}

void Progress::draw(size_t done) {
  if (!visible_) {
    return;
  }
  constexpr size_t kWidth = 40;
  const size_t filled = kWidth * done / total_;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
  std::fprintf(stderr, "\r\033[K[%s] %zu/%zu  %.0f s left", bar.c_str(), done, total_,
               elapsed.count() / static_cast<double>(done) * static_cast<double>(total_ - done));
}

void Progress::clear() {
  if (visible_) {
    std::fputs("\r\033[K", stderr);
  }
}

}  // namespace paco::classify
