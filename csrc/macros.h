#pragma once

/// Marks what libpaco exports; everything else is hidden.
#define PACO_API __attribute__((visibility("default")))

#if defined(_GLIBCXX_USE_CXX11_ABI) && !_GLIBCXX_USE_CXX11_ABI
#error "libpaco and PyTorch use std::string of the C++11 ABI: drop -D_GLIBCXX_USE_CXX11_ABI=0"
#endif
