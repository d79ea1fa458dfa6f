# SPDX-License-Identifier: Apache-2.0
# Finds nvcc and compiles the CUDA kernels into one fatbin, which device/cuda/kernel_image.cc embeds.
# Sets FLEXLINK_KERNELS_FATBIN, empty without nvcc, and FLEXLINK_KERNELS_TEXT, which the library and
# `flexlink doctor` show: what there is, or why there is none.
set(FLEXLINK_NVCC "$ENV{FLEXLINK_NVCC}" CACHE STRING "nvcc for the CUDA kernels: a path, off, or empty to look for it")
set(FLEXLINK_KERNELS_FOLDER "${CMAKE_CURRENT_SOURCE_DIR}/../build/kernels" CACHE PATH
  "Where compiled kernels lie; build folders with the same path share them")
# An older GPU has no kernels; one that is newer than the last gets them from its PTX.
set(FLEXLINK_GPUS 80 90 100)

# The wheels nvidia-cuda-nvcc and its family lie beside the cmake of the same Python.
function(flexlink_find_nvcc result)
  if(FLEXLINK_NVCC)
    set(${result} "${FLEXLINK_NVCC}" PARENT_SCOPE)
    return()
  endif()
  get_filename_component(packages "${CMAKE_COMMAND}/../../../.." ABSOLUTE)
  file(GLOB wheels "${packages}/nvidia/cu*/bin")
  list(SORT wheels ORDER DESCENDING)
  find_program(FLEXLINK_FOUND_NVCC nvcc
    HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS ${wheels} /usr/local/cuda PATH_SUFFIXES bin)
  mark_as_advanced(FLEXLINK_FOUND_NVCC)
  set(${result} "${FLEXLINK_FOUND_NVCC}" PARENT_SCOPE)
endfunction()

# Empty where `nvcc` compiles for every GPU of the list, else the reason. Asked once for each nvcc.
function(flexlink_check_nvcc nvcc result)
  if(NOT "${FLEXLINK_CHECKED_NVCC}" STREQUAL "${nvcc}")
    set(probe "${CMAKE_CURRENT_BINARY_DIR}/nvcc-check")
    file(WRITE "${probe}.cu" "__global__ void nothing() {}\n")
    execute_process(COMMAND "${nvcc}" ${FLEXLINK_NVCC_FLAGS} -o "${probe}.fatbin" "${probe}.cu"
      RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 120)
    set(reason "")
    if(NOT failed EQUAL 0)
      string(REGEX REPLACE "[\r\n\";\\]+" " " reason "${nvcc} does not work: ${output}")
      string(SUBSTRING "${reason}" 0 300 reason)
    endif()
    set(FLEXLINK_CHECKED_NVCC "${nvcc}" CACHE INTERNAL "")
    set(FLEXLINK_CHECKED_NVCC_REASON "${reason}" CACHE INTERNAL "")
  endif()
  set(${result} "${FLEXLINK_CHECKED_NVCC_REASON}" PARENT_SCOPE)
endfunction()

# Those of the list that this nvcc knows.
function(flexlink_known_gpus nvcc result)
  execute_process(COMMAND "${nvcc}" --list-gpu-code OUTPUT_VARIABLE known ERROR_QUIET)
  set(gpus "")
  foreach(gpu ${FLEXLINK_GPUS})
    if(known MATCHES "sm_${gpu}[\r\n]")
      list(APPEND gpus ${gpu})
    endif()
  endforeach()
  set(${result} "${gpus}" PARENT_SCOPE)
endfunction()

set(FLEXLINK_KERNELS_FATBIN "")
flexlink_find_nvcc(nvcc)
if(FLEXLINK_NVCC STREQUAL "off")
  set(FLEXLINK_KERNELS_TEXT "none: built with FLEXLINK_NVCC=off")
elseif(FLEXLINK_SANITIZE)
  set(FLEXLINK_KERNELS_TEXT "none: a build with sanitizers")
elseif(NOT nvcc)
  set(FLEXLINK_KERNELS_TEXT "none: no nvcc was found when this library was built")
else()
  # -fmad=false: a fused multiply-add rounds once where the host rounds twice.
  set(FLEXLINK_NVCC_FLAGS -std=c++20 -O3 -fmad=false -fatbin --threads 0 -ccbin "${CMAKE_CXX_COMPILER}")
  flexlink_known_gpus("${nvcc}" gpus)
  set(ptx "")
  foreach(gpu ${gpus})
    list(APPEND FLEXLINK_NVCC_FLAGS "-gencode=arch=compute_${gpu},code=sm_${gpu}")
    set(ptx "${gpu}")
  endforeach()
  list(APPEND FLEXLINK_NVCC_FLAGS "-gencode=arch=compute_${ptx},code=compute_${ptx}")
  flexlink_check_nvcc("${nvcc}" reason)
  if(reason)
    set(FLEXLINK_KERNELS_TEXT "none: ${reason}")
  else()
    execute_process(COMMAND "${nvcc}" --version OUTPUT_VARIABLE version)
    string(REGEX REPLACE ".*, V([0-9.]+).*" "\\1" version "${version}")
    list(TRANSFORM gpus PREPEND "sm_")
    list(JOIN gpus ", " gpus)
    set(FLEXLINK_KERNELS_TEXT "${gpus} and PTX for compute_${ptx}, by nvcc ${version}")
    set(FLEXLINK_KERNELS_FATBIN "${FLEXLINK_KERNELS_FOLDER}/kernels.fatbin")
  endif()
endif()
message(STATUS "CUDA kernels: ${FLEXLINK_KERNELS_TEXT}")

set_property(SOURCE src/device/cuda/kernel_image.cc APPEND PROPERTY COMPILE_DEFINITIONS
  "FLEXLINK_KERNELS_TEXT=\"${FLEXLINK_KERNELS_TEXT}\"")
if(FLEXLINK_KERNELS_FATBIN)
  file(GLOB kernel_sources CONFIGURE_DEPENDS
    ${CMAKE_CURRENT_SOURCE_DIR}/src/device/cuda/kernels/*.cu
    ${CMAKE_CURRENT_SOURCE_DIR}/src/device/cuda/kernels/*.h)
  # The stamp is this build folder's own; the fatbin may be another's, if it is of the same sources.
  set(stamp "${CMAKE_CURRENT_BINARY_DIR}/kernels.stamp")
  add_custom_command(OUTPUT "${stamp}"
    COMMAND ${CMAKE_COMMAND} "-Dnvcc=${nvcc}" "-Dflags=${FLEXLINK_NVCC_FLAGS}" "-Dversion=${version}"
      "-Dsources=${kernel_sources}" "-Dinclude=${CMAKE_CURRENT_SOURCE_DIR}/src"
      "-Dfatbin=${FLEXLINK_KERNELS_FATBIN}" "-Dstamp=${stamp}"
      -P ${CMAKE_CURRENT_SOURCE_DIR}/cuda/compile.cmake
    DEPENDS ${kernel_sources} ${CMAKE_CURRENT_SOURCE_DIR}/cuda/compile.cmake
    COMMENT "CUDA kernels" VERBATIM)
  set_property(SOURCE src/device/cuda/kernel_image.cc APPEND PROPERTY COMPILE_DEFINITIONS
    "FLEXLINK_KERNELS_FATBIN=\"${FLEXLINK_KERNELS_FATBIN}\"")
  set_property(SOURCE src/device/cuda/kernel_image.cc APPEND PROPERTY OBJECT_DEPENDS "${stamp}")
endif()
