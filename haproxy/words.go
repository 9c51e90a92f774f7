package haproxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// splitter cuts a line of haproxy.cfg into words as HAProxy does (configuration manual, sections 2.2 and 2.3): blanks
// separate, "#" begins a comment, "..." and '...' protect, a backslash escapes, and inside "..." $NAME, ${NAME},
// ${NAME-default} and ${NAME[*]} are the environment's. A line never continues on the next one: HAProxy has no such thing.
type splitter struct {
	env   func(name string) (string, bool)
	in    string
	at    int
	words []string
	word  strings.Builder
	open  bool // a word has begun, maybe an empty quoted one
	// unknown collects variables that are not set here; HAProxy may know them.
	unknown []string
}

// splitLine returns the words and the comment of a line ("" without one).
func splitLine(line string, env func(string) (string, bool)) (words []string, comment string, unknown []string, err error) {
	s := &splitter{env: env, in: line}
	if comment, err = s.run(); err != nil {
		return nil, "", nil, err
	}
	return s.words, comment, s.unknown, nil
}

func (s *splitter) run() (comment string, err error) {
	quote := byte(0)
	for s.at < len(s.in) {
		b := s.in[s.at]
		switch {
		case quote == 0 && b == '#':
			s.end()
			return s.in[s.at+1:], nil
		case quote == 0 && isBlank(b):
			s.end()
			s.at++
		case quote == 0 && (b == '"' || b == '\''):
			quote, s.open = b, true
			s.at++
		case quote != 0 && b == quote:
			quote = 0
			s.at++
		case b == '\\' && quote != '\'':
			if err := s.escape(quote); err != nil {
				return "", err
			}
		case b == '$' && quote == '"':
			if err := s.variable(); err != nil {
				return "", err
			}
		default:
			s.emit(b)
			s.at++
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("the quote %c is not closed", quote)
	}
	s.end()
	return "", nil
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\v' || b == '\f' }

func (s *splitter) emit(b byte) {
	s.word.WriteByte(b)
	s.open = true
}

func (s *splitter) end() {
	if s.open {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.open = false
}

// escape takes a backslash and what it stands before. A pair that means nothing stays as it is; so does \$ outside double
// quotes, whatever the manual's table says.
func (s *splitter) escape(quote byte) error {
	next := byte(0)
	if s.at+1 < len(s.in) {
		next = s.in[s.at+1]
	}
	s.at += 2
	switch next {
	case '$':
		if quote != '"' {
			s.emit('\\')
		}
		s.emit('$')
	case ' ', '\\', '#', '\'', '"':
		s.emit(next)
	case 'n':
		s.emit('\n')
	case 'r':
		s.emit('\r')
	case 't':
		s.emit('\t')
	case 'x':
		if s.at+2 > len(s.in) {
			return errors.New(`\x is not followed by two hexadecimal digits`)
		}
		n, err := strconv.ParseUint(s.in[s.at:s.at+2], 16, 8)
		if err != nil {
			return errors.New(`\x is not followed by two hexadecimal digits`)
		}
		s.emit(byte(n))
		s.at += 2
	default:
		s.emit('\\')
		s.at--
	}
	return nil
}

// variable takes a variable of the environment, which stands inside double quotes.
func (s *splitter) variable() error {
	s.at++
	braces := s.at < len(s.in) && s.in[s.at] == '{'
	if braces {
		s.at++
	}
	begin := s.at
	for s.at < len(s.in) && (isNameByte(s.in[s.at]) || s.at == begin && s.in[s.at] == '.') {
		s.at++
	}
	name := s.in[begin:s.at]
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return errors.New("after $ inside double quotes comes the name of a variable")
	}
	value, set := s.env(name)
	list := false
	if braces {
		rest, ok := strings.CutPrefix(s.in[s.at:], "[*]")
		list = ok
		s.at = len(s.in) - len(rest)
		if strings.HasPrefix(rest, "-") {
			end := strings.IndexByte(rest, '}')
			if end < 0 {
				return errors.New("the brace of a variable is not closed")
			}
			if !set {
				value, set = rest[1:end], true
			}
			s.at += end
		}
		if s.at >= len(s.in) || s.in[s.at] != '}' {
			return errors.New("the brace of a variable is not closed")
		}
		s.at++
	}
	if !set {
		s.unknown = append(s.unknown, name)
	}
	s.open = true
	for i := range len(value) {
		if list && value[i] == ' ' {
			s.end()
			continue
		}
		s.emit(value[i])
	}
	return nil
}

func isNameByte(b byte) bool {
	return b == '_' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}
