// Package nginxtok cuts an nginx configuration into directives by nginx's own rules, and says where each stands: what a
// general parser does not give, and what an instruction to edit a file needs.
//
// The rules are those of ngx_conf_read_token and ngx_conf_parse (nginx 1.22, src/core/ngx_conf_file.c):
//
//   - a word ends at white space, at `;` or at `{`, but for `${`; a `}` inside a word is part of it
//   - a quote counts at the beginning of a word only, and after a closing quote comes white space, `;`, `{` or `)`
//   - a backslash takes the next character along; \" \' \\ \t \r \n are replaced, any other pair stays
//   - a comment begins where a word could, and ends with the line
//   - `;` and `{` without a word before them, and `}` after words or without a block, are errors
//
// One thing is not nginx's own: the block of a directive whose name ends in `_by_lua_block` is Lua, and is passed over by
// Lua's rules for strings and comments.
//
// # Invariants
//
//   - Lines count from 1 and only \n ends one; offsets are bytes, and [From, To) of a text is the whole directive.
//   - Nothing is read from a disk, and includes are not followed.
//   - Any text gives directives or an Error; depth, count and time are bounded, so no text can end the process.
package nginxtok
