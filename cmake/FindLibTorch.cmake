# Finds PyTorch's C++ libraries; used by libpaco's own build and, installed, by PacoConfig.cmake.
#
#   LibTorch::LibTorch   everything that an application links
#   LibTorch_VERSION     PyTorch's version, e.g. 2.13.0
#   LibTorch_CUDA        whether this PyTorch was built with CUDA
#
# PyTorch's own find_package(Torch) is not used because, with a CUDA build of PyTorch, it fails on
# every machine that has no CUDA toolkit, even for code that needs none. The ways to say where
# PyTorch is are the same: Torch_DIR, or CMAKE_PREFIX_PATH with what
#   python -c "import torch; print(torch.utils.cmake_prefix_path)"
# prints, or with the folder of an unpacked LibTorch.

find_path(
  Torch_DIR TorchConfig.cmake
  HINTS ${CMAKE_PREFIX_PATH} ${LibTorch_HINTS}
  PATH_SUFFIXES share/cmake/Torch Torch
  DOC "Folder with PyTorch's TorchConfig.cmake")

set(LibTorch_CUDA FALSE)
# Nobody uses a symbol of libtorch.so, but compiled models (.pt2) load it by its name.
set(_libtorch_names c10 torch_cpu torch)
if(Torch_DIR)
  get_filename_component(_libtorch_root "${Torch_DIR}/../../.." ABSOLUTE)
  if(EXISTS "${_libtorch_root}/lib/libtorch_cuda.so")
    set(LibTorch_CUDA TRUE)
    list(APPEND _libtorch_names c10_cuda torch_cuda)
  endif()
  # The second is where versions before 2.9 have it.
  foreach(_libtorch_header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
    if(NOT LibTorch_VERSION AND EXISTS "${_libtorch_root}/include/${_libtorch_header}")
      file(STRINGS "${_libtorch_root}/include/${_libtorch_header}" _libtorch_version
           REGEX "\"[0-9.]+\"")
      string(REGEX MATCH "[0-9.]+" LibTorch_VERSION "${_libtorch_version}")
    endif()
  endforeach()
endif()
set(_libtorch_needed "PyTorch")
if(LibTorch_FIND_VERSION)
  set(_libtorch_needed "PyTorch ${LibTorch_FIND_VERSION} or later")
endif()
if(Torch_DIR)
  set(_libtorch_reason "${_libtorch_needed} is needed, and ${Torch_DIR} is of PyTorch ${LibTorch_VERSION}.")
else()
  set(_libtorch_reason "${_libtorch_needed} is needed: add its torch.utils.cmake_prefix_path, or the folder of an unpacked LibTorch, to CMAKE_PREFIX_PATH.")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch
  REQUIRED_VARS Torch_DIR LibTorch_VERSION
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "${_libtorch_reason}")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  foreach(_name IN LISTS _libtorch_names)
    add_library(LibTorch::${_name} SHARED IMPORTED)
    set_target_properties(LibTorch::${_name} PROPERTIES
      IMPORTED_LOCATION "${_libtorch_root}/lib/lib${_name}.so"
      IMPORTED_SONAME "lib${_name}.so")
    target_link_libraries(LibTorch::LibTorch INTERFACE LibTorch::${_name})
  endforeach()
  target_include_directories(LibTorch::LibTorch INTERFACE
    "${_libtorch_root}/include" "${_libtorch_root}/include/torch/csrc/api/include")
endif()
unset(_libtorch_names)
unset(_libtorch_needed)
unset(_libtorch_reason)
unset(_libtorch_root)
unset(_libtorch_version)
