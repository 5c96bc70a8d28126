// Labels every pixel of an image, and writes the labels as a picture in the classes' colours.
//
//   segment SEGMENTOR IMAGE MASK.png [LABELS.png]
//
// SEGMENTOR is what paco.segmentation.export_segmentor wrote, .pt or .pt2, with the texts of
// paco.segmentation.image_metadata. LABELS.png is the same picture with a class as a grey value, as
// data sets have it. The image keeps its size.

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <opencv2/imgcodecs.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using Texts = std::unordered_map<std::string, std::string>;

struct Segmentor {
  std::function<torch::Tensor(const torch::Tensor&)> logits;
  Texts texts;
};

Segmentor load(const std::string& path) {
  if (path.ends_with(".pt2")) {
    using Loader = torch::inductor::AOTIModelPackageLoader;
    const auto loader = std::make_shared<Loader>(path);
    return {[loader](const torch::Tensor& images) { return loader->run({images})[0]; },
            loader->get_metadata()};
  }
  Texts texts;
  for (const char* name :
       {"mean", "std", "channels", "palette", "size_divisor", "input_size", "input_channels"}) {
    texts[name] = "";
  }
  torch::jit::Module module = torch::jit::load(path, torch::kCPU, texts);
  module.eval();
  return {
      [module](const torch::Tensor& images) mutable { return module.forward({images}).toTensor(); },
      texts};
}

std::vector<float> numbers(const std::string& text) {
  std::vector<float> result;
  std::istringstream stream(text);
  for (std::string number; std::getline(stream, number, ',');) result.push_back(std::stof(number));
  return result;
}

/// The normalised image [1, 3, H, W] as the file's texts say. OpenCV reads BGR.
torch::Tensor input_of(const cv::Mat& image, const Texts& texts) {
  torch::Tensor pixels =
      torch::from_blob(image.data, {image.rows, image.cols, 3}, torch::kUInt8).clone();
  if (texts.at("channels") == "RGB") pixels = pixels.flip(2);
  const torch::Tensor mean = torch::tensor(numbers(texts.at("mean")));
  const torch::Tensor std = torch::tensor(numbers(texts.at("std")));
  return ((pixels.to(torch::kFloat) - mean) / std).permute({2, 0, 1}).unsqueeze(0).contiguous();
}

/// A file gives labels of other sizes too, and they mean nothing.
void require_fit(const Segmentor& segmentor, const cv::Mat& image, const std::string& path) {
  const std::string& channels = segmentor.texts.at("input_channels");
  if (channels != std::to_string(image.channels())) {
    throw std::runtime_error("the segmentor takes images of " + channels + " channels, got " +
                             std::to_string(image.channels()) + ": " + path);
  }
  const std::string size = std::to_string(image.rows) + "," + std::to_string(image.cols);
  const std::string& taken = segmentor.texts.at("input_size");
  if (taken != "any" && taken != size) {
    throw std::runtime_error("the segmentor takes images of " + taken + ", got " + size + ": " +
                             path);
  }
  const int divisor = std::stoi(segmentor.texts.at("size_divisor"));
  const bool fits = image.rows % divisor == 0 && image.cols % divisor == 0 &&
                    image.rows >= 2 * divisor && image.cols >= 2 * divisor;
  if (taken == "any" && !fits) {
    throw std::runtime_error("the segmentor takes heights and widths that are multiples of " +
                             std::to_string(divisor) + ", two of it at least, got " + size + ": " +
                             path);
  }
}

/// The labels [H, W] in the colours of the file's palette, as OpenCV writes them.
torch::Tensor colours_of(const torch::Tensor& labels, const Texts& texts) {
  std::vector<torch::Tensor> palette;
  std::istringstream lines(texts.at("palette"));
  for (std::string line; std::getline(lines, line);) {
    palette.push_back(torch::tensor(numbers(line)).to(torch::kUInt8).flip(0));  // to BGR
  }
  return torch::stack(palette).index({labels}).contiguous();
}

void write(const std::string& path, const torch::Tensor& picture, int type) {
  const cv::Mat view(static_cast<int>(picture.size(0)), static_cast<int>(picture.size(1)), type,
                     picture.data_ptr());
  if (!cv::imwrite(path, view)) throw std::runtime_error("cannot write " + path);
}

void run(const std::string& model, const std::string& image_path, const std::string& mask_path,
         const std::string& labels_path) {
  const torch::InferenceMode guard;
  const Segmentor segmentor = load(model);
  const cv::Mat image = cv::imread(image_path, cv::IMREAD_COLOR);
  if (image.empty()) throw std::runtime_error("cannot read " + image_path);
  require_fit(segmentor, image, image_path);
  const torch::Tensor labels =
      segmentor.logits(input_of(image, segmentor.texts)).argmax(1).squeeze(0);
  if (!labels_path.empty() && labels.max().item<int64_t>() > 255) {
    throw std::runtime_error("a label above 255 has no grey value: " + labels_path);
  }
  write(mask_path, colours_of(labels, segmentor.texts), CV_8UC3);
  if (!labels_path.empty()) write(labels_path, labels.to(torch::kUInt8).contiguous(), CV_8UC1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::cerr << "usage: segment SEGMENTOR IMAGE MASK.png [LABELS.png]\n";
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "");
  } catch (const c10::Error& error) {
    std::cerr << "segment: " << error.what_without_backtrace() << '\n';
    return 1;
  } catch (const std::exception& error) {
    std::cerr << "segment: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
