// paco-classify: classifies image files with an exported model. --help says how.

#include <paco/classify.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <opencv2/core/utility.hpp>
#include <opencv2/core/utils/logger.hpp>

#include "arguments.h"
#include "features_file.h"
#include "output.h"
#include "summary.h"
#include "target_prior.h"
#include "text.h"

namespace paco::classify {
namespace {

/// A sentence about what folders have beside images; none if that is nothing.
std::string left_out(const ImageFiles& images) {
  std::string sentence;
  for (const auto& [reason, count] : images.left_out) {
    sentence += (sentence.empty() ? "left out of the folders: " : ", ") + std::to_string(count) +
                " " + reason;
  }
  return sentence;
}

/// The classifier, and the target prior by the names of its classes.
Classifier load(const Arguments& arguments) {
  Classifier classifier(arguments.model, arguments.options);
  if (arguments.target_prior.empty()) {
    return classifier;
  }
  return classifier.with_target_prior(
      read_target_prior(arguments.target_prior, classifier.classes()));
}

int run(const Arguments& arguments) {
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);  // an Error tells
  std::cerr.setstate(std::ios::failbit);                                  // and so does OpenCV 4
  cv::setNumThreads(1);                                                   // one image a thread
  const Classifier classifier = load(arguments);
  if (!classifier.warning().empty()) {
    report(classifier.warning());
  }
  const std::vector<std::string>& paths = arguments.images.paths;
  Results results(paths, classifier.classes(), arguments.top_k, arguments.json);
  const size_t batch = arguments.options.batch_size;
  Progress progress(paths.size(), batch);
  Summary summary(classifier.classes(), classifier.class_counts());
  std::unique_ptr<FeaturesFile> features;
  if (!arguments.features_file.empty()) {
    features = std::make_unique<FeaturesFile>(arguments.features_file, classifier.feature_size());
  }

  const auto start = std::chrono::steady_clock::now();
  size_t classified = 0;
  classifier.run({paths.begin(), paths.end()}, [&](const ImageResult& result) {
    const std::string& path = paths[result.index];
    if (result.index % batch == 0) {
      progress.clear();
    }
    if (result.error.empty()) {
      const std::vector<Prediction> best = classifier.best(result.logits, arguments.top_k);
      results.write(path, best);
      summary.add(path, best[0].index);
      if (features) {
        features->add(result.features);
      }
      ++classified;
    } else {
      report("skipped: " + result.error);
    }
    if ((result.index + 1) % batch == 0 || result.index + 1 == paths.size()) {
      progress.draw(result.index + 1);
    }
    return true;
  });
  progress.clear();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw Error("the results could not be written");
  }
  if (features) {
    features->finish();
  }
  std::fprintf(stderr, "%zu images in %.2f s, %.0f a second\n", classified, seconds,
               static_cast<double>(classified) / seconds);
  for (const std::string& folder : arguments.images.unread) {
    report("skipped: " + folder);
  }
  if (const std::string sentence = left_out(arguments.images); !sentence.empty()) {
    std::fprintf(stderr, "%s\n", sentence.c_str());
  }
  for (const std::string& line : summary.lines()) {
    std::fprintf(stderr, "%s\n", printable(line).c_str());
  }
  if (classified == 0) {
    throw Error("no image could be classified");
  }
  return classified == paths.size() && arguments.images.unread.empty() ? 0 : 1;
}

}  // namespace
}  // namespace paco::classify

int main(int argc, char** argv) {
  try {
    const auto arguments = paco::classify::parse_arguments(argc, argv);
    return arguments ? paco::classify::run(*arguments) : 0;
  } catch (const std::exception& error) {
    paco::classify::report(error.what());
  }
  return 2;
}
