#pragma once

#include "../class_mean_problem.h"
#include "../parallel_for.h"

namespace paco::cpu {

// Throws ArgumentError, before anything is written, for a label out of range or a count below 0.
void class_mean_update(const ClassMeanProblem& problem, const Threads& threads);

}  // namespace paco::cpu
