# The CUDA backend: its kernels join the target `quern`, its GPU test and bench are programs of their own.
# QUERN_CUDA_ARCHITECTURES=90a builds one architecture quickly.
set(QUERN_CUDA_ARCHITECTURES "80-real;86-real;89-real;90a-real;90-virtual" CACHE STRING
  "GPU architectures: machine code for each of them, and PTX of the last for newer ones")
set(CMAKE_CUDA_ARCHITECTURES ${QUERN_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)  # a build starts where there is no CUDA; the driver is opened when a GPU is
if(CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
enable_language(CUDA)
foreach(kind STANDARD EXTENSION)  # CMake 3.25 does not know that nvcc has C++20
  if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
    set(CMAKE_CUDA20_${kind}_COMPILE_OPTION "-std=c++20")
  endif()
endforeach()
find_package(CUDAToolkit REQUIRED)

# No contraction in device code either: kernels say fmaf where they mean it. fmt's compile-time checks are beyond nvcc's front end.
add_library(quern_cuda_flags INTERFACE)
target_compile_options(quern_cuda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false --expt-relaxed-constexpr -diag-suppress=445,20208
  -Xcompiler=-Wall,-Wextra,-Wshadow,-Wno-missing-field-initializers,-ffp-contract=off>
  $<$<AND:$<BOOL:${QUERN_WERROR}>,$<COMPILE_LANGUAGE:CUDA>>:-Werror=all-warnings -Xcompiler=-Werror>)
target_compile_definitions(quern_cuda_flags INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1 FMT_CONSTEVAL=>)

function(quern_add_cuda target)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/backend/cuda/*.cu)
  set(test_sources ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cu$|/bench_")
  list(FILTER test_sources INCLUDE REGEX "_test\\.cu$")
  target_sources(${target} PRIVATE ${sources})
  target_include_directories(${target} PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:quern_cuda_flags> PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS})

  # Programs that need a GPU. They run on any machine with a driver: nothing but the C library is shared.
  set(bench_source ${CMAKE_SOURCE_DIR}/bench/cuda_step_bench.cu)
  if(test_sources)
    quern_add_gpu_program(${target} cuda_test ${test_sources})
    if(QUERN_TESTS)
      quern_add_gpu_program(${target} planted_bugs ${CMAKE_SOURCE_DIR}/tests/gpu/planted_bugs.cu)
      enable_testing()
      add_test(NAME cuda COMMAND cuda_test)
      set_tests_properties(cuda PROPERTIES SKIP_RETURN_CODE 77 LABELS gpu)
    endif()
  endif()
  if(EXISTS ${bench_source})
    quern_add_gpu_program(${target} cuda_bench ${bench_source})
  endif()
endfunction()

function(quern_add_gpu_program target program)
  add_executable(${program} ${ARGN})
  target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${program} PRIVATE ${target} quern_flags quern_cuda_flags)
  target_link_options(${program} PRIVATE -static-libgcc -static-libstdc++)
endfunction()
