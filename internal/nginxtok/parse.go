package nginxtok

import (
	"fmt"
	"strings"
)

// maxDirectives bounds the memory that a text can take, some 200 bytes for each.
const maxDirectives = 1_000_000

// Directive is one directive with its place.
type Directive struct {
	// Words are its words, the name first.
	Words []Word
	// Line is the line of the name, Last that of the `;` or `}` that ends it.
	Line, Last int
	// From and To are the bytes of the whole directive, its ending sign included.
	From, To int
	// Body is the byte after the opening brace and BodyLine its line, 0 without a block.
	Body, BodyLine int
	// Block are the directives of the block. It is nil for Lua.
	Block []Directive
}

// Name is the first word.
func (d *Directive) Name() string { return d.Words[0].Text }

// Arg is the word at i, the name being 0; "" when there are fewer.
func (d *Directive) Arg(i int) string {
	if i >= len(d.Words) {
		return ""
	}
	return d.Words[i].Text
}

// Error says what nginx would refuse, and on which line.
type Error struct {
	Line int
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

func (c *cursor) err(text string) error { return &Error{c.line, text} }

type parser struct {
	cursor
	maxDepth int
	// left is how many directives more there may be.
	left int
}

// Parse reads a whole file. Blocks may nest maxDepth deep. Every error is an *Error; beside it are the directives of the top
// level that ended before it.
func Parse(text string, maxDepth int) ([]Directive, error) {
	return parse(text, maxDepth, maxDirectives)
}

func parse(text string, maxDepth, maxCount int) ([]Directive, error) {
	p := &parser{cursor: cursor{text: text, line: 1}, maxDepth: maxDepth, left: maxCount}
	return p.block(0)
}

// block reads directives up to the brace that ends the block, or to the end of the text at depth 0.
func (p *parser) block(depth int) ([]Directive, error) {
	var out []Directive
	for {
		p.blank()
		d := Directive{From: p.at, Line: p.line}
		words, how, err := p.words()
		switch {
		case err != nil:
			return out, err
		case how == endOfText && depth > 0:
			return nil, p.err(`unexpected end of file, expecting "}"`)
		case how == endOfText, how == closeBrace && depth > 0:
			return out, nil
		case how == closeBrace:
			return out, p.err(`unexpected "}"`)
		}
		if p.left--; p.left < 0 {
			return out, p.err("too many directives for one file")
		}
		d.Words = words
		if how == openBrace {
			if err := p.body(&d, depth+1); err != nil {
				return out, err
			}
		}
		d.To, d.Last = p.at, p.line
		out = append(out, d)
	}
}

func (p *parser) body(d *Directive, depth int) (err error) {
	if depth > p.maxDepth {
		return p.err(fmt.Sprintf("blocks nest deeper than %d", p.maxDepth))
	}
	d.Body, d.BodyLine = p.at, p.line
	if strings.HasSuffix(d.Name(), "_by_lua_block") {
		if !p.lua() {
			return &Error{d.BodyLine, "the Lua block that begins here does not end"}
		}
		return nil
	}
	d.Block, err = p.block(depth)
	return err
}

// lua passes over a Lua block with its closing brace, false when there is none.
func (p *parser) lua() bool {
	depth := 1
	for p.at < len(p.text) {
		switch ch := p.text[p.at]; {
		case ch == '{':
			depth++
		case ch == '}':
			depth--
		case ch == '"' || ch == '\'':
			if !p.quoted(ch) {
				return false
			}
			continue
		case ch == '[':
			if n := longBracket(p.text[p.at:]); n > 0 {
				p.pass(n)
				continue
			}
		case ch == '-' && strings.HasPrefix(p.text[p.at:], "--"):
			p.luaComment()
			continue
		}
		p.pass(1)
		if depth == 0 {
			return true
		}
	}
	return false
}

func (p *parser) luaComment() {
	p.at += 2
	n := longBracket(p.text[p.at:])
	if n == 0 {
		if n = strings.IndexByte(p.text[p.at:], '\n'); n < 0 {
			n = len(p.text) - p.at
		}
	}
	p.pass(n)
}

// longBracket is the length of a text such as [[...]] or [==[...]==], 0 when none begins here. One without an end goes on
// to the end of the text.
func longBracket(s string) int {
	if !strings.HasPrefix(s, "[") {
		return 0
	}
	level := len(s[1:]) - len(strings.TrimLeft(s[1:], "="))
	if 1+level >= len(s) || s[1+level] != '[' {
		return 0
	}
	head := level + 2
	i := strings.Index(s[head:], "]"+strings.Repeat("=", level)+"]")
	if i < 0 {
		return len(s)
	}
	return head + i + head
}

// pass goes on by n bytes and counts their lines.
func (p *parser) pass(n int) {
	n = min(n, len(p.text)-p.at)
	p.line += strings.Count(p.text[p.at:p.at+n], "\n")
	p.at += n
}
