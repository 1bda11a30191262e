# Tests of the libraries as they ship: lints of the tree and the objects, misuse that must not
# compile, and a project outside this tree that uses an installed copy.

set(tools ${PROJECT_SOURCE_DIR}/tools)

function(auriga_check name label)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${AURIGA_HANG_SECONDS})
endfunction()

if(AURIGA_LINT)
  auriga_check(lint/layers lint ${tools}/layers)
  auriga_check(lint/atomics lint ${tools}/atomics)
  auriga_check(lint/globals lint ${tools}/globals $<TARGET_FILE:auriga_static>)
  auriga_check(lint/names lint ${tools}/names $<TARGET_FILE:auriga>)
endif()

auriga_check(api/needed api ${CMAKE_CURRENT_SOURCE_DIR}/tools/needed $<TARGET_FILE:auriga>)
find_program(AURIGA_PYTHON3 python3)
if(AURIGA_PYTHON3)
  auriga_check(bench/runner api ${AURIGA_PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/bench/runner_test.py)
  auriga_check(bench/python api ${AURIGA_PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/bench/python_test.py)
endif()
auriga_check(api/reject api ${CMAKE_CURRENT_SOURCE_DIR}/tools/reject ${CMAKE_C_COMPILER}
             ${PROJECT_SOURCE_DIR}/include)
if(NOT CMAKE_CROSSCOMPILING)
  auriga_check(api/fork_abi api ${CMAKE_CURRENT_SOURCE_DIR}/tools/fork_abi ${CMAKE_C_COMPILER}
               ${PROJECT_SOURCE_DIR}/include $<TARGET_FILE:auriga> $<TARGET_FILE:auriga_static>
               ${PROJECT_SOURCE_DIR}/auriga.map)
endif()

if(AURIGA_PYTHON3 AND AURIGA_LINT)
  auriga_check(mutants/script api ${AURIGA_PYTHON3}
               ${CMAKE_CURRENT_SOURCE_DIR}/mutants/check_mutants_test.py)
endif()

find_program(AURIGA_PYTHON python3)
if(AURIGA_PYTHON AND AURIGA_LINT) # in one build of ./dev test
  auriga_check(python/default python ${AURIGA_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/python/run
               --archive $<TARGET_FILE:auriga_static>)
  set_tests_properties(python/default PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${AURIGA_HANG_SECONDS})
endif()

set(prefix ${CMAKE_CURRENT_BINARY_DIR}/prefix)
auriga_check(install/prefix install ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR}
             --prefix ${prefix})
set_tests_properties(install/prefix PROPERTIES FIXTURES_SETUP prefix)
foreach(compilers IN ITEMS gcc,g++ clang,clang++)
  string(REPLACE "," ";" compilers ${compilers})
  list(GET compilers 0 cc)
  find_program(AURIGA_HAVE_${cc} ${cc})
  if(NOT AURIGA_HAVE_${cc})
    continue()
  endif()
  foreach(standard IN ITEMS c11 c17 c++17)
    set(name install/${cc}-${standard})
    auriga_check(${name} install ${CMAKE_CURRENT_SOURCE_DIR}/consumer/run ${prefix}
                 ${CMAKE_CURRENT_BINARY_DIR}/${name} ${standard} ${compilers})
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED prefix)
  endforeach()
endforeach()
