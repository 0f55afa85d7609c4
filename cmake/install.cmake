# What `cmake --install` puts in place for other projects: the library, its public headers, find_package(quern) and pkg-config.
include(CMakePackageConfigHelpers)

install(TARGETS quern EXPORT quern_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/quern DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(quern_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/quern)
install(EXPORT quern_targets NAMESPACE quern:: FILE quern-targets.cmake DESTINATION ${quern_cmake_dir})
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/quern-config.cmake.in ${CMAKE_BINARY_DIR}/quern-config.cmake
  INSTALL_DESTINATION ${quern_cmake_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/quern-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/quern-config.cmake ${CMAKE_BINARY_DIR}/quern-config-version.cmake DESTINATION ${quern_cmake_dir})

# The paths are taken from where quern.pc lies, so that the installed tree may be moved.
file(RELATIVE_PATH quern_pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_SOURCE_DIR}/cmake/quern.pc.in ${CMAKE_BINARY_DIR}/quern.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/quern.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
