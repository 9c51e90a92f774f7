package setup

import "strings"

// token is a word of an nginx configuration, or one of ; { }.
type token struct {
	text string
	line int
	// first and last tell whether nothing stands before it, or nothing but a comment after it, on its line.
	first, last bool
}

// tokens cuts a configuration into words as nginx does: quotes count at the beginning of a word only, a backslash takes the
// next character along, and "${" does not open a block.
func tokens(text string) []token {
	var out []token
	line := 1
	add := func(start, end int) {
		word := text[start:end]
		before := text[strings.LastIndexByte(text[:start], '\n')+1 : start]
		after, _, _ := strings.Cut(text[end:], "\n")
		after = strings.TrimSpace(after)
		out = append(out, token{strings.Trim(word, `"'`), line, strings.TrimSpace(before) == "", after == "" || after[0] == '#'})
		line += strings.Count(word, "\n")
	}
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '\n':
			line++
			i++
		case ' ', '\t', '\r':
			i++
		case '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case ';', '{', '}':
			add(i, i+1)
			i++
		default:
			end := wordEnd(text, i)
			add(i, end)
			i = end
		}
	}
	return out
}

func wordEnd(text string, i int) int {
	if q := text[i]; q == '"' || q == '\'' {
		for i++; i < len(text) && text[i] != q; i++ {
			if text[i] == '\\' {
				i++
			}
		}
		return min(i+1, len(text))
	}
	for ; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case strings.HasPrefix(text[i:], "${"):
			i++
		case strings.IndexByte(" \t\r\n;{", text[i]) >= 0:
			return i
		}
	}
	return min(i, len(text))
}

// httpIncludes lists the patterns of the include lines that stand directly in the http block, and the line after which one
// more can be put: that of its brace, 0 when something else stands there too.
func httpIncludes(text string) (patterns []string, httpLine int) {
	var path []string
	var words []token
	for _, t := range tokens(text) {
		switch t.text {
		case ";":
			if len(words) == 2 && words[0].text == "include" && len(path) == 1 && path[0] == "http" {
				patterns = append(patterns, words[1].text)
			}
			words = nil
		case "{":
			name := ""
			if len(words) > 0 {
				name = words[0].text
			}
			if name == "http" && len(path) == 0 && t.last {
				httpLine = t.line
			}
			path, words = append(path, name), nil
		case "}":
			path, words = path[:max(0, len(path)-1)], nil
		default:
			words = append(words, t)
		}
	}
	return patterns, httpLine
}

// upstreamSpan is the first and last line of the upstream block that begins on a line, 0 and 0 when that cannot be said or
// the block shares a line with something else.
func upstreamSpan(text string, line int) (start, end int) {
	all := tokens(text)
	for i, t := range all {
		if t.line != line || t.text != "upstream" || !t.first {
			continue
		}
		depth := 0
		for _, e := range all[i:] {
			switch e.text {
			case "{":
				depth++
			case "}":
				if depth--; depth == 0 && e.last {
					return line, e.line
				} else if depth == 0 {
					return 0, 0
				}
			}
		}
	}
	return 0, 0
}
