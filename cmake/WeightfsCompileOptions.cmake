# Compile options of our own targets, on one private INTERFACE target: consumers of the installed library never see them.
add_library(weightfs_compile_options INTERFACE)
target_compile_options(weightfs_compile_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
  -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # libstdc++ 12 itself calls what it marks as deprecated (std::stable_sort).
  target_compile_options(weightfs_compile_options INTERFACE -Wthread-safety -Wno-deprecated-declarations)
endif()
if(WEIGHTFS_DEVELOPER)
  target_compile_options(weightfs_compile_options INTERFACE -Werror)
endif()
if(WEIGHTFS_SANITIZE)
  add_compile_options(-fsanitize=${WEIGHTFS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${WEIGHTFS_SANITIZE})
endif()
