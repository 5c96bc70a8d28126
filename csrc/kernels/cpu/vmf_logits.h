#pragma once

#include "../parallel_for.h"
#include "../vmf_logits_problem.h"

// Logits of von Mises-Fisher classes on a CPU: a tile of the product z mu^T becomes logits while it
// is in the cache. Every sum is taken in an order that depends on the shapes alone, so equal inputs
// give equal bits on any number of threads.
namespace paco::cpu {

// Throws ArgumentError, before anything is written, for a row of mean_direction that has neither
// length 1 nor 0, and for a concentration that is not finite and >= 0.
void vmf_logits_forward(const VmfProblem& problem, const VmfOutput& output, const Threads& threads);

void vmf_logits_backward(const VmfProblem& problem, const VmfGradients& gradients,
                         const Threads& threads);

}  // namespace paco::cpu
