# Installed: the library, its modules, the headers, the program, and the two ways to find them.
include(CMakePackageConfigHelpers)
include(${PROJECT_SOURCE_DIR}/cmake/path_between.cmake)
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

# The prefix is found from where the .pc file lies, so an installed tree may be moved; a folder that
# was given as an absolute path is where that says.
ds_path_between(${CMAKE_INSTALL_LIBDIR}/pkgconfig . pc_prefix)
foreach(dir LIBDIR INCLUDEDIR)
  set(pc_${dir} ${CMAKE_INSTALL_${dir}})
  if(NOT IS_ABSOLUTE ${pc_${dir}})
    string(PREPEND pc_${dir} "\${prefix}/")
  endif()
endforeach()
if(NOT IS_ABSOLUTE ${pc_prefix})
  string(PREPEND pc_prefix "\${pcfiledir}/")
endif()
configure_file(${PROJECT_SOURCE_DIR}/pkgconfig/deepspeed.pc.in ${PROJECT_BINARY_DIR}/deepspeed.pc
               @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/deepspeed.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
