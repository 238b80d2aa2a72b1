# `cpack` in the build directory makes a Debian package of what `cmake --install` installs.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME qcowkit)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_DESCRIPTION
"The command qcow creates, examines, converts, snapshots, encrypts, checks and
repairs disk images in the formats QCOW2, QCOW, LUKS and raw. It takes the
commands and options of qemu-img and qemu-io, and lives beside them: links with
their names are in /usr/lib/qcowkit/qemu-links, for those who put that in their
PATH. With it comes the library libqcowkit, its headers, and the manual.")
set(CPACK_PACKAGE_VENDOR qcowkit)
set(CPACK_PACKAGE_CONTACT "the qcowkit authors <qcowkit@localhost>")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # what the programs need is read from them
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS OFF)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libisal2")  # loaded when it is used, for fast compression
# What a program that links the library needs.
set(CPACK_DEBIAN_PACKAGE_SUGGESTS
  "zlib1g-dev, libzstd-dev, libdeflate-dev, nettle-dev, libfmt-dev, qemu-utils")
include(CPack)
