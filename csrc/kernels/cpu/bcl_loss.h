#pragma once

#include "../bcl_loss_problem.h"
#include "../parallel_for.h"

// BCL on a CPU, in strips of anchors: a strip's pairs with all columns are kept, [128, M + C], and
// serve three products: logits, the columns weighted for the anchors, and the anchors weighted for
// the columns. So value and gradient come together, and no logit is computed twice.
namespace paco::cpu {

// Throws ArgumentError, before anything is written, for a label out of range.
void bcl_loss(const BCLLossProblem& problem, const BCLLossOutput& output, const Threads& threads);

}  // namespace paco::cpu
