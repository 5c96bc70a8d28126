#include "output.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>

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

// Floats, which are written with the digits that tell them from their neighbours.
using Json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t,
                                  uint64_t, float>;

}  // namespace

Results::Results(const std::vector<std::string>& images, const std::vector<std::string>& classes,
                 int top_k, bool json)
    : json_(json) {
  if (json) {
    return;
  }
  image_width_ = std::max(largest_width(images), width("image"));
  class_width_ = largest_width(classes);
  std::string header = padded("image", image_width_);
  for (size_t k = 1; k <= std::min<size_t>(top_k, classes.size()); ++k) {
    header += "  " + padded("top-" + std::to_string(k), class_width_ + 8);
  }
  std::puts(header.c_str());
}

void Results::write(const std::string& image, const std::vector<Prediction>& best) {
  if (json_) {
    Json top = Json::array();
    for (const auto& [name, probability, index, logit] : best) {
      top.push_back(
          Json{{"class", name}, {"index", index}, {"probability", probability}, {"logit", logit}});
    }
    const std::string name = json_string(image);  // which may be no UTF-8
    const std::string list =
        top.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
    std::printf("{\"image\": %s, \"top\": %s}\n", name.c_str(), list.c_str());
    return;
  }
  std::string line = padded(image, image_width_);
  for (const Prediction& prediction : best) {
    char percent[16];
    std::snprintf(percent, sizeof percent, "%6.1f %%", 100 * prediction.probability);
    line += "  " + padded(prediction.name, class_width_) + percent;
  }
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
