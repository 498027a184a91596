# For ROS 2 from PyPI wheels only; pass as -DCMAKE_PROJECT_INCLUDE=<this file>.
#
# The CMake targets in those wheels name include folders of the container they were built in
# (/opt/python/...), and CMake refuses targets whose include folders do not exist. Drop these
# entries once all packages have been found; the wheels themselves stay untouched.

function(pad_ros_drop_foreign_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders)
      list(FILTER folders EXCLUDE REGEX "^/opt/python/")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endforeach()
endfunction()

cmake_language(DEFER CALL pad_ros_drop_foreign_includes)
