package sizing

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// decisions.md explains every constant of the decision core that is no code or name, with the value that it has.
func TestEveryConstantIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/decisions.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Constants\n")
	table, _, _ = strings.Cut(table, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^ |]+)[^|]*\\| \\S")
	documented := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		documented[m[1]] = m[2]
	}
	seen := 0
	for _, pattern := range []string{"*.go", "../*.go", "../queueing/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for name, value := range numbers(t, file) {
				seen++
				switch have, ok := documented[name]; {
				case !ok:
					t.Errorf("docs/decisions.md does not explain %s (%s)", name, file)
				case value != "" && have != value:
					t.Errorf("docs/decisions.md says that %s is %s; %s says %s", name, have, file, value)
				}
				delete(documented, name)
			}
		}
	}
	if seen < 40 {
		t.Errorf("found only %d constants", seen)
	}
	for name := range documented {
		t.Errorf("docs/decisions.md explains %s, which is no constant", name)
	}
}

// numbers are the untyped constants of a file outside its functions: their literals, or "" where they are calculated.
func numbers(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if v.Type != nil || len(v.Values) == 0 {
				continue
			}
			for i, name := range v.Names {
				switch x := v.Values[i].(type) {
				case *ast.BasicLit:
					out[name.Name] = strings.TrimSuffix(x.Value, ".0")
				case *ast.BinaryExpr:
					out[name.Name] = ""
				case *ast.SelectorExpr:
					if from, ok := x.X.(*ast.Ident); ok && from.Name == "time" {
						out[name.Name] = ""
					}
				}
			}
		}
	}
	return out
}

// The explanation that decisions.md works out is the one that is given.
func TestTheWorkedExplanationIsTheOneGiven(t *testing.T) {
	text, err := os.ReadFile("../../docs/decisions.md")
	if err != nil {
		t.Fatal(err)
	}
	plans, err := os.ReadFile("../../cmd/tidegate/testdata/decide/step.out.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(plans)), "\n") {
		var plan struct {
			Apps []struct {
				Reasons []struct{ Sentence string }
				Sizing  struct{ Workers, Before int }
			}
		}
		if err := json.Unmarshal([]byte(line), &plan); err != nil {
			t.Fatal(err)
		}
		if app := plan.Apps[0]; app.Sizing.Workers > app.Sizing.Before {
			for _, r := range app.Reasons {
				if !strings.Contains(string(text), "    "+r.Sentence+"\n") {
					t.Errorf("docs/decisions.md does not quote %q", r.Sentence)
				}
			}
			return
		}
	}
	t.Fatal("the example never grows")
}
