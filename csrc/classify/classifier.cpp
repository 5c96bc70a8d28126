#include "classifier.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>
#include <utility>

#include "explain.h"
#include "model.h"
#include "network_threads.h"
#include "opencv.h"
#include "workers.h"

namespace paco {

using namespace classify;  // what this class is made of

namespace {

/// The logarithm of a prior's shares.
std::vector<float> log_shares(const std::vector<double>& prior, size_t classes) {
  if (!prior.empty() && prior.size() != classes) {
    throw Error("target_prior must have a number for each of " + std::to_string(classes) +
                " classes, got " + std::to_string(prior.size()));
  }
  const double sum = std::accumulate(prior.begin(), prior.end(), 0.0);
  std::vector<float> result;
  for (size_t c = 0; c < prior.size(); ++c) {
    if (!(prior[c] >= 0) || !std::isfinite(sum) || sum == 0) {
      throw Error("target_prior must be finite, >= 0 and not all zero, got " +
                  std::to_string(prior[c]) + " for class " + std::to_string(c) + " and a sum of " +
                  std::to_string(sum));
    }
    result.push_back(static_cast<float>(std::log(prior[c] / sum)));
  }
  return result;
}

int at_least_one(const char* name, int value) {
  if (value < 1) {
    throw Error(std::string(name) + " must be at least 1, got " + std::to_string(value));
  }
  return value;
}

}  // namespace

struct Classifier::Impl {
  std::string path;
  Model model;
  int threads;
  size_t chunk;  ///< images that a thread takes at a time
  std::vector<float> log_prior;

  Impl(std::string file, const ClassifierOptions& options)
      : path(std::move(file)),
        threads(options.threads == 0 ? at::get_num_threads()
                                     : at_least_one("options.threads", options.threads)),
        chunk(at_least_one("options.batch_size", options.batch_size)) {
    const NetworkThreads network(threads);  // which are used when the model is tried out
    model = load_model(path, {options.device, options.dtype, threads, options.features});
    set_target_prior(options.target_prior);
    if (model.on_cpu) {
      // A batch is shared by the threads: together they have so many images in the network.
      chunk = std::max<size_t>(1, chunk / threads);
    }
  }

  void set_target_prior(const std::vector<double>& prior) {
    log_prior = log_shares(prior, model.classes.size());
    if (!log_prior.empty() && model.texts.contains("target_prior")) {
      throw Error(path + " was exported with a target prior, which is in its logits: leave " +
                  "target_prior empty, or export it without");
    }
  }

  void run(const std::vector<Image>& images,
           const std::function<bool(const ImageResult&)>& visit) const {
    // A short list is shared out among the threads, too.
    const size_t workers = list_threads(model, threads);
    const size_t share = (images.size() + workers - 1) / workers;
    std::vector<float> logits(model.classes.size());
    for_each_chunk(model, images, std::min(chunk, std::max<size_t>(share, 1)), threads,
                   [&](size_t first, const Chunk& part) {
                     for (size_t i = 0; i < part.entries.size(); ++i) {
                       const auto& [row, error] = part.entries[i];
                       ImageResult result{first + i, error, {}, {}};
                       if (row >= 0) {
                         copy_logits(part, row, logits);
                         result.logits = logits;
                         result.features = features(part, row);
                       }
                       if (!visit(result)) {
                         return false;
                       }
                     }
                     return true;
                   });
  }

  BatchResult run(const std::vector<Image>& images) const {
    BatchResult batch{static_cast<int64_t>(images.size()), {}, {}};
    run(images, [&](const ImageResult& result) {
      if (!result.error.empty()) {
        throw Error(result.error);
      }
      if (result.index == 0) {
        batch.logits.reserve(images.size() * result.logits.size());
        batch.features.reserve(images.size() * result.features.size());
      }
      batch.logits.insert(batch.logits.end(), result.logits.begin(), result.logits.end());
      batch.features.insert(batch.features.end(), result.features.begin(), result.features.end());
      return true;
    });
    return batch;
  }

