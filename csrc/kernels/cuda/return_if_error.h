#pragma once

#include <cuda_runtime_api.h>

#define PACO_RETURN_IF_ERROR(call)            \
  do {                                        \
    const cudaError_t status = (call);        \
    if (status != cudaSuccess) return status; \
  } while (false)
