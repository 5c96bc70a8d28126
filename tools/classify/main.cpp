// paco-classify: classifies image files with an exported model. kUsage in arguments.cpp says how.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <opencv2/core/utility.hpp>
#include <opencv2/core/utils/logger.hpp>

#include "arguments.h"
#include "failure.h"
#include "image.h"
#include "model.h"
#include "output.h"

namespace paco::classify {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// An image, or why there is none.
struct Read {
  at::Tensor image;
  std::string failure;
};

std::vector<Read> read_images(const std::vector<std::string>& paths, size_t first, size_t count,
                              const Preprocessing& preprocessing) {
  std::vector<Read> result(count);
  at::parallel_for(0, static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode guard;
    for (int64_t i = begin; i < end; ++i) {
      try {
        result[i].image = read_image(paths[first + i], preprocessing);
      } catch (const std::exception& error) {
        result[i].failure = explain(error);
      }
    }
  });
  return result;
}

/// A sentence about what folders have beside images; none if that is nothing.
std::string left_out(const Images& images) {
  std::string sentence;
  for (const auto& [reason, count] : images.left_out) {
    sentence += (sentence.empty() ? "left out of the folders: " : ", ") + std::to_string(count) +
                " " + reason;
  }
  return sentence;
}

int run(const Arguments& arguments) {
  const c10::InferenceMode guard;
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);  // read_image tells
  std::cerr.setstate(std::ios::failbit);                                  // and so does OpenCV 4
  cv::setNumThreads(1);                                                   // one image a thread
  if (arguments.threads > 0) {
    at::set_num_threads(arguments.threads);
  }
  const Model model = load_model(arguments.model);
  const std::vector<std::string>& paths = arguments.images.paths;
  const size_t batch = arguments.batch_size;
  Results results(paths, model.classes, arguments.top_k, arguments.json);
  Progress progress(paths.size(), batch);

  const Clock::time_point start = Clock::now();
  double reading = 0;
  size_t classified = 0;
  for (size_t first = 0; first < paths.size(); first += batch) {
    const size_t count = std::min(batch, paths.size() - first);
    const Clock::time_point reading_start = Clock::now();
    const std::vector<Read> read = read_images(paths, first, count, model.preprocessing);
    reading += seconds_since(reading_start);

    std::vector<at::Tensor> images;
    for (const Read& r : read) {
      if (r.image.defined()) {
        images.push_back(r.image);
      }
    }
    at::Tensor logits;
    if (!images.empty()) {
      logits = model.logits(at::stack(images));
    }
    progress.clear();
    int64_t row = 0;
    for (size_t i = 0; i < count; ++i) {
      std::string failure = read[i].failure;
      if (read[i].image.defined()) {
        const at::Tensor l = logits[row++];
        if (l.softmax(0).isnan().any().item<bool>()) {
          failure = "has logits that are NaN or infinite";
        } else {
          results.write(paths[first + i], l);
          ++classified;
        }
      }
      if (!failure.empty()) {
        report("skipped: " + paths[first + i] + " " + failure);
      }
    }
    progress.draw(first + count);
  }
  progress.clear();
  const double total = seconds_since(start);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw Failure("the results could not be written");
  }
  std::fprintf(stderr, "%zu images in %.2f s, %.0f a second (reading %.2f s, model %.2f s)\n",
               classified, total, static_cast<double>(classified) / total, reading,
               total - reading);
  for (const std::string& folder : arguments.images.unread) {
    report("skipped: " + folder);
  }
  if (const std::string sentence = left_out(arguments.images); !sentence.empty()) {
    std::fprintf(stderr, "%s\n", sentence.c_str());
  }
  if (classified == 0) {
    throw Failure("no image could be classified");
  }
  return classified == paths.size() && arguments.images.unread.empty() ? 0 : 1;
}

}  // namespace
}  // namespace paco::classify

int main(int argc, char** argv) {
  if (argc == 2 && (std::string(argv[1]) == "--help" || std::string(argv[1]) == "-h")) {
    std::fputs(paco::classify::kUsage, stdout);
    return 0;
  }
  try {
    return paco::classify::run(paco::classify::parse_arguments(argc, argv));
  } catch (const paco::classify::Failure& failure) {
    paco::classify::report(failure.what());
  } catch (const std::exception& error) {
    paco::classify::report(paco::classify::explain(error));
  }
  return 2;
}
