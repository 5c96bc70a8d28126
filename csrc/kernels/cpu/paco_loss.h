#pragma once

#include "../paco_loss_problem.h"
#include "../parallel_for.h"

// The PaCo loss on a CPU: one pass over tiles of columns with the online softmax of flash
// attention. A tile of logits lives in the L2 cache from the product that makes it, over its
// exponentials, to the product that weighs its columns with them (products.h).
//
// Every sum is taken in a fixed order that depends on the shapes and the number of threads alone,
// so equal inputs give equal bits.
namespace paco::cpu {

// Throws ArgumentError, before anything is written, for a label, a number of valid rows or a weight
// of an anchor out of range.
void paco_loss_forward(const PaCoLossProblem& problem, const PaCoLossOutput& output,
                       const Threads& threads);

// The same for the backward pass.
void paco_loss_backward(const PaCoLossProblem& problem, const PaCoLossGradients& gradients,
                        const Threads& threads);

}  // namespace paco::cpu
