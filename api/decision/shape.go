package decision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// shape is what may stand at a place of a line. encoding/json alone would take names in any case, twice, and could not say where
// an unknown one stands.
type shape struct {
	kind   kind
	names  []string
	fields map[string]field
	// elem is the shape of a list's items or of a table's values.
	elem *shape
}

type field struct {
	index int
	shape *shape
}

type kind string

const (
	text   kind = "a text"
	num    kind = "a number"
	whole  kind = "a whole number"
	flag   kind = "true or false"
	stamp  kind = "a time (RFC 3339 in quotes, or seconds since 1970)"
	list   kind = "a list"
	group  kind = "an object"
	table  kind = "an object of numbers"
	groups kind = "an object of objects"
)

// shapeOf builds the shape of a Go type from its JSON tags.
func shapeOf(t reflect.Type) *shape {
	switch t {
	case reflect.TypeFor[Whole]():
		return &shape{kind: whole}
	case reflect.TypeFor[Time]():
		return &shape{kind: stamp}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.String:
		return &shape{kind: text}
	case reflect.Float64:
		return &shape{kind: num}
	case reflect.Bool:
		return &shape{kind: flag}
	case reflect.Slice:
		return &shape{kind: list, elem: shapeOf(t.Elem())}
	case reflect.Map:
		elem := shapeOf(t.Elem())
		if elem.kind == group {
			return &shape{kind: groups, elem: elem}
		}
		return &shape{kind: table, elem: elem}
	case reflect.Struct:
		s := &shape{kind: group, fields: map[string]field{}}
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			s.fields[name] = field{i, shapeOf(f.Type)}
			s.names = append(s.names, name)
		}
		return s
	}
	panic("a type that no line may have: " + t.String())
}

// scan walks over a line along a shape.
type scan struct {
	b    []byte
	at   int
	path []step
}

// step is one part of a path: a name, or an index when the name is "".
type step struct {
	name  string
	index int
}

// check says what in a line is not of the shape. What it lets pass may still break JSON's finer rules.
func check(line []byte, s *shape) error {
	c := &scan{b: line, path: make([]step, 0, 16)}
	if err := c.value(s); err != nil {
		return err
	}
	if c.space(); c.at < len(c.b) {
		return c.fail("more stands after the end of the object")
	}
	return nil
}

func (c *scan) fail(format string, args ...any) error {
	msg := fmt.Errorf(format, args...)
	var p strings.Builder
	for i, s := range c.path {
		switch {
		case s.name == "":
			p.WriteString("[" + strconv.Itoa(s.index) + "]")
		case i > 0:
			p.WriteString("." + s.name)
		default:
			p.WriteString(s.name)
		}
	}
	if p.Len() == 0 {
		return msg
	}
	return fmt.Errorf("%s: %w", p.String(), msg)
}

func (c *scan) space() {
	for c.at < len(c.b) && (c.b[c.at] == ' ' || c.b[c.at] == '\t' || c.b[c.at] == '\r' || c.b[c.at] == '\n') {
		c.at++
	}
}

// next is the first byte of the next value or sign, 0 at the end.
func (c *scan) next() byte {
	c.space()
	if c.at >= len(c.b) {
		return 0
	}
	return c.b[c.at]
}

func (c *scan) value(s *shape) error {
	b := c.next()
	if b == 0 {
		return c.fail("the line ends in the middle of the object")
	}
	if bytes.HasPrefix(c.b[c.at:], []byte("null")) {
		c.at += 4
		return nil
	}
	switch {
	case b == '{' && s.kind == group:
		return c.group(s)
	case b == '{' && (s.kind == table || s.kind == groups):
		return c.table(s)
	case b == '[' && s.kind == list:
		return c.list(s)
	case b == '"' && (s.kind == text || s.kind == stamp):
		start := c.at
		if _, err := c.text(); err != nil || s.kind == text {
			return err
		}
		return c.reads(new(Time), start)
	case b == 't' && s.kind == flag:
		return c.word("true")
	case b == 'f' && s.kind == flag:
		return c.word("false")
	case (b == '-' || b >= '0' && b <= '9') && (s.kind == num || s.kind == whole || s.kind == stamp):
		return c.number(s)
	}
	return c.fail("%s is not allowed: %s", c.found(), s.kind)
}

