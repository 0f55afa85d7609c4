# The chat page of src/server/page/ as a source file of the server. marked and DOMPurify (Debian: libjs-marked, node-dompurify) turn answers
# into formatted text; without both the page is built all the same and shows answers as plain text with their code blocks.
find_file(QUERN_MARKED marked.umd.min.js marked.min.js
  PATHS /usr/share/javascript/marked /usr/share/nodejs/marked/lib /usr/share/nodejs/marked NO_DEFAULT_PATH)
find_file(QUERN_DOMPURIFY purify.min.js PATHS /usr/share/nodejs/dompurify/dist /usr/share/javascript/dompurify NO_DEFAULT_PATH)

function(quern_add_chat_page target)
  set(libraries "")
  if(QUERN_MARKED AND QUERN_DOMPURIFY)
    set(libraries ${QUERN_MARKED} ${QUERN_DOMPURIFY})
  else()
    message(STATUS "Chat page: answers as plain text, since marked or DOMPurify is missing (apt-get install libjs-marked node-dompurify)")
  endif()
  set(page ${CMAKE_SOURCE_DIR}/src/server/page)
  set(output ${CMAKE_BINARY_DIR}/generated/chat_page_text.cpp)
  file(GLOB page_sources CONFIGURE_DEPENDS ${page}/*)
  set(script ${CMAKE_SOURCE_DIR}/cmake/embed_page.cmake)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${page} "-DLIBRARIES=${libraries}" -DOUTPUT=${output} -P ${script}
    DEPENDS ${page_sources} ${libraries} ${script}
    COMMENT "Joining the chat page" VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
