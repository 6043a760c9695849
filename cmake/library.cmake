# libdeepspeed.so: the C ABI over the modules. Only what libdeepspeed.map names is visible.
file(GLOB capi_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/capi/*.cc)
set(DS_SYMBOL_MAP ${PROJECT_SOURCE_DIR}/libdeepspeed.map)
add_custom_target(ds_product)  # what scripts/build makes and what is installed
if(capi_sources)
  # Objects, because some tests link them without the border, to reach what it hides.
  add_library(ds_capi OBJECT ${capi_sources})
  target_link_libraries(ds_capi PUBLIC ds_options)
  if(DS_UNITY)
    set_target_properties(ds_capi PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    ds_precompile(ds_capi module)
  endif()
  target_include_directories(ds_capi PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  add_library(deepspeed SHARED $<TARGET_OBJECTS:ds_capi>)
  add_library(DeepSpeed::deepspeed ALIAS deepspeed)
  target_link_libraries(deepspeed PRIVATE ds_core)
  target_include_directories(deepspeed PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_options(deepspeed PRIVATE
    LINKER:--version-script=${DS_SYMBOL_MAP} LINKER:--no-undefined-version
    LINKER:--exclude-libs,ALL LINKER:--as-needed)
  if(NOT DS_SANITIZE)  # the run time of a sanitizer comes with the program
    target_link_options(deepspeed PRIVATE LINKER:-z,defs)
  endif()
  # Modules such as libdeepspeed_onednn.so are looked for beside the library.
  set_target_properties(deepspeed PROPERTIES LINKER_LANGUAGE CXX
    SOVERSION ${PROJECT_VERSION_MAJOR} VERSION ${PROJECT_VERSION} LINK_DEPENDS ${DS_SYMBOL_MAP}
    BUILD_RPATH "$ORIGIN" INSTALL_RPATH "$ORIGIN")
  add_dependencies(ds_product deepspeed)
endif()