// number passes over a number. Most are short and plain; the others are read, to say here what is wrong with them.
func (c *scan) number(s *shape) error {
	start, plain := c.at, true
	for c.at < len(c.b) && strings.IndexByte("+-.0123456789eE", c.b[c.at]) >= 0 {
		b := c.b[c.at]
		plain = plain && b != 'e' && b != 'E' && (b != '.' || s.kind == num)
		c.at++
	}
	switch {
	case s.kind == stamp:
		return c.reads(new(Time), start)
	case plain && c.at-start < 15:
		return nil
	case s.kind == whole:
		if err := checkWhole(c.b[start:c.at]); err != nil {
			return c.fail("%w", err)
		}
		return nil
	}
	if v, err := strconv.ParseFloat(string(c.b[start:c.at]), 64); err != nil || math.IsInf(v, 0) {
		return c.fail("%.40s is not allowed: a number that a computer can hold (up to 1e308)", c.b[start:c.at])
	}
	return nil
}

func (c *scan) reads(v json.Unmarshaler, start int) error {
	if err := v.UnmarshalJSON(c.b[start:c.at]); err != nil {
		return c.fail("%w", err)
	}
	return nil
}

// found shows what stands where something else should.
func (c *scan) found() string {
	switch b := c.b[c.at]; {
	case b == '{':
		return "an object"
	case b == '[':
		return "a list"
	case b == '"':
		if t, err := c.text(); err == nil {
			return fmt.Sprintf("the text %.40q", t)
		}
		return "a text"
	}
	end := c.at
	for end < len(c.b) && strings.IndexByte(" \t\r\n,:]}", c.b[end]) < 0 && end-c.at < 40 {
		end++
	}
	return fmt.Sprintf("%q", c.b[c.at:max(end, c.at+1)])
}

func (c *scan) word(w string) error {
	if !bytes.HasPrefix(c.b[c.at:], []byte(w)) {
		return c.fail("%s is not allowed: true or false", c.found())
	}
	c.at += len(w)
	return nil
}

// text passes over a text and returns it.
func (c *scan) text() (string, error) {
	start := c.at
	for i := c.at + 1; i < len(c.b); i++ {
		switch c.b[i] {
		case '\\':
			i++
		case '"':
			c.at = i + 1
			raw := c.b[start:c.at]
			if bytes.IndexByte(raw, '\\') < 0 {
				return string(raw[1 : len(raw)-1]), nil
			}
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return "", c.fail("a text with a backslash that JSON does not know")
			}
			return s, nil
		}
	}
	return "", c.fail("a text without its closing quote")
}

// open and close of a group, table or list: more tells whether another item follows.
func (c *scan) more(end byte, first bool) (bool, error) {
	switch b := c.next(); {
	case b == end:
		c.at++
		return false, nil
	case first && b != 0:
		return true, nil
	case b == ',':
		c.at++
		if c.next() == end {
			return false, c.fail("a comma with nothing after it")
		}
		return true, nil
	case b == 0:
		return false, c.fail("the line ends in the middle of the object")
	}
	return false, c.fail("%s where a comma or %q should be", c.found(), end)
}

func (c *scan) name() (string, error) {
	if b := c.next(); b != '"' {
		if b == 0 {
			return "", c.fail("the line ends in the middle of the object")
		}
		return "", c.fail("%s where a name in double quotes should be", c.found())
	}
	name, err := c.text()
	if err != nil {
		return "", err
	}
	if c.next() != ':' {
		return "", c.fail("no colon after %.40q", name)
	}
	c.at++
	return name, nil
}

func (c *scan) group(s *shape) error {
	c.at++
	var seen uint64
	for first := true; ; first = false {
		more, err := c.more('}', first)
		if err != nil || !more {
			return err
		}
		name, err := c.name()
		if err != nil {
			return err
		}
		f, ok := s.fields[name]
		switch {
		case !ok:
			return c.fail("unknown name %.40q: %s", name, strings.Join(s.names, ", "))
		case seen&(1<<f.index) != 0:
			return c.fail("the name %q stands here a second time", name)
		}
		seen |= 1 << f.index
		c.path = append(c.path, step{name: name})
		if err := c.value(f.shape); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
}

func (c *scan) table(s *shape) error {
	c.at++
	var seen []string
	for first := true; ; first = false {
		more, err := c.more('}', first)
		if err != nil || !more {
			return err
		}
		name, err := c.name()
		if err != nil {
			return err
		}
		if slices.Contains(seen, name) {
			return c.fail("the name %q stands here a second time", name)
		}
		seen = append(seen, name)
		c.path = append(c.path, step{name: name})
		if err := c.value(s.elem); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
}

func (c *scan) list(s *shape) error {
	c.at++
	for i := 0; ; i++ {
		more, err := c.more(']', i == 0)
		if err != nil || !more {
			return err
		}
		c.path = append(c.path, step{index: i})
		if err := c.value(s.elem); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
}
