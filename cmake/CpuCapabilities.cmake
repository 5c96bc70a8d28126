# paco_cpu_capability_sources(<target> <source>...)
#
# Compiles every <source> once for each instruction set that the processor family has, and links
# the results into <target>; the code chooses among them at run time. A source sees
#
#   PACO_CPU_CAPABILITY   DEFAULT, AVX2, AVX512 or AVX512_BF16: a token, to be used as the namespace
#                         that holds everything the source defines, e.g. paco::cpu::AVX2
#
# On x86-64 PACO_CPU_CAPABILITIES is all of them, elsewhere DEFAULT alone (where the compiler already
# uses NEON). The sources must include no header that defines inline functions or
# templates outside that namespace (no ATen, no <vector>): the linker keeps one copy of such a
# function for the whole library, and if it keeps the AVX-512 one, older processors crash.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(PACO_CPU_CAPABILITIES DEFAULT AVX2 AVX512 AVX512_BF16 CACHE INTERNAL "")
else()
  set(PACO_CPU_CAPABILITIES DEFAULT CACHE INTERNAL "")
endif()
set(_paco_flags_DEFAULT)
set(_paco_flags_AVX2 -mavx2 -mfma -mf16c)
set(_paco_flags_AVX512 ${_paco_flags_AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
    -mprefer-vector-width=512)
set(_paco_flags_AVX512_BF16 ${_paco_flags_AVX512} -mavx512bf16)

function(paco_cpu_capability_sources target)
  foreach(capability IN LISTS PACO_CPU_CAPABILITIES)
    set(objects ${target}_cpu_${capability})
    add_library(${objects} OBJECT ${ARGN})
    target_compile_definitions(${objects} PRIVATE PACO_CPU_CAPABILITY=${capability})
    # Loops are vectorised by the compiler: it may reorder sums where the source says so
    # (omp simd reduction), and evaluate both sides of a selection.
    target_compile_options(${objects} PRIVATE -O3 -fopenmp-simd -fno-math-errno -fno-trapping-math
                           ${_paco_flags_${capability}})
    target_link_libraries(${objects} PRIVATE $<TARGET_NAME_IF_EXISTS:paco_compile_options>)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
  endforeach()
endfunction()
