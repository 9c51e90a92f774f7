package nginxgen

import (
	"fmt"
	"strings"
)

// maxBlocks bounds the number of opening braces in one text. It bounds gonginx's recursion (about 1 kB of stack a level)
// even where its reading of quotes differs from nginx's.
const maxBlocks = 100_000

// scan is what a text has been found to be: nothing but harmless.
type scan struct{}

// scanText bounds what gonginx recurses into, reading words, quotes, comments and braces as nginx does: it fails when blocks
// nest deeper than maxDepth, when there are too many, and on a NUL byte, which gonginx takes for the end. It keeps nothing, as
// it runs over each include file that is rendered; what reads users' files is internal/nginxtok.
func scanText(text string, maxDepth int) (scan, error) {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return scan{}, fmt.Errorf("there is a NUL byte on line %d", 1+strings.Count(text[:i], "\n"))
	}
	if n := strings.Count(text, "{"); n > maxBlocks {
		return scan{}, fmt.Errorf("there are %d opening braces, at most %d are allowed", n, maxBlocks)
	}
	depth := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case ' ', '\t', '\r', '\n', ';':
			i++
		case '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case '{':
			depth++
			if depth > maxDepth {
				return scan{}, fmt.Errorf("blocks nest deeper than %d on line %d", maxDepth, 1+strings.Count(text[:i], "\n"))
			}
			i++
		case '}':
			depth--
			i++
		default:
			i = endOfWord(text, i)
		}
	}
	return scan{}, nil
}

// endOfWord returns the index after the word at i.
func endOfWord(text string, i int) int {
	if q := text[i]; q == '"' || q == '\'' {
		for i++; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case q:
				return i + 1
			}
		}
		return len(text)
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
			return i
		}
	}
	return min(i, len(text))
}

// unquote takes one pair of quotes off a word.
func unquote(w string) string {
	if len(w) >= 2 && (w[0] == '"' || w[0] == '\'') && w[len(w)-1] == w[0] {
		return w[1 : len(w)-1]
	}
	return w
}
