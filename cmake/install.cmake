# Installed: the library, its modules, the headers, the program, and the two ways to find them.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/DeepSpeed)

if(TARGET deepspeed)
  install(TARGETS deepspeed EXPORT DeepSpeedTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT DeepSpeedTargets NAMESPACE DeepSpeed:: DESTINATION ${package_dir})
endif()
foreach(target deepspeed_onednn deepspeed_mpi dspeed)
  if(TARGET ${target})
    install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
                              RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
if(TARGET dspeed)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/share/deepspeed/presets
          DESTINATION ${CMAKE_INSTALL_DATADIR}/deepspeed)
  install(FILES ${PROJECT_BINARY_DIR}/share/man/man1/dspeed.1
          DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${PROJECT_BINARY_DIR}/share/bash-completion/completions/dspeed
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/deepspeed DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

# Not in the root of the build: with build/bin in PATH find_package() looks there, too.
set(made ${PROJECT_BINARY_DIR}/package)
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/DeepSpeedConfig.cmake.in ${made}/DeepSpeedConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${made}/DeepSpeedConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${made}/DeepSpeedConfig.cmake
              ${made}/DeepSpeedConfigVersion.cmake DESTINATION ${package_dir})

# The prefix is found from where the .pc file lies, so an installed tree may be moved.
set(pc_dir /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH pc_dir BASE_DIRECTORY /p OUTPUT_VARIABLE pc_relative)
string(REGEX REPLACE "[^/]+" ".." pc_to_prefix ${pc_relative})
configure_file(${PROJECT_SOURCE_DIR}/pkgconfig/deepspeed.pc.in ${PROJECT_BINARY_DIR}/deepspeed.pc
               @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/deepspeed.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
