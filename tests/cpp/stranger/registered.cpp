#include <paco/keep_linked.h>

[[maybe_unused]] static const int registered = (paco::keep_linked(), 0);
