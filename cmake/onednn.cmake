# libdeepspeed_onednn.so: matrix products from oneDNN, in a module of its own that is loaded at run
# time, because Debian's oneDNN brings OpenMP and OpenCL, which the core must not need.
# Header and library are looked up directly: the package's CMake file asks for OpenCL's headers.
file(GLOB onednn_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/modules/onednn/*.cc)
if(DS_WITH_ONEDNN AND onednn_sources)
  find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
  find_library(DNNL_LIBRARY dnnl)
  if(DNNL_INCLUDE_DIR AND DNNL_LIBRARY)
    add_library(deepspeed_onednn MODULE ${onednn_sources})
    target_include_directories(deepspeed_onednn SYSTEM PRIVATE ${DNNL_INCLUDE_DIR})
    target_link_libraries(deepspeed_onednn PRIVATE ds_options ${DNNL_LIBRARY})
    target_link_options(deepspeed_onednn PRIVATE LINKER:--as-needed)
    set_target_properties(deepspeed_onednn PROPERTIES BUILD_RPATH "$ORIGIN" INSTALL_RPATH "$ORIGIN")
    add_dependencies(ds_product deepspeed_onednn)
  else()
    message(STATUS "oneDNN not found: libdeepspeed_onednn.so is not built, the SIMD product serves")
  endif()
endif()
