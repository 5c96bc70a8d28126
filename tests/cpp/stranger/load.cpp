// load STEP.pt [LIBRARY]: loads a training step, after LIBRARY where one is given.

#include <dlfcn.h>
#include <torch/script.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc > 2 && dlopen(argv[2], RTLD_NOW) == nullptr) {
    std::cerr << dlerror() << '\n';
    return 1;
  }
  try {
    torch::jit::load(argv[1]);
  } catch (const c10::Error& error) {
    std::cerr << error.what_without_backtrace() << '\n';
    return 1;
  }
  std::cout << "loaded\n";
}
