# From the installed folder `from` to `to`: relative while both lie below the prefix, so that the tree
# may be moved; else the absolute path, with the prefix as it is configured.
function(ds_path_between from to result)
  if(IS_ABSOLUTE "${from}" OR IS_ABSOLUTE "${to}")
    cmake_path(ABSOLUTE_PATH to BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX} NORMALIZE)
    string(REGEX REPLACE "(.)/$" "\\1" to ${to})
  else()
    set(to /p/${to})
    cmake_path(NORMAL_PATH to)
    cmake_path(RELATIVE_PATH to BASE_DIRECTORY /p/${from})
    string(REGEX REPLACE "/$" "" to ${to})
  endif()
  set(${result} ${to} PARENT_SCOPE)
endfunction()
