#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

namespace {

class CudaLibraryTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_NE(dlopen(PACO_LIBRARY, RTLD_NOW), nullptr) << dlerror(); }
};

TEST_F(CudaLibraryTest, OperatorsHaveCudaKernels) {
  for (const char* name : {"paco_loss_forward", "paco_loss_backward", "paco_loss_partial",
                           "paco_loss_combine", "paco_loss_partial_backward", "queue_enqueue_",
                           "vmf_logits_forward", "class_mean_update_"}) {
    const auto op =
        c10::Dispatcher::singleton().findSchemaOrThrow((std::string("paco::") + name).c_str(), "");
    EXPECT_TRUE(op.hasKernelForDispatchKey(c10::DispatchKey::CUDA)) << name;
  }
}

// C equal center logits and no pairs: the loss is log C.
TEST_F(CudaLibraryTest, OperatorsRunWithoutAGpu) {
  const int64_t anchors = 3;
  const int64_t classes = 7;
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("paco::paco_loss", "");
  torch::jit::Stack stack;
  torch::jit::push(stack, at::randn({anchors, 5}), at::randint(classes, {anchors}, at::kLong),
                   at::zeros({anchors, classes}), /*queue=*/c10::IValue(),
                   /*queue_labels=*/c10::IValue(), /*num_valid=*/c10::IValue(),
                   /*anchor_weight=*/c10::IValue(), /*num_anchors=*/c10::IValue(), /*beta=*/1.0,
                   /*gamma=*/0.0, /*base_temperature=*/c10::IValue(), /*label_smoothing=*/0.0,
                   /*soft_targets=*/c10::IValue(), /*detach_keys=*/false, /*alpha=*/0.0,
                   /*temperature=*/0.2);
  op.callBoxed(&stack);
  ASSERT_EQ(stack.size(), 1u);
  EXPECT_NEAR(stack[0].toTensor().item<double>(), std::log(static_cast<double>(classes)), 1e-6);
}

}  // namespace
