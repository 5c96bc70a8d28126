#include "center_logits_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kCenters = "center_logits";

}  // namespace

void check_center_options(const char* caller, bool has_bias, double center_temperature, double tau,
                          std::optional<double> scale) {
  check_positive(caller, "center_temperature", center_temperature);
  check_not_negative(caller, "tau", tau);
  if (!scale) return;
  check_positive(caller, "scale", *scale);
  PACO_CHECK(caller, !has_bias, "bias must be left out with a scale: a cosine has none");
  PACO_CHECK(caller, center_temperature == 1,
             "center_temperature must be 1 with a scale, which takes its place, got ",
             center_temperature);
}

void check_center_logits(const CenterLogitsArguments& args) {
  check_center_options(kCenters, args.bias.has_value(), args.center_temperature, args.tau,
                       args.scale);
  const at::Tensor& x = args.x;
  const at::Tensor& weight = args.weight;
  PACO_CHECK(kCenters, x.dim() == 2, "x must be [A, F], got ", x.sym_sizes());
  PACO_CHECK(kCenters, at::isFloatingType(x.scalar_type()), "x must be floating, got ",
             x.scalar_type());
  PACO_CHECK(kCenters, weight.dim() == 2 && weight.sym_size(1) == x.sym_size(1),
             "weight must be [C, F] with the F of x ", x.sym_sizes(), ", got ", weight.sym_sizes());
  const auto check_like_x = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(kCenters, tensor.scalar_type() == x.scalar_type(), name, " must be ",
               x.scalar_type(), " (as x), got ", tensor.scalar_type());
    check_device(kCenters, name, tensor, "x", x);
  };
  const auto check_per_class = [&](const char* name, const at::Tensor& tensor) {
    PACO_CHECK(kCenters, tensor.dim() == 1 && tensor.sym_size(0) == weight.sym_size(0), name,
               " must be [C] with the C of weight ", weight.sym_sizes(), ", got ",
               tensor.sym_sizes());
  };
  check_like_x("weight", weight);
  if (args.bias) {
    check_per_class("bias", *args.bias);
    check_like_x("bias", *args.bias);
  }
  if (args.log_prior) {
    const at::Tensor& log_prior = *args.log_prior;
    check_per_class("log_prior", log_prior);
    PACO_CHECK(kCenters,
               log_prior.scalar_type() == at::kFloat || log_prior.scalar_type() == at::kDouble,
               "log_prior must be float32 or float64, got ", log_prior.scalar_type());
    check_device(kCenters, "log_prior", log_prior, "x", x);
  }
}

}  // namespace paco
