# What `cmake --install` puts where: the program and its mount(8) helpers, the manual page, and `convert` with its
# headers as a CMake package and a pkg-config module. Without FUSE there is no program.
include(CMakePackageConfigHelpers)

# convert/convert.h and what it includes; tests/consumer/run.sh shows that nothing is missing.
set(weightfs_public_headers
  convert/base/bytes.h
  convert/base/dtype.h
  convert/base/limits.h
  convert/base/result.h
  convert/convert.h
  convert/io/block_cache.h
  convert/io/local_file.h
  convert/io/random_access_file.h
  convert/source/checkpoint.h
  convert/step_folder.h
  convert/version.h
  convert/view/layout.h
  convert/view/piece_map.h
  convert/view/tensor_view.h
  convert/view/virtual_file.h
  convert/virtual_tree.h)
foreach(header IN LISTS weightfs_public_headers)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weightfs/${folder} COMPONENT development)
endforeach()

install(TARGETS weightfs_convert EXPORT weightfs
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
set(weightfs_package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/weightfs)
install(EXPORT weightfs NAMESPACE weightfs:: FILE weightfsTargets.cmake
  DESTINATION ${weightfs_package_folder} COMPONENT development)
configure_package_config_file(cmake/weightfsConfig.cmake.in ${PROJECT_BINARY_DIR}/weightfsConfig.cmake
  INSTALL_DESTINATION ${weightfs_package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weightfsConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/weightfsConfig.cmake ${PROJECT_BINARY_DIR}/weightfsConfigVersion.cmake
  DESTINATION ${weightfs_package_folder} COMPONENT development)

# The prefix is found from where the file lies, for `cmake --install --prefix`; CMAKE_INSTALL_*DIR may be absolute.
set(weightfs_pc_prefix ${CMAKE_INSTALL_PREFIX})
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  file(RELATIVE_PATH weightfs_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  set(weightfs_pc_prefix "\${pcfiledir}/${weightfs_pc_prefix}")
endif()
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_LIBDIR BASE_DIRECTORY "\${prefix}" OUTPUT_VARIABLE weightfs_pc_libdir)
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_INCLUDEDIR BASE_DIRECTORY "\${prefix}" OUTPUT_VARIABLE weightfs_pc_includedir)
configure_file(cmake/weightfs.pc.in ${PROJECT_BINARY_DIR}/weightfs.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weightfs.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)

install(FILES LICENSE README.md CHANGES.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(WEIGHTFS_BUILD_FUSE)
  install(TARGETS weightfs RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES docs/man/weightfs.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  # mount(8) looks in /sbin alone: with another prefix than /usr, give this folder or make the links by hand.
  set(WEIGHTFS_MOUNT_HELPER_DIR ${CMAKE_INSTALL_SBINDIR} CACHE PATH
    "Where mount.weightfs and mount.fuse.weightfs are installed; mount(8) looks in /sbin")
  install(CODE "
    set(folder \"${WEIGHTFS_MOUNT_HELPER_DIR}\")
    cmake_path(ABSOLUTE_PATH folder BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\")
    set(program \"${CMAKE_INSTALL_BINDIR}/weightfs\")
    cmake_path(ABSOLUTE_PATH program BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\")
    cmake_path(RELATIVE_PATH program BASE_DIRECTORY \"\${folder}\")
    file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${folder}\")
    foreach(name mount.weightfs mount.fuse.weightfs)
      message(STATUS \"Installing: \$ENV{DESTDIR}\${folder}/\${name}\")
      file(CREATE_LINK \"\${program}\" \"\$ENV{DESTDIR}\${folder}/\${name}\" SYMBOLIC)
    endforeach()")
endif()
