# The large headers of libraries, parsed once a target instead of once a file: a third of the time of a build of everything. Precompiled headers
# also stand in for a missing #include, so the library of a build without sanitizers is compiled without them.
# quern_precompile(TARGET HEADER... | REUSE_FROM OTHER): sources that have compile options of their own must not see it (SKIP_PRECOMPILE_HEADERS).
function(quern_precompile target)
  if(QUERN_PRECOMPILE)
    if("${ARGN}" MATCHES "^REUSE_FROM;")
      target_precompile_headers(${target} ${ARGN})
    else()
      target_precompile_headers(${target} PRIVATE ${ARGN})
    endif()
    # ccache asks for the first. The warnings are false ones about std::string, which a plain #include of GCC 12 keeps to itself.
    target_compile_options(${target} PRIVATE
      $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess;-Wno-array-bounds;-Wno-stringop-overflow;-Wno-restrict>)
  endif()
endfunction()
