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

// Its two halves, where the columns are shared out among processes: what the columns of a share,
// which may be none, leave of the anchors, and what comes of the records of all shares. Without a
// loss, and with losses, in the output; the problem of the latter has anchors, their weights and
// options alone, and a beta of 0 without centers.
void paco_loss_partial(const PaCoLossProblem& problem, const PaCoLossRecords& record,
                       const Threads& threads);
void paco_loss_combine(const PaCoLossProblem& problem, const PaCoLossRecords& shares,
                       const PaCoLossOutput& output, const Threads& threads);

// The same for the backward pass, of one share or of all there is.
void paco_loss_backward(const PaCoLossProblem& problem, const PaCoLossGradients& gradients,
                        const Threads& threads);

}  // namespace paco::cpu
