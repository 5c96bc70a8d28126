#include "register_ops.h"

namespace paco {

void register_ops() {}

}  // namespace paco
