# SPDX-License-Identifier: Apache-2.0
# Compiles the kernels unless those that lie there are of the same sources, flags and nvcc: several
# build folders share them, and nvcc takes longer than the rest of the library. Run by kernels.cmake.
set(facts "${nvcc} ${version} ${flags}")
foreach(source ${sources} ${CMAKE_CURRENT_LIST_FILE})
  file(SHA256 "${source}" hash)
  string(APPEND facts "${hash}")
  if(source MATCHES "\\.cu$")
    list(APPEND units "${source}")
  endif()
endforeach()
string(SHA256 wanted "${facts}")

get_filename_component(folder "${fatbin}" DIRECTORY)
file(MAKE_DIRECTORY "${folder}")
file(LOCK "${folder}/lock" TIMEOUT 900)
set(made "")
if(EXISTS "${fatbin}" AND EXISTS "${fatbin}.of")
  file(READ "${fatbin}.of" made)
endif()
if(NOT made STREQUAL wanted)
  # The PTX stays for the tests; the other files between source and fatbin go.
  file(GLOB old "${folder}/*.ptx")
  if(old)  # CMake before 3.27 takes no empty list
    file(REMOVE ${old})
  endif()
  file(MAKE_DIRECTORY "${folder}/steps")
  execute_process(COMMAND "${nvcc}" ${flags} --keep --keep-dir "${folder}/steps" "-I${include}"
    -o "${fatbin}" ${units} RESULT_VARIABLE failed)
  file(GLOB ptx "${folder}/steps/*.ptx")
  file(COPY ${ptx} DESTINATION "${folder}")
  file(REMOVE_RECURSE "${folder}/steps")
  if(failed)
    message(FATAL_ERROR "nvcc could not compile the kernels; -DFLEXLINK_NVCC=off builds without them")
  endif()
  file(WRITE "${fatbin}.of" "${wanted}")
endif()
file(WRITE "${stamp}" "${wanted}")
