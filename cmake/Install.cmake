# What `cmake --install` puts where: the library, its public headers, the tool with its manual, and
# what CMake and pkg-config need to find the library.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/qcowkit)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS qcowkit EXPORT qcowkit-targets)
install(TARGETS qcow)
install(DIRECTORY include/qcowkit TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(DIRECTORY man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

# Completion is looked up by the command's name, also for the reference's name where that is a link to
# the tool.
set(completions_dir ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES completions/qcow.bash DESTINATION ${completions_dir} RENAME qcow)

# The tool under the reference's names: in a folder of its own, so that both can be installed, and
# whoever wants this one puts the folder in front of PATH.
set(links_dir lib/qcowkit/qemu-links)
file(RELATIVE_PATH tool_from_links /${links_dir} /${CMAKE_INSTALL_BINDIR}/qcow)
foreach(name qemu-img qemu-io qemu-nbd)
  set(link ${PROJECT_BINARY_DIR}/qemu-links/${name})
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/qemu-links)
  file(CREATE_LINK ${tool_from_links} ${link} SYMBOLIC)
  install(FILES ${link} DESTINATION ${links_dir})
endforeach()

install(EXPORT qcowkit-targets NAMESPACE qcowkit:: DESTINATION ${package_dir})
configure_package_config_file(cmake/qcowkit-config.cmake.in qcowkit-config.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(qcowkit-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/qcowkit-config.cmake
              ${PROJECT_BINARY_DIR}/qcowkit-config-version.cmake DESTINATION ${package_dir})

# A static library has the libraries that it needs linked by whoever uses it; a shared one has
# brought them along.
set(pc_requires "zlib, libzstd, libdeflate, nettle")
if(QCOWKIT_LINKS_FMT)
  string(APPEND pc_requires ", fmt")
endif()
if(BUILD_SHARED_LIBS)
  set(pc_requires_field Requires.private)
else()
  set(pc_requires_field Requires)
endif()
file(RELATIVE_PATH pc_prefix_from_here /${pkgconfig_dir} /)
string(REGEX REPLACE "/$" "" pc_prefix_from_here "${pc_prefix_from_here}")
configure_file(cmake/qcowkit.pc.in qcowkit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/qcowkit.pc DESTINATION ${pkgconfig_dir})
