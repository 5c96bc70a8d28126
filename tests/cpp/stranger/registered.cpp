#include <paco/register_ops.h>

[[maybe_unused]] static const int registered = (paco::register_ops(), 0);
