package nginxtok

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// flat writes a tree as one line, words in brackets.
func flat(ds []Directive) string {
	var b strings.Builder
	for _, d := range ds {
		for _, w := range d.Words {
			b.WriteString("[" + w.Text + "]")
		}
		if d.Body > 0 {
			b.WriteString("{" + flat(d.Block) + "}")
		}
		b.WriteString(";")
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"blocks and comments":        {"a b; # c;\nd { # }\n e; } #", "[a][b];[d]{[e];};"},
		"a quote inside a word":      {`a b"c d;`, `[a][b"c][d];`},
		"quotes with signs":          {`a "x; {y} # 'z'" '"}';`, `[a][x; {y} # 'z']["}];`},
		"escapes":                    {`a "\"\\\t" \; \{ x\ y;`, "[a][\"\\\t][\\;][\\{][x\\ y];"},
		"a backslash at the end":     {`a "c:\\"; b;`, `[a][c:\];[b];`},
		"a variable in braces":       {`a ${b}c$d${{e; f;`, `[a][${b}c$d${{e];[f];`},
		"a brace in a word":          {`a ^/x}y$;`, `[a][^/x}y$];`},
		"a block right after":        {`if ("a"="b"){c;}`, `[if][("a"="b")]{[c];};`},
		"a bracket after a quote":    {`if ($x = "b"){c;}`, `[if][($x][=][b][)]{[c];};`},
		"backticks are nothing":      {"a `b c`;", "[a][`b][c`];"},
		"a comment within":           {"a # b;\n c\n;", "[a][c];"},
		"lines that end with \\r\\n": {"a b;\r\nc {\r\n}\r\n", "[a][b];[c]{};"},
		"Latin-1":                    {"a \xe4\xf6;", "[a][\xe4\xf6];"},
		"Lua":                        {"x_by_lua_block { s = '}' -- }\n t = {[[ } ]], #s, \"\\\"}\"} --[==[ } ]] ]==] }\nb;", "[x_by_lua_block]{};[b];"},
		"Lua with an argument":       {"set_by_lua_block $x { return {1} } b;", "[set_by_lua_block][$x]{};[b];"},
		"nothing":                    {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(c.text, 8)
			if (err != nil) != (c.want == "" && c.text != "") || flat(got) != c.want {
				t.Errorf("%s, %v; want %s", flat(got), err, c.want)
			}
		})
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		line       int
	}{
		"a stray brace":          {"a;\n}\nb;", `unexpected "}"`, 2},
		"two semicolons":         {"a;\n\n;", `unexpected ";"`, 3},
		"a brace without a word": {"a;\n{", `unexpected "{"`, 2},
		"a brace after words":    {"a {\nb }", `unexpected "}"`, 2},
		"a block that is open":   {"a {\nb;\n", `unexpected end of file, expecting "}"`, 3},
		"a word at the end":      {"a\n", "unexpected end of file", 2},
		"a quote that is open":   {"a \"b;\n\n", "unexpected end of file", 3},
		"a word after a quote":   {"\na 'b'c;", `unexpected "c"`, 2},
		"too deep":               {"a {\na {\na {\na {\n", "blocks nest deeper than 3", 4},
		"a Lua block":            {"a;\nx_by_lua_block {\n'\n}", "does not end", 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.text, 3)
			var e *Error
			if !errors.As(err, &e) || e.Line != c.line || !strings.Contains(e.Text, c.want) {
				t.Errorf("%v; want %q on line %d", err, c.want, c.line)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	const text = "# x\n  a \"b\nc\" {\n  d;\n  }  e;"
	got, err := Parse(text, 8)
	if err != nil {
		t.Fatal(err)
	}
	a := got[0]
	if d := cmp.Diff([]int{2, 5, 6, 2, 3, 3, 4}, []int{a.Line, a.Last, a.From, a.Words[1].Line, a.BodyLine, len(a.Name()) + len(a.Block) + 1, a.Block[0].Line}); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if text[a.From:a.To] != "a \"b\nc\" {\n  d;\n  }" || text[a.Body-1] != '{' || text[got[1].From:got[1].To] != "e;" {
		t.Errorf("%q, %q", text[a.From:a.To], text[got[1].From:got[1].To])
	}
}

// A file that would end a recursive parser's process, and one that would fill the memory.
func TestBounds(t *testing.T) {
	if _, err := Parse(strings.Repeat("a{", 1_000_000), 64); err == nil || !strings.Contains(err.Error(), "line 1: blocks nest deeper than 64") {
		t.Error(err)
	}
	if _, err := parse("a;\nb { c; }\nd;", 64, 3); err == nil || err.Error() != "line 3: too many directives for one file" {
		t.Error(err)
	}
	if _, err := parse("a;\nb { c; }\n", 64, 3); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("http { include a; upstream b { server c; } }")
	f.Add("upstream a {\n \"x\\\"\n ${y} }\n'")
	f.Add("x_by_lua_block { [=[ --[[ }")
	f.Fuzz(func(t *testing.T, text string) {
		ds, err := Parse(text, 20)
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Line < 1 || e.Line > 1+strings.Count(text, "\n")) {
			t.Fatalf("%v", err)
		}
		within(t, text, ds, 0, len(text))
	})
}

// within checks that directives stand one after the other inside a span, on the lines they say.
func within(t *testing.T, text string, ds []Directive, from, to int) {
	for _, d := range ds {
		if d.From < from || d.To > to || d.From >= d.To || !strings.HasPrefix(text[d.From:], d.Words[0].Raw) {
			t.Fatalf("bytes %d to %d in %d to %d", d.From, d.To, from, to)
		}
		if d.Line != 1+strings.Count(text[:d.From], "\n") || d.Last != 1+strings.Count(text[:d.To], "\n") {
			t.Fatalf("lines %d to %d", d.Line, d.Last)
		}
		for _, w := range d.Words {
			if !strings.Contains(text[d.From:d.To], w.Raw) {
				t.Fatalf("the word %q", w.Raw)
			}
		}
		within(t, text, d.Block, d.From, d.To)
		from = d.To
	}
}
