# What the library is built on. Loading shared libraries is most of a short command's time, so the
# tool takes the static ones where the system has them.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ISAL REQUIRED libisal)  # its header: the library is loaded when used
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate)
pkg_check_modules(NETTLE REQUIRED IMPORTED_TARGET nettle)
if(QCOWKIT_NBD_CLIENT)
  pkg_check_modules(NBD REQUIRED libnbd)
endif()
if(QCOWKIT_TLS)
  pkg_check_modules(GNUTLS REQUIRED gnutls)
endif()

# The version of {fmt} that src/base/fmt.cc compiles by itself; any other is linked as it comes.
add_library(qcowkit_fmt INTERFACE)
if(fmt_VERSION VERSION_GREATER_EQUAL 9 AND fmt_VERSION VERSION_LESS 10)
  get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
  target_include_directories(qcowkit_fmt SYSTEM INTERFACE ${fmt_include})
  set(QCOWKIT_LINKS_FMT FALSE)
else()
  target_link_libraries(qcowkit_fmt INTERFACE fmt::fmt)
  set(QCOWKIT_LINKS_FMT TRUE)
endif()

# link_external(TARGET MODULE...): the modules' static libraries where they can be had and used.
function(link_external target)
  foreach(module ${ARGN})
    find_library(${module}_STATIC_LIBRARY lib${${module}_LIBRARIES}.a HINTS ${${module}_LIBDIR})
    mark_as_advanced(${module}_STATIC_LIBRARY)
    # Static libraries are not made to become part of a shared one.
    if(${module}_STATIC_LIBRARY AND NOT BUILD_SHARED_LIBS)
      target_link_libraries(${target} INTERFACE ${${module}_STATIC_LIBRARY})
      target_include_directories(${target} SYSTEM INTERFACE ${${module}_INCLUDE_DIRS})
    else()
      target_link_libraries(${target} INTERFACE PkgConfig::${module})
    endif()
  endforeach()
endfunction()

# What src/codec is linked with inside this build.
add_library(qcowkit_codec_libraries INTERFACE)
link_external(qcowkit_codec_libraries ZLIB ZSTD DEFLATE)
target_include_directories(qcowkit_codec_libraries SYSTEM INTERFACE ${ISAL_INCLUDE_DIRS})

# What src/crypto is linked with. Nettle rather than OpenSSL: it is as fast, has all ciphers that LUKS
# volumes use, needs no initialisation and is a twentieth of the size (docs/encryption.md).
add_library(qcowkit_crypto_libraries INTERFACE)
link_external(qcowkit_crypto_libraries NETTLE)
