// A stranger's way to classify: nothing but <paco/classify.h>.

#include <gtest/gtest.h>
#include <paco/classify.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace {

const std::string kFolder = std::string(PACO_TEST_MODELS) + "/classify";
constexpr int kImages = 10;

std::vector<paco::Image> images() {
  std::vector<paco::Image> result;
  result.reserve(kImages);
  for (int i = 0; i < kImages; ++i) {
    result.emplace_back(kFolder + "/" + std::to_string(i) + ".png");
  }
  return result;
}

std::vector<uint8_t> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What Python computed, one number after another.
std::vector<float> expected(const std::string& name) {
  const std::vector<uint8_t> bytes = bytes_of(kFolder + "/" + name);
  std::vector<float> result(bytes.size() / sizeof(float));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(result.data()));
  return result;
}

void expect_close(const std::vector<float>& values, const std::vector<float>& right) {
  ASSERT_EQ(values.size(), right.size());
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(values[i], right[i], 1e-5 * (1 + std::abs(right[i]))) << i;
  }
}

std::string error_of(const std::function<void()>& function) {
  try {
    function();
  } catch (const paco::Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_error(const std::string& text, const std::function<void()>& function) {
  EXPECT_NE(error_of(function).find(text), std::string::npos) << error_of(function);
}

TEST(Classifier, GivesPythonsLogitsAndFeatures) {
  for (const int threads : {1, 2, 3}) {
    const paco::Classifier classifier(kFolder + "/model.pt",
                                      {.threads = threads, .batch_size = 4, .features = true});
    const paco::BatchResult result = classifier.run(images());
    EXPECT_EQ(result.images, kImages);
    expect_close(result.logits, expected("logits"));
    expect_close(result.features, expected("features"));
  }
}

TEST(Classifier, NamesTheBestClasses) {
  const paco::Classifier classifier(kFolder + "/model.pt");
  const std::vector<float> logits = expected("logits");
  const auto rows = classifier.classify(images(), 2);
  ASSERT_EQ(rows.size(), kImages);
  for (int i = 0; i < kImages; ++i) {
    const auto first = logits.begin() + std::ptrdiff_t{4} * i;
    const auto best = classifier.classify(images()[i], 9);
    ASSERT_EQ(best.size(), 4);
    double sum = 0;
    for (const paco::Prediction& p : best) {
      EXPECT_EQ(p.name, classifier.classes()[p.index]);
      EXPECT_NEAR(p.logit, first[p.index], 1e-4);
      sum += p.probability;
    }
    EXPECT_NEAR(sum, 1, 1e-5);
    EXPECT_EQ(best[0].index, std::max_element(first, first + 4) - first);
    EXPECT_EQ(rows[i].size(), 2);
    EXPECT_EQ(rows[i][0].index, best[0].index);
  }
}

TEST(Classifier, TakesFilesInMemoryAndPixels) {
  const paco::Classifier classifier(kFolder + "/model.pt", {.threads = 1});
  const std::string path = kFolder + "/0.png";
  const std::vector<float> logits = classifier.run({path}).logits;
  const std::vector<uint8_t> file = bytes_of(path);
  EXPECT_EQ(classifier.run({paco::Image::File(file)}).logits, logits);

  const std::vector<uint8_t> rgb = bytes_of(kFolder + "/0.rgb");  // 12 by 10 pixels
  const paco::Pixels pixels{.data = rgb.data(), .height = 12, .width = 10};
  EXPECT_EQ(classifier.run({pixels}).logits, logits);

  std::vector<uint8_t> bgr(rgb.rbegin(), rgb.rend());  // the last pixel first
  const paco::Pixels backward{.data = bgr.data() + bgr.size() - 3,
                              .height = 12,
                              .width = 10,
                              .channels = paco::Channels::kBGR,
                              .row_stride = -30,
                              .pixel_stride = -3};
  EXPECT_EQ(classifier.run({backward}).logits, logits);
}

TEST(Classifier, GoesOnAfterABadImage) {
  const paco::Classifier classifier(kFolder + "/model.pt", {.threads = 2, .batch_size = 4});
  std::vector<paco::Image> list = images();
  list[3] = kFolder + "/missing.png";
  std::vector<size_t> visited;
  classifier.run(list, [&](const paco::ImageResult& result) {
    EXPECT_EQ(result.error.empty(), result.index != 3);
    EXPECT_EQ(result.logits.size(), result.index == 3 ? 0 : 4);
    visited.push_back(result.index);
    return result.index < 7;
  });
  EXPECT_EQ(visited, (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  expect_error("missing.png cannot be read: No such file", [&] { classifier.run(list); });
  // The visitor's own error comes out as it is.
  EXPECT_THROW(
      classifier.run(list, [](const paco::ImageResult&) -> bool { throw std::bad_alloc(); }),
      std::bad_alloc);
}

TEST(Classifier, AnEmptyListIsNoError) {
  const paco::Classifier classifier(kFolder + "/model.pt");
  EXPECT_TRUE(classifier.run({}).logits.empty());
  EXPECT_TRUE(classifier.classify(std::vector<paco::Image>{}).empty());
}

TEST(Classifier, OnlyItsOwnErrorLeavesIt) {
  expect_error("there is no model file nowhere.pt", [] { paco::Classifier{"nowhere.pt"}; });
  expect_error("is no classifier that tools/export.py wrote",
               [] { paco::Classifier{kFolder + "/0.png"}; });
  expect_error("operators of libpaco, as a training step does",
               [] { paco::Classifier{std::string(PACO_TEST_MODELS) + "/step.pt"}; });
  expect_error("it does not say how to preprocess",
               [] { paco::Classifier{std::string(PACO_TEST_MODELS) + "/classifier.pt"}; });
  const std::string model = kFolder + "/model.pt";
  expect_error("abacus", [&] { paco::Classifier(model, {.device = "abacus"}); });
  expect_error("got int8", [&] { paco::Classifier(model, {.dtype = "int8"}); });
  expect_error("a number for each of 4 classes, got 1",
               [&] { paco::Classifier(model, {.target_prior = {1}}); });
  for (const std::vector<double>& bad :
       {std::vector<double>{1, 1, 1, -1}, {1, 1, 1, NAN}, {1, 1, 1, INFINITY}, {0, 0, 0, 0}}) {
    expect_error("must be finite, >= 0 and not all zero",
                 [&] { paco::Classifier(model, {.target_prior = bad}); });
  }
  const paco::Classifier classifier(model);
  expect_error("the image has no pixels", [&] { classifier.classify(paco::Pixels{}); });
  expect_error("the image is empty", [&] { classifier.classify(paco::Image::File{}); });
  expect_error("top_k must be at least 1", [&] { classifier.classify("x.png", 0); });
  expect_error("logits must be those of 4 classes, got 0", [&] { classifier.best({}); });
  for (const std::vector<float>& bad :
       {std::vector<float>{1, 2, 3, NAN}, {1, 2, 3, INFINITY}, std::vector<float>(4, -INFINITY)}) {
    expect_error("logits must be numbers", [&] { classifier.best(bad); });
  }
}

TEST(Classifier, ThreadsShareIt) {
  const paco::Classifier classifier(kFolder + "/model.pt", {.threads = 2, .batch_size = 4});
  const std::vector<float> logits = classifier.run(images()).logits;
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(classifier.run(images()).logits, logits);
        EXPECT_EQ(classifier.classify(images()[i]).size(), 4);
      }
    });
  }
}

}  // namespace
