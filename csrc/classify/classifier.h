#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../macros.h"
#include "image.h"

namespace paco {

/// Settings of a Classifier.
struct ClassifierOptions {
  /// Device of the network: "cpu", "cuda" or "cuda:1". A .pt2 file runs where it was compiled for.
  std::string device = "cpu";

  /// Element type that the network computes in: as it was exported, or "bfloat16" for a .pt file of
  /// float32.
  std::string dtype = {};

  /// Processor threads, for decoding and for the network; 0 for as many as PyTorch takes.
  int threads = 0;

  /// Images that are in the network at once, all threads together.
  int batch_size = 64;

  /// How often each class occurs where the classifier is used, in any unit; empty if all are as
  /// likely as each other. The logits get the logarithms of the shares, -inf for a class with 0.
  /// Not for a file that was exported with a target prior.
  std::vector<double> target_prior = {};

  /// Give pooled features too, which a file keeps since libpaco 0.3.
  bool features = false;
};

/// A class and how likely it is.
struct Prediction {
  std::string name;
  float probability;
  int64_t index;  ///< of the class
  float logit;
};

/// The result of one image.
struct ImageResult {
  size_t index;                     ///< of the image in the list
  std::string error;                ///< why there is no result, a sentence; empty if there is one
  std::span<const float> logits;    ///< [C]
  std::span<const float> features;  ///< [F], empty unless asked for
};

/// The results of a batch, row by row.
struct BatchResult {
  int64_t images;
  std::vector<float> logits;    ///< [images, C]
  std::vector<float> features;  ///< [images, F], empty unless asked for
};

/// An exported classifier, from image file to class names.
///
///   paco::Classifier classifier("classifier.pt");
///   for (const paco::Prediction& best : classifier.classify("cat.jpg", 5)) ...
///
/// The file is one of paco.deploy.export_classifier, .pt or .pt2, that says how an image becomes
/// its input (tools/export.py writes such). Images get to the network as the test pipeline of
/// training brought them there, bit for bit.
///
/// Both kinds of file hold code, which may read and write your files: take only those whose maker
/// you trust. A model is tried out when it is read. All functions may be called from several
/// threads at once, and throw Error alone, apart from what a callback throws.
class PACO_API Classifier {
 public:
  /// Reads a model. Throws Error for a file that is none, one of another tool, one that is damaged,
  /// and for options that it cannot fulfil.
  explicit Classifier(const std::string& path, const ClassifierOptions& options = {});
  Classifier(Classifier&&) noexcept;
  Classifier& operator=(Classifier&&) noexcept;
  ~Classifier();

  /// The same classifier, network and all, for another ClassifierOptions::target_prior.
  Classifier with_target_prior(const std::vector<double>& prior) const;

  /// The best classes of an image, best first, at most `top_k` >= 1. Throws Error if there is no
  /// such image, or its logits are not numbers.
  std::vector<Prediction> classify(const Image& image, int top_k = 5) const;

  /// Likewise for each image of a batch.
  std::vector<std::vector<Prediction>> classify(const std::vector<Image>& images,
                                                int top_k = 5) const;

  /// Logits and features of a batch. Throws Error, which names the image, for the first one that
  /// has none.
  BatchResult run(const std::vector<Image>& images) const;

  /// Visits images of a list of any length, in its order, in the calling thread. Others decode, and
  /// run the network, at the same time. An image without a result has its `error`, and the next
  /// follows. The visitor returns whether to go on. What it throws ends the list and is passed on.
  void run(const std::vector<Image>& images,
           const std::function<bool(const ImageResult&)>& visit) const;

  /// The best classes of logits that run() gave. Throws Error for NaN and infinity, and for -inf of
  /// all classes.
  std::vector<Prediction> best(std::span<const float> logits, int top_k = 5) const;

  /// Names of the classes, in the order of the logits.
  const std::vector<std::string>& classes() const;

  /// Training images of each class; empty if the file does not say.
  const std::vector<int64_t>& class_counts() const;

  /// Channels, height and width of the network's input.
  std::array<int, 3> input_shape() const;

  /// F, the width of the pooled features; 0 if the file has none.
  int64_t feature_size() const;

  /// All texts of the file that paco knows by name, such as "checkpoint" and "torch_version".
  const std::map<std::string, std::string>& texts() const;

  /// A sentence about what is not as it should be, though results are right; mostly empty.
  const std::string& warning() const;

  /// Whether this libpaco_classify has OpenCV, without which only pixels can be classified.
  static bool decodes_files();

 private:
  struct Impl;
  explicit Classifier(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace paco
