# What the library is built on. Loading shared libraries is most of a short command's time, so the
# tool takes the static ones where the system has them.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate)

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

# qcowkit_codec_libraries: what src/codec is linked with inside this build.
add_library(qcowkit_codec_libraries INTERFACE)
foreach(module ZLIB ZSTD ISAL DEFLATE)
  find_library(${module}_STATIC_LIBRARY lib${${module}_LIBRARIES}.a HINTS ${${module}_LIBDIR})
  mark_as_advanced(${module}_STATIC_LIBRARY)
  # Static libraries are not made to become part of a shared one.
  if(${module}_STATIC_LIBRARY AND NOT BUILD_SHARED_LIBS)
    target_link_libraries(qcowkit_codec_libraries INTERFACE ${${module}_STATIC_LIBRARY})
    target_include_directories(qcowkit_codec_libraries SYSTEM INTERFACE ${${module}_INCLUDE_DIRS})
  else()
    target_link_libraries(qcowkit_codec_libraries INTERFACE PkgConfig::${module})
  endif()
endforeach()

# qcowkit_crypto_libraries: what src/crypto is linked with inside this build.
add_library(qcowkit_crypto_libraries INTERFACE)
