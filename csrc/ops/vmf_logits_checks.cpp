#include "tensor_checks.h"
#include "vmf_logits_arguments.h"

namespace paco {
namespace {

constexpr const char* kVmf = "vmf_logits";

}  // namespace

void check_vmf_logits(const VmfLogitsArguments& args) {
  const at::Tensor& features = args.features;
  const at::Tensor& mean_direction = args.mean_direction;
  PACO_CHECK(kVmf, features.dim() == 2 && features.sym_size(0) > 0,
             "features must be [A, D] with at least one row, got ", features.sym_sizes());
  check_dtype(kVmf, "features", features);
  PACO_CHECK(kVmf, features.sym_size(1) >= 2,
             "features must be [A, D] with D >= 2, where there are ",
             "directions to spread over, got ", features.sym_sizes());
  check_temperature(kVmf, args.temperature);
  const auto dtype = accumulate_type(features.scalar_type());
  check_computable(kVmf, "temperature", args.temperature, dtype);
  PACO_CHECK(kVmf,
             mean_direction.dim() == 2 && mean_direction.sym_size(0) > 0 &&
                 mean_direction.sym_size(1) == features.sym_size(1),
             "mean_direction must be [C, D] with at least one row and the D of features ",
             features.sym_sizes(), ", got ", mean_direction.sym_sizes());
  PACO_CHECK(
      kVmf,
      args.concentration.dim() == 1 && args.concentration.sym_size(0) == mean_direction.sym_size(0),
      "concentration must have one entry for each row of mean_direction ",
      mean_direction.sym_sizes(), ", got ", args.concentration.sym_sizes());
  const auto check_statistics = [&](const char* name, const at::Tensor& tensor) {
    check_strided(kVmf, name, tensor);
    PACO_CHECK(kVmf, tensor.scalar_type() == dtype, name, " must be ", dtype,
               " beside features of ", features.scalar_type(), ", got ", tensor.scalar_type());
    check_device(kVmf, name, tensor, "features", features);
  };
  check_statistics("mean_direction", mean_direction);
  check_statistics("concentration", args.concentration);
}

void check_vmf_logits_backward(const VmfLogitsBackwardArguments& args) {
  check_vmf_logits(args.forward);
  const at::Tensor& features = args.forward.features;
  const auto dtype = accumulate_type(features.scalar_type());
  const c10::SymInt pairs[] = {features.sym_size(0), args.forward.mean_direction.sym_size(0)};
  check_state(kVmf, "grad_logits", args.grad_logits, pairs, dtype, "features", features);
  check_state(kVmf, "slope", args.slope, pairs, dtype, "features", features);
}

}  // namespace paco
