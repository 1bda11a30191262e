# Compiler settings for everything in this tree.  auriga_flags is linked by each target that
# wants them and is never exported.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)

add_library(auriga_flags INTERFACE)
target_compile_options(auriga_flags INTERFACE
  $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wundef;-Wvla;-Wwrite-strings>
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-fno-common;-pthread>
  # A C++ exception must be able to unwind through a task and its caller.
  $<$<COMPILE_LANGUAGE:C>:-fexceptions>)
target_link_options(auriga_flags INTERFACE -pthread)

if(AURIGA_WERROR)
  target_compile_options(auriga_flags INTERFACE $<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()

# Sanitizers are for whole programs, so each target below this folder gets them.
if(AURIGA_SANITIZE)
  add_compile_options(-fsanitize=${AURIGA_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${AURIGA_SANITIZE})
  if(AURIGA_SANITIZE MATCHES thread AND CMAKE_C_COMPILER_ID STREQUAL GNU)
    # gcc warns at each fence, which ThreadSanitizer ignores; clang is silent about them.
    add_compile_options(-Wno-tsan)
  endif()
endif()
