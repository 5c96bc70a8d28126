#pragma once

#include "../parallel_for.h"
#include "../queue_enqueue_problem.h"

namespace paco::cpu {

// Throws ArgumentError, before anything is written, for a state that is none of this queue.
void queue_enqueue(const QueueEnqueueProblem& problem, const Threads& threads);

}  // namespace paco::cpu
