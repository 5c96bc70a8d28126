// Training steps that earlier releases saved (tests/data/releases) load, and do what they did.

#include <gtest/gtest.h>
#include <torch/script.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/close.h"

namespace paco {
namespace {

namespace fs = std::filesystem;
using testing::expect_close;

c10::Dict<c10::IValue, c10::IValue> load_dictionary(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  return torch::jit::pickle_load(bytes).toGenericDict();
}

TEST(Releases, TrainingStepsLoadAndRun) {
  int releases = 0;
  for (const fs::directory_entry& release : fs::directory_iterator(PACO_TEST_RELEASES)) {
    if (!release.is_directory()) {
      continue;
    }
    SCOPED_TRACE(release.path());
    ++releases;
    torch::jit::Module step = torch::jit::load(release.path() / "training_step.pt");
    const auto expected = load_dictionary(release.path() / "expected.pt");
    const torch::NoGradGuard no_grad;
    const auto inputs = expected.at("inputs").toListRef();
    const auto losses = expected.at("losses").toListRef();
    ASSERT_EQ(inputs.size(), losses.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const std::vector<c10::IValue> batch = inputs[i].toTupleRef().elements().vec();
      expect_close(step.forward(batch).toTensor(), losses[i].toTensor());
    }
    const auto state = expected.at("state").toGenericDict();
    size_t names = 0;
    for (const auto& [name, value] : step.named_parameters()) {
      expect_close(value, state.at(name).toTensor());
      ++names;
    }
    for (const auto& [name, value] : step.named_buffers()) {
      expect_close(value, state.at(name).toTensor());
      ++names;
    }
    EXPECT_EQ(names, state.size());
  }
  EXPECT_GE(releases, 1);
}

}  // namespace
}  // namespace paco
