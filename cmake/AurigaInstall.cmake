# Libraries, headers, auriga.pc, and the package for find_package(Auriga).

include(CMakePackageConfigHelpers)

set(auriga_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Auriga)

install(TARGETS auriga auriga_static EXPORT AurigaTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(EXPORT AurigaTargets NAMESPACE Auriga:: DESTINATION ${auriga_package_dir})

configure_package_config_file(cmake/AurigaConfig.cmake.in AurigaConfig.cmake
                              INSTALL_DESTINATION ${auriga_package_dir})
# While the major version is 0, a new minor version may break callers.
write_basic_package_version_file(AurigaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/AurigaConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/AurigaConfigVersion.cmake
        DESTINATION ${auriga_package_dir})

# The prefix in auriga.pc is relative to the file, so that the tree may be moved and
# `cmake --install --prefix` may choose another one than the configure step did.
file(RELATIVE_PATH auriga_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" auriga_pc_prefix "${auriga_pc_prefix}")
configure_file(auriga.pc.in auriga.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/auriga.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
