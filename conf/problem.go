package conf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Problem is one thing wrong with a configuration file.
type Problem struct {
	File         string
	Line, Column int
	// Key is the path of the key ("apps[0].busy_ratio.target"), Value what stands there, Allowed what may.
	Key, Value, Allowed string
	// Text replaces Value and Allowed for problems of another kind (syntax, unknown key, keys that do not go together).
	Text string
}

// Error gives file, line, column, key, value and what is allowed in one line.
func (p Problem) Error() string {
	where := fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	if p.Line == 0 {
		where = p.File
	}
	if p.Key != "" {
		where += ": " + p.Key
	}
	if p.Text != "" {
		return where + ": " + p.Text
	}
	value := p.Value
	if value == "" {
		return fmt.Sprintf("%s: is missing or empty: %s", where, p.Allowed)
	}
	return fmt.Sprintf("%s: %q is not allowed: %s", where, value, p.Allowed)
}

// Problems is every problem of one file.
type Problems []Problem

// Error lists the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// maxFile bounds a configuration file, in bytes.
const maxFile = 4 << 20

// source is a file being checked: its syntax tree finds the line and column of a key.
type source struct {
	file     string
	tree     *ast.File
	problems Problems
	// policyOnly: only what decides matters (LoadPolicy).
	policyOnly bool
}

// open reads and parses a file and decodes it strictly into raw.
func open(file string, raw any) (*source, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read the configuration: %s has %d bytes, at most %d are allowed", file, info.Size(), maxFile)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	s := &source{file: file}
	if s.tree, err = parser.ParseBytes(text, 0); err != nil {
		return nil, Problems{s.decodeProblem(err)}
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, Problems{{File: file, Line: 1, Column: 1, Text: "the file is empty"}}
	}
	if err := yaml.UnmarshalWithOptions(text, raw, yaml.Strict()); err != nil {
		return nil, Problems{s.decodeProblem(err)}
	}
	return s, nil
}

// decodeProblem turns the YAML library's error into ours.
func (s *source) decodeProblem(err error) Problem {
	p := Problem{File: s.file, Text: err.Error()}
	var ye yaml.Error
	if !errors.As(err, &ye) {
		return p
	}
	p.Text = ye.GetMessage()
	tk := ye.GetToken()
	if tk == nil {
		return p
	}
	p.Line, p.Column = tk.Position.Line, tk.Position.Column
	p.Key = s.keyAt(tk)
	var te *yaml.TypeError
	var ue *yaml.UnknownFieldError
	var de *yaml.DuplicateKeyError
	switch {
	case errors.As(err, &ue):
		p.Text = fmt.Sprintf("unknown key %q", tk.Value)
	case errors.As(err, &de):
		p.Text = fmt.Sprintf("key %q stands here a second time", tk.Value)
	case errors.As(err, &te):
		p.Text, p.Value, p.Allowed = "", tk.Value, kinds(te.DstType.Kind().String())
	}
	return p
}

func kinds(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "string":
		return "a text"
	case "slice":
		return "a list"
	default:
		return "a group of keys"
	}
}

// keyAt finds the path of the key at a token.
func (s *source) keyAt(tk *token.Token) string {
	if s.tree == nil {
		return ""
	}
	f := &finder{line: tk.Position.Line, column: tk.Position.Column}
	for _, d := range s.tree.Docs {
		ast.Walk(f, d)
	}
	return strings.TrimPrefix(f.path, "$.")
}

type finder struct {
	line, column int
	path         string
}

// Visit implements ast.Visitor.
func (f *finder) Visit(n ast.Node) ast.Visitor {
	if tk := n.GetToken(); tk != nil && tk.Position != nil && tk.Position.Line == f.line && tk.Position.Column == f.column {
		f.path = n.GetPath()
	}
	return f
}

// position finds a key's line and column; a missing key has its parent's.
func (s *source) position(key string) (line, column int) {
	for key != "" {
		if path, err := yaml.PathString("$." + key); err == nil {
			if n, err := path.FilterFile(s.tree); err == nil && n != nil {
				if tk := n.GetToken(); tk != nil && tk.Position != nil {
					return tk.Position.Line, tk.Position.Column
				}
			}
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			break
		}
		key = key[:cut]
	}
	return 1, 1
}

// fail notes that the value at key is not allowed.
func (s *source) fail(key, value, allowed string, args ...any) {
	line, column := s.position(key)
	s.problems = append(s.problems, Problem{File: s.file, Line: line, Column: column, Key: key, Value: value, Allowed: fmt.Sprintf(allowed, args...)})
}

// say notes a problem at key in a sentence of its own, for what is no matter of one value.
func (s *source) say(key, text string, args ...any) {
	line, column := s.position(key)
	s.problems = append(s.problems, Problem{File: s.file, Line: line, Column: column, Key: key, Text: fmt.Sprintf(text, args...)})
}

// err is nil or every problem found.
func (s *source) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	return s.problems
}