  std::vector<Prediction> best(std::span<const float> logits, int top_k) const {
    at_least_one("top_k", top_k);
    if (logits.size() != model.classes.size()) {
      throw Error("logits must be those of " + std::to_string(model.classes.size()) +
                  " classes, got " + std::to_string(logits.size()));
    }
    if (!are_numbers(logits)) {
      throw Error(
          "logits must be numbers, one of them finite and the others not above it: -inf is for a "
          "class that does not occur");
    }
    std::vector<int64_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto end = order.begin() + std::min<std::ptrdiff_t>(top_k, std::ssize(order));
    std::partial_sort(order.begin(), end, order.end(), [&](int64_t a, int64_t b) {
      return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
    });
    const double largest = logits[order[0]];
    double sum = 0;
    for (const float logit : logits) {
      sum += std::exp(logit - largest);
    }
    std::vector<Prediction> result;
    for (auto c = order.begin(); c != end; ++c) {
      const auto probability = static_cast<float>(std::exp(logits[*c] - largest) / sum);
      result.push_back({model.classes[*c], probability, *c, logits[*c]});
    }
    return result;
  }

 private:
  void copy_logits(const Chunk& part, int64_t row, std::vector<float>& logits) const {
    const float* from = part.outputs.logits.const_data_ptr<float>() + row * std::ssize(logits);
    std::copy_n(from, logits.size(), logits.begin());
    for (size_t c = 0; c < log_prior.size(); ++c) {
      logits[c] += log_prior[c];
    }
  }

  static std::span<const float> features(const Chunk& part, int64_t row) {
    const at::Tensor& all = part.outputs.features;
    if (!all.defined()) {
      return {};
    }
    const int64_t width = all.size(1);
    return {all.const_data_ptr<float>() + row * width, static_cast<size_t>(width)};
  }
};

Classifier::Classifier(const std::string& path, const ClassifierOptions& options) {
  only_errors([&] { impl_ = std::make_unique<Impl>(path, options); });
}
Classifier::Classifier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;
Classifier::~Classifier() = default;

Classifier Classifier::with_target_prior(const std::vector<double>& prior) const {
  return only_errors([&] {
    auto impl = std::make_unique<Impl>(*impl_);
    impl->set_target_prior(prior);
    return Classifier(std::move(impl));
  });
}

void Classifier::run(const std::vector<Image>& images,
                     const std::function<bool(const ImageResult&)>& visit) const {
  std::exception_ptr of_the_visitor;
  only_errors([&] {
    impl_->run(images, [&](const ImageResult& result) {
      try {
        return visit(result);
      } catch (...) {
        of_the_visitor = std::current_exception();
        return false;
      }
    });
  });
  if (of_the_visitor) {
    std::rethrow_exception(of_the_visitor);
  }
}

BatchResult Classifier::run(const std::vector<Image>& images) const {
  return only_errors([&] { return impl_->run(images); });
}

std::vector<Prediction> Classifier::classify(const Image& image, int top_k) const {
  return only_errors([&] {
    at_least_one("top_k", top_k);
    return impl_->best(impl_->run({image}).logits, top_k);
  });
}

std::vector<std::vector<Prediction>> Classifier::classify(const std::vector<Image>& images,
                                                          int top_k) const {
  return only_errors([&] {
    at_least_one("top_k", top_k);
    std::vector<std::vector<Prediction>> result;
    impl_->run(images, [&](const ImageResult& image) {
      if (!image.error.empty()) {
        throw Error(image.error);
      }
      result.push_back(impl_->best(image.logits, top_k));
      return true;
    });
    return result;
  });
}

std::vector<Prediction> Classifier::best(std::span<const float> logits, int top_k) const {
  return only_errors([&] { return impl_->best(logits, top_k); });
}

const std::vector<std::string>& Classifier::classes() const { return impl_->model.classes; }
const std::vector<int64_t>& Classifier::class_counts() const { return impl_->model.class_counts; }
std::array<int, 3> Classifier::input_shape() const {
  return impl_->model.preprocessing.input_shape;
}
int64_t Classifier::feature_size() const { return impl_->model.feature_size; }
const std::map<std::string, std::string>& Classifier::texts() const { return impl_->model.texts; }
const std::string& Classifier::warning() const { return impl_->model.warning; }
bool Classifier::decodes_files() { return kHasOpenCV; }

}  // namespace paco
