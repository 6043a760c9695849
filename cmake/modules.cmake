# One object library a module of src/, in the order of the floors (tools/floors.txt).
# Header-only dependencies alone: the core links the C and C++ run time and nothing else.
set(DS_MODULES base tensor device kernels comm token param optim data model zero checkpoint infer engine)

add_library(ds_options INTERFACE)
target_include_directories(ds_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_include_directories(ds_options SYSTEM INTERFACE ${HWY_INCLUDE_DIR} ${XXHASH_INCLUDE_DIR})
target_include_directories(ds_options SYSTEM INTERFACE
  $<TARGET_PROPERTY:fmt::fmt-header-only,INTERFACE_INCLUDE_DIRECTORIES>)
add_library(ds_format STATIC ${PROJECT_SOURCE_DIR}/src/base/format.cc)
target_include_directories(ds_format SYSTEM PRIVATE
  $<TARGET_PROPERTY:fmt::fmt-header-only,INTERFACE_INCLUDE_DIRECTORIES>)
target_link_libraries(ds_options INTERFACE ds_format nlohmann_json::nlohmann_json Threads::Threads
                                           ${CMAKE_DL_LIBS})

add_library(ds_core STATIC)
set_target_properties(ds_core PROPERTIES OUTPUT_NAME deepspeed_core)
target_link_libraries(ds_core PUBLIC ds_options)
# The headers of others that most sources include, and `ARGN`, parsed once: the first target of a kind,
# which is to say of the same flags, does that, and the next ones use it.
function(ds_precompile target kind)
  get_property(maker GLOBAL PROPERTY ds_precompiles_${kind})
  if(maker)
    target_precompile_headers(${target} REUSE_FROM ${maker})
    return()
  endif()
  target_precompile_headers(${target} PRIVATE
    <algorithm> <atomic> <cmath> <cstring> <functional> <map> <memory> <mutex> <optional> <span> <string>
    <thread> <unordered_map> <vector> <fmt/core.h> <nlohmann/json.hpp> ${ARGN})
  set_property(GLOBAL PROPERTY ds_precompiles_${kind} ${target})
endfunction()

foreach(module ${DS_MODULES})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${module}/*.cc)
  list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/src/base/format.cc)  # ds_format
  if(sources)
    add_library(ds_${module} OBJECT ${sources})
    target_link_libraries(ds_${module} PUBLIC ds_options)
    target_sources(ds_core PRIVATE $<TARGET_OBJECTS:ds_${module}>)
    # Headers are most of what a source takes to compile. Kernels are compiled per instruction set.
    if(DS_UNITY AND NOT module STREQUAL "kernels")
      set_target_properties(ds_${module} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
      list(FILTER sources INCLUDE REGEX "config_table")
      set_source_files_properties(${sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
      ds_precompile(ds_${module} module)
    endif()
    # The rest is compiled twice as fast without it, and is not where the tests spend their time. With
    # UBSan, Highway's operations take five times as long to compile when they are optimised; the
    # registers of a loop by itself are a third of that.
    if(DS_SANITIZE AND module STREQUAL "kernels")
      target_compile_options(ds_kernels PRIVATE -O1 $<$<CXX_COMPILER_ID:GNU>:-fira-region=one>)
      list(FILTER sources INCLUDE REGEX "/simd/")
      list(FILTER sources EXCLUDE REGEX "/(gemm|attention)\\.cc$")
      if(DS_SANITIZE MATCHES undefined)
        set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -O0)
      endif()
    endif()
  endif()
endforeach()
