#include "image.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <charconv>
#include <cmath>
#include <map>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "failure.h"
#include "image_file.h"
#include "pillow.h"

namespace paco::classify {
namespace {

const std::map<std::string, int> kInterpolations = {{"nearest", cv::INTER_NEAREST},
                                                    {"bilinear", cv::INTER_LINEAR},
                                                    {"bicubic", cv::INTER_CUBIC},
                                                    {"area", cv::INTER_AREA},
                                                    {"lanczos", cv::INTER_LANCZOS4}};

template <typename T>
std::vector<T> parse_numbers(const std::string& name, const std::string& text) {
  std::vector<T> numbers;
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p != end) {
    T number;
    const auto [stop, error] = std::from_chars(p, end, number);
    if (error != std::errc() || (stop != end && *stop != ',')) {
      throw Failure("its " + name + " should be numbers and is '" + text + "'");
    }
    numbers.push_back(number);
    p = stop == end ? end : stop + 1;
  }
  return numbers;
}

std::string shape(int height, int width) {
  return std::to_string(width) + " x " + std::to_string(height) + " pixels";
}

/// Empty if the image is beyond what it can be resized to.
cv::Size resized_size(const cv::Mat& image, const std::vector<int>& resize) {
  constexpr int64_t kMostPixels = 1 << 28;
  int64_t width = resize.back();
  int64_t height = resize.front();
  if (resize.size() == 1) {  // that of the shorter edge
    const int64_t edge = resize[0];
    const bool upright = image.cols < image.rows;
    width = upright ? edge : edge * image.cols / image.rows;
    height = upright ? edge * image.rows / image.cols : edge;
  }
  if (width > kMostPixels || height > kMostPixels || width * height > kMostPixels) {
    return {};
  }
  return {static_cast<int>(width), static_cast<int>(height)};
}

/// Half a pixel goes to the even side, as Python's round has it.
int centered(int outer, int inner) { return static_cast<int>(std::lrint((outer - inner) / 2.0)); }

}  // namespace

Preprocessing parse_preprocessing(const FindText& text) {
  Preprocessing result;
  result.channels = text("channels");
  if (result.channels != "RGB" && result.channels != "BGR" && result.channels != "GRAY") {
    throw Failure("it does not say how to preprocess an image");
  }
  const size_t channels = result.channels == "GRAY" ? 1 : 3;
  for (const auto& [name, tensor] : {std::pair{"mean", &result.mean}, {"std", &result.std}}) {
    const std::vector<float> numbers = parse_numbers<float>(name, text(name));
    if (numbers.size() != channels) {
      throw Failure(std::string("its ") + name + " should have a number for each of " +
                    result.channels);
    }
    *tensor = at::tensor(numbers).view({-1, 1, 1});
  }

  const auto sizes = [&](const std::string& name) {
    const std::vector<int> numbers = parse_numbers<int>(name, text(name));
    for (const int number : numbers) {
      if (number < 1 || number > 1 << 15) {
        throw Failure("its " + name + " should be a size and is '" + text(name) + "'");
      }
    }
    return numbers;
  };
  result.resize = sizes("resize");
  result.resize_backend = text("resize_backend");
  result.interpolation = text("interpolation");
  if (!result.resize.empty()) {
    const bool known =
        result.resize_backend == "pillow"
            ? result.interpolation == "bilinear" || result.interpolation == "bicubic"
            : result.resize_backend == "cv2" && kInterpolations.contains(result.interpolation);
    if (result.resize.size() > 2 || !known) {
      throw Failure(
          "it asks for a resize that this paco-classify does not know: " + text("resize") + " by " +
          result.interpolation + " of " + result.resize_backend);
    }
  }
  const std::vector<int> crop = sizes("crop");
  if (crop.size() == 2) {
    result.crop = {crop[0], crop[1]};
  }
  const std::vector<int> input = sizes("input_shape");
  if (input.size() != 3 || input[0] != static_cast<int>(channels) || crop.size() % 2 != 0) {
    throw Failure("its input_shape is '" + text("input_shape") + "' and its crop '" + text("crop") +
                  "', which fit no image");
  }
  result.input_size = {input[1], input[2]};
  return result;
}

at::Tensor read_image(const std::string& path, const Preprocessing& preprocessing) {
  const std::vector<uint8_t> file = read_image_file(path);
  cv::Mat image;
  try {
    image = cv::imdecode(
        file, preprocessing.channels == "GRAY" ? cv::IMREAD_GRAYSCALE : cv::IMREAD_COLOR);
  } catch (const cv::Exception& error) {  // a size that OpenCV refuses, for one
    throw Failure("cannot be decoded: " + error.err);
  }
  if (image.empty()) {
    throw Failure("is not an image that can be read");
  }
  if (preprocessing.channels == "RGB") {
    cv::cvtColor(image, image, cv::COLOR_BGR2RGB);
  }
  if (!preprocessing.resize.empty()) {
    const cv::Size size = resized_size(image, preprocessing.resize);
    if (size.empty()) {
      throw Failure("of " + shape(image.rows, image.cols) + " cannot be resized");
    }
    if (preprocessing.resize_backend == "pillow") {
      image = resize_like_pillow(image, size, preprocessing.interpolation);
    } else {
      cv::resize(image, image, size, 0, 0, kInterpolations.at(preprocessing.interpolation));
    }
  }
  if (preprocessing.crop) {
    const auto [height, width] = *preprocessing.crop;
    if (image.rows >= height && image.cols >= width) {
      image =
          image(cv::Rect(centered(image.cols, width), centered(image.rows, height), width, height));
    }
  }
  const auto [height, width] = preprocessing.input_size;
  if (image.rows != height || image.cols != width) {
    throw Failure("comes to " + shape(image.rows, image.cols) + ", and the model takes " +
                  shape(height, width));
  }
  if (!image.isContinuous()) {
    image = image.clone();
  }
  const at::Tensor pixels = at::from_blob(image.data, {height, width, image.channels()}, at::kByte);
  return pixels.permute({2, 0, 1})
      .to(at::kFloat, false, false, at::MemoryFormat::Contiguous)
      .sub(preprocessing.mean)
      .div(preprocessing.std);
}

}  // namespace paco::classify
