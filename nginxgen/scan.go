package nginxgen

import (
	"fmt"
	"strings"
)

// maxBlocks bounds the number of opening braces in one text. It bounds gonginx's recursion (about 1 kB of stack a level)
// even where its reading of quotes differs from nginx's.
const maxBlocks = 100_000

// scan is what a pass over a configuration by nginx's own rules for words finds.
type scan struct {
	// upstreams holds the lines of `upstream NAME {` by name, in order.
	upstreams map[string][]int
	// main holds the first three words of each statement without a block at the top level.
	main [][]string
	// trouble says why the pass did not end at the top level ("" when it did); then line numbers prove nothing.
	trouble string
}

// scanText reads words, quotes, comments and braces as nginx does (ngx_conf_read_token): a quote counts at the beginning
// of a word only, a backslash takes the next character along, a brace ends a word but for "${". It fails when blocks nest
// deeper than maxDepth, when there are too many, and on a NUL byte, which gonginx takes for the end.
func scanText(text string, maxDepth int) (scan, error) {
	s := scan{upstreams: map[string][]int{}}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return s, fmt.Errorf("there is a NUL byte on line %d", 1+strings.Count(text[:i], "\n"))
	}
	if n := strings.Count(text, "{"); n > maxBlocks {
		return s, fmt.Errorf("there are %d opening braces, at most %d are allowed", n, maxBlocks)
	}
	depth, line := 0, 1
	var words []string
	first := 0
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
		case ';':
			if depth == 0 && len(words) > 0 && len(s.main) < 1000 {
				s.main = append(s.main, words)
			}
			words = nil
			i++
		case '{':
			depth++
			if depth > maxDepth {
				return s, fmt.Errorf("blocks nest deeper than %d on line %d", maxDepth, line)
			}
			if len(words) == 2 && words[0] == "upstream" {
				s.upstreams[words[1]] = append(s.upstreams[words[1]], first)
			}
			words = nil
			i++
		case '}':
			depth--
			if depth < 0 && s.trouble == "" {
				s.trouble = fmt.Sprintf("a closing brace without a block on line %d", line)
			}
			words = nil
			i++
		default:
			if len(words) == 0 {
				first = line
			}
			start := i
			var ok bool
			i, ok = endOfWord(text, i)
			if !ok && s.trouble == "" {
				s.trouble = fmt.Sprintf("a quote that begins on line %d does not end", line)
			}
			// More words than an upstream line has need not be kept.
			if len(words) < 3 {
				words = append(words, unquote(text[start:i]))
			}
			line += strings.Count(text[start:i], "\n")
		}
	}
	if depth > 0 && s.trouble == "" {
		s.trouble = "a block that is not closed"
	}
	return s, nil
}

// endOfWord returns the index after the word at i, false when its quote does not end.
func endOfWord(text string, i int) (int, bool) {
	if q := text[i]; q == '"' || q == '\'' {
		for i++; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case q:
				return i + 1, true
			}
		}
		return len(text), false
	}
	for ; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '$':
			if i+1 < len(text) && text[i+1] == '{' {
				i++
			}
		case ' ', '\t', '\r', '\n', ';', '{':
			return i, true
		}
	}
	return min(i, len(text)), true
}

// unquote takes one pair of quotes off a word.
func unquote(w string) string {
	if len(w) >= 2 && (w[0] == '"' || w[0] == '\'') && w[len(w)-1] == w[0] {
		return w[1 : len(w)-1]
	}
	return w
}
