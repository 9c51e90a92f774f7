package nginxtok

import "strings"

// Word is one word of a directive.
type Word struct {
	// Text is the word as nginx takes it: without its quotes, escapes replaced. Raw is what stands in the file.
	Text, Raw string
	Line      int
}

// end is how a run of words ended.
type end int

const (
	endOfText end = iota
	semicolon
	openBrace
	closeBrace
)

// cursor is a place in a text.
type cursor struct {
	text string
	at   int
	line int
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// blank passes over white space and comments.
func (c *cursor) blank() {
	for ; c.at < len(c.text); c.at++ {
		switch ch := c.text[c.at]; {
		case ch == '\n':
			c.line++
		case space(ch):
		case ch == '#':
			n := strings.IndexByte(c.text[c.at:], '\n')
			if n < 0 {
				c.at = len(c.text)
				return
			}
			c.at += n - 1
		default:
			return
		}
	}
}

// words reads the words up to the sign that ends them.
func (c *cursor) words() ([]Word, end, error) {
	var words []Word
	for {
		c.blank()
		if c.at == len(c.text) {
			if len(words) > 0 {
				return nil, endOfText, c.err(`unexpected end of file, expecting ";" or "}"`)
			}
			return nil, endOfText, nil
		}
		switch ch := c.text[c.at]; ch {
		case ';', '{', '}':
			if (ch == '}') != (len(words) == 0) {
				return nil, endOfText, c.err(`unexpected "` + string(ch) + `"`)
			}
			c.at++
			return words, map[byte]end{';': semicolon, '{': openBrace, '}': closeBrace}[ch], nil
		}
		w, err := c.word()
		if err != nil {
			return nil, endOfText, err
		}
		words = append(words, w)
	}
}

func (c *cursor) word() (Word, error) {
	w := Word{Line: c.line}
	from := c.at
	if q := c.text[c.at]; q == '"' || q == '\'' {
		if !c.quoted(q) {
			return w, c.err(`unexpected end of file, expecting ";" or "}"`)
		}
		w.Raw = c.text[from:c.at]
		w.Text = unescape(w.Raw[1 : len(w.Raw)-1])
		if c.at < len(c.text) && !space(c.text[c.at]) && strings.IndexByte(";{)", c.text[c.at]) < 0 {
			return w, c.err(`unexpected "` + printable(c.text[c.at]) + `" after a closing quote`)
		}
		return w, nil
	}
	variable := false
	for ; c.at < len(c.text); c.at++ {
		ch := c.text[c.at]
		if ch == '{' && variable {
			continue
		}
		if c.at > from && (space(ch) || ch == ';' || ch == '{') {
			break
		}
		variable = ch == '$'
		if ch == '\\' {
			c.at++
			c.newline()
		}
	}
	if c.at >= len(c.text) {
		c.at = len(c.text)
		return w, c.err(`unexpected end of file, expecting ";" or "}"`)
	}
	w.Raw = c.text[from:c.at]
	w.Text = unescape(w.Raw)
	return w, nil
}

// quoted passes over a quoted word, false when it does not end.
func (c *cursor) quoted(q byte) bool {
	for c.at++; c.at < len(c.text); c.at++ {
		switch c.text[c.at] {
		case q:
			c.at++
			return true
		case '\\':
			c.at++
		}
		c.newline()
	}
	c.at = len(c.text)
	return false
}

// newline counts the line that ends here.
func (c *cursor) newline() {
	if c.at < len(c.text) && c.text[c.at] == '\n' {
		c.line++
	}
}

var escapes = strings.NewReplacer(`\"`, `"`, `\'`, `'`, `\\`, `\`, `\t`, "\t", `\r`, "\r", `\n`, "\n")

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	return escapes.Replace(s)
}

// printable is a byte for a message.
func printable(b byte) string {
	if b < ' ' || b > '~' {
		return "?"
	}
	return string(b)
}
