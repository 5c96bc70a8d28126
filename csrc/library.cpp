// Every operator schema of libpaco. Public schemas are a promise: a TorchScript file that one
// release saves loads in the next, so arguments are only ever appended, with a default.
//
// Kernels are registered in ops, a file for each dispatch key:
//   cpu.cpp, cuda.cpp   one device each; the arithmetic is in kernels
//   composite.cpp       any device, on top of ATen; used where no device kernel is registered
//   meta.cpp            shapes and dtypes, for torch.compile and torch.export
//   autograd.cpp        derivatives
//   autocast.cpp        what mixed precision means for the operator

#include <torch/library.h>

TORCH_LIBRARY(paco, m) {
  // The PaCo loss and its relatives, a scalar. See ops/paco_loss.h.
  m.def(
      "paco_loss(Tensor features, Tensor labels, Tensor? center_logits=None, Tensor? queue=None, "
      "Tensor? queue_labels=None, Tensor? num_valid=None, Tensor? anchor_weight=None, "
      "SymInt? num_anchors=None, float beta=1.0, float gamma=1.0, float? base_temperature=None, "
      "float label_smoothing=0.0, Tensor? soft_targets=None, bool detach_keys=False, *, "
      "float alpha, float temperature) -> Tensor");

  // The PaCo loss of samples with any number of classes, a scalar. See ops/multi_label_paco_loss.h.
  m.def(
      "multi_label_paco_loss(Tensor features, Tensor labels, Tensor center_logits, "
      "Tensor? queue=None, Tensor? queue_labels=None, Tensor? num_valid=None, "
      "Tensor? anchor_weight=None, float beta=1.0, float gamma=1.0, "
      "float? base_temperature=None, *, float alpha, float temperature) -> Tensor");

  // Balanced contrastive learning, a scalar. See ops/bcl_loss.h.
  m.def(
      "bcl_loss(Tensor features, Tensor labels, Tensor prototypes, Tensor? queue=None, "
      "Tensor? queue_labels=None, Tensor? num_valid=None, *, float temperature) -> Tensor");

  // The loss, and its gradient [M + C, D] to features and prototypes, empty unless it is asked for.
  m.def(
      "bcl_loss_forward(Tensor features, Tensor labels, Tensor prototypes, Tensor? queue, "
      "Tensor? queue_labels, Tensor? num_valid, float temperature, bool grad) -> "
      "(Tensor loss, Tensor gradient)");

  // The gradient times that of the loss.
  m.def(
      "bcl_loss_backward(Tensor grad_loss, Tensor features, Tensor prototypes, Tensor gradient) -> "
      "Tensor");

  // The PaCo loss, and what the backward pass needs of the forward pass. class_counts, [C], makes
  // it BCL, for devices without kernels of their own for that; prototypes are the last rows of
  // features then. With A anchors:
  //   loss           []
  //   log_partition  [A]     L_i, the logarithm of the denominator; always float64
  //   pair_weight    [A]     W_i = beta + alpha |P(i)|
  //   anchor_grad    [A, D]  gradient of T_base l_i to z_i as an anchor; empty without
  //                          features_grad
  m.def(
      "paco_loss_forward(Tensor features, Tensor labels, Tensor? center_logits, Tensor? queue, "
      "Tensor? queue_labels, Tensor? num_valid, Tensor? anchor_weight, SymInt? num_anchors, "
      "float beta, float gamma, float? base_temperature, float label_smoothing, "
      "Tensor? soft_targets, float alpha, float temperature, bool features_grad, "
      "Tensor? class_counts=None) -> "
      "(Tensor loss, Tensor log_partition, Tensor pair_weight, Tensor anchor_grad)");

  // A gradient that its flag does not ask for is empty.
  m.def(
      "paco_loss_backward(Tensor grad_loss, Tensor features, Tensor labels, Tensor? center_logits, "
      "Tensor? anchor_weight, Tensor log_partition, Tensor pair_weight, Tensor anchor_grad, "
      "float beta, float gamma, float? base_temperature, float label_smoothing, "
      "Tensor? soft_targets, float alpha, float temperature, bool features_grad, "
      "bool center_logits_grad, Tensor? class_counts=None) -> "
      "(Tensor grad_features, Tensor grad_center_logits)");

  // The loss in two halves, for columns that are shared out among processes; paco.distributed joins
  // them. The anchors [A, D] are those of all processes, anchor_rows [A] says which row of features
  // an anchor is, or -1, and an anchor is no pair of its own. center_logits are those of the
  // anchors among features, which are its first rows; or, with num_classes, those of all anchors
  // and of the classes from first_class on. The record of the columns that are here:
  //   sums  [A, 6]     max_j p_ij, sum_j exp(p_ij - max), the same two of s_ic, sum_c t_ic s_ic,
  //                    |P(i)|; float64
  //   rows  [A, R, D]  sum_{P(i)} z_j and, with features_grad, sum_j exp(p_ij - max) z_j
  // class_counts, [C] over the columns of all shares, makes it BCL, as in paco_loss_forward.
  m.def(
      "paco_loss_partial(Tensor anchors, Tensor anchor_labels, Tensor anchor_rows, "
      "Tensor features, Tensor labels, Tensor? center_logits, Tensor? queue, "
      "Tensor? queue_labels, Tensor? num_valid, SymInt first_class, SymInt? num_classes, "
      "float gamma, float label_smoothing, Tensor? soft_targets, float alpha, float temperature, "
      "bool features_grad, Tensor? class_counts=None) -> (Tensor sums, Tensor rows)");

  // The losses l_i of some anchors from the records of S shares, times their weights; the rest as
  // of paco_loss_forward. Without centers beta is to be 0.
  m.def(
      "paco_loss_combine(Tensor sums, Tensor rows, Tensor anchors, Tensor? anchor_weight, "
      "float beta, float gamma, float? base_temperature, float alpha, float temperature) -> "
      "(Tensor losses, Tensor log_partition, Tensor pair_weight, Tensor anchor_grad)");

  // The gradients to the columns of paco_loss_partial that are no queue, from those to the losses
  // of all anchors, without weights; anchor_grad is that of the anchors among features.
  m.def(
      "paco_loss_partial_backward(Tensor grad_losses, Tensor anchors, Tensor anchor_labels, "
      "Tensor anchor_rows, Tensor features, Tensor labels, Tensor? center_logits, "
      "SymInt first_class, SymInt? num_classes, Tensor log_partition, Tensor pair_weight, "
      "Tensor anchor_grad, float beta, float gamma, float? base_temperature, "
      "float label_smoothing, Tensor? soft_targets, float alpha, float temperature, "
      "bool features_grad, bool center_logits_grad, Tensor? class_counts=None) -> "
      "(Tensor grad_features, Tensor grad_center_logits)");

  // Logits of the class centers, the class prior added. See ops/center_logits.h.
  m.def(
      "center_logits(Tensor x, Tensor weight, Tensor? bias=None, Tensor? log_prior=None, "
      "float center_temperature=1.0, float tau=1.0, float? scale=None) -> Tensor");

  // Writes keys and labels into a ring buffer. See ops/queue_enqueue.h.
  m.def(
      "queue_enqueue_(Tensor(a!) queue, Tensor(b!) queue_labels, Tensor(c!) queue_state, "
      "Tensor keys, Tensor labels) -> ()");

  // Logits of von Mises-Fisher classes. See ops/vmf_logits.h.
  m.def(
      "vmf_logits(Tensor features, Tensor mean_direction, Tensor concentration, "
      "float temperature) -> Tensor");

  // The logits, and what the backward pass needs of the forward pass:
  //   slope  [A, C]  d s_ic / d z_i = slope_ic (kappa_c mu_c + z_i / T); empty without
  //                  features_grad
  m.def(
      "vmf_logits_forward(Tensor features, Tensor mean_direction, Tensor concentration, "
      "float temperature, bool features_grad) -> (Tensor logits, Tensor slope)");

  m.def(
      "vmf_logits_backward(Tensor grad_logits, Tensor features, Tensor mean_direction, "
      "Tensor concentration, Tensor slope, float temperature) -> Tensor");

  // Adds features to the running means of their classes. See ops/class_mean_update.h.
  m.def(
      "class_mean_update_(Tensor(a!) class_mean, Tensor(b!) class_count, Tensor features, "
      "Tensor labels) -> ()");

  // How this libpaco was built, and what it uses of the processor. See build_info.h.
  m.def(
      "build_info() -> (str version, str torch_version, str cuda_version, str compiler, "
      "bool cxx11_abi, str[] cpu_capabilities, str cpu_capability, str build_type)");
}
