package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tidegate/tidegate"

// table says which packages of ours each package may import, tests aside. docs/architecture.md shows it to people; a test
// below keeps the two equal.
var table = map[string][]string{
	"core":              {"core/sizing", "core/window"},
	"core/queueing":     {},
	"core/sizing":       {"core/queueing"},
	"core/window":       {},
	"spoa":              {"core/window", "internal/quiet", "internal/unixsock"},
	"haproxy":           {"internal/quiet"},
	"nginxgen/srv":      {},
	"nginxgen":          {"internal/nginxtok", "internal/quiet", "internal/sched", "internal/watch"},
	"agent":             {"agent/adapter", "agent/proc", "internal/quiet", "internal/unixsock"},
	"agent/adapter":     {"agent/proc"},
	"agent/filemarks":   {"agent/adapter", "agent/proc"},
	"agent/gunicorn":    {"agent/adapter", "agent/proc"},
	"agent/passenger":   {"agent/adapter", "agent/proc"},
	"agent/phpfpm":      {"agent/adapter", "agent/proc"},
	"agent/proc":        {},
	"agent/puma":        {"agent/adapter", "agent/proc", "agent/signals"},
	"agent/signals":     {"agent/adapter", "agent/proc"},
	"agent/uwsgi":       {"agent/adapter", "agent/proc"},
	"agent/supervise":   {"agent/adapter", "agent/proc", "internal/unixsock"},
	"agent/systemd":     {"agent/adapter", "agent/proc"},
	"agent/sockdiag":    {"agent/adapter"},
	"api":               {"internal/unixsock"},
	"api/decision":      {"core", "core/sizing"},
	"conf":              {"core", "core/sizing", "internal/watch"},
	"conf/haproxy":      {},
	"conf/marks":        {},
	"control":           {"core", "core/sizing", "core/window", "api", "internal/quiet"},
	"internal/backlog":  {"core/sizing", "internal/sched"},
	"sim":               {},
	"sim/ours":          {"core", "core/sizing", "sim"},
	"sim/peers":         {"core/queueing", "sim"},
	"sim/report":        {"sim"},
	"sim/traces":        {"sim"},
	"internal/hush":     {},
	"internal/names":    {},
	"internal/nginxtok": {},
	"internal/quiet":    {},
	"internal/sched":    {},
	"internal/unixsock": {},
	"internal/setup":    {"conf", "conf/haproxy", "haproxy", "internal/names", "internal/nginxtok", "nginxgen"},
	"internal/watch":    {},
	"internal/demo":     {"api", "conf/haproxy", "conf/marks", "nginxgen", "tests/harness"},
	"cmd/tidegate":      {"*"},
	"tests/harness":     {},
	"tests/agentrig":    {"agent", "tests/harness"},
	"tests/arch":        {},
	"tests/e2e":         {"*"},
	"scripts/testsum":   {},
	"tests/bench":       {"agent", "agent/filemarks", "agent/proc", "agent/signals", "agent/sockdiag", "conf/haproxy", "haproxy", "internal/sched", "nginxgen", "spoa"},
}

// impure are the packages the decision core must not touch.
var impure = []string{
	"os", "io", "io/fs", "io/ioutil", "net", "net/http", "log", "log/slog", "bufio", "os/exec", "os/signal", "syscall", "context", "sync", "sync/atomic",
	"math/rand", "math/rand/v2", "crypto/rand", "runtime", "unsafe", "path/filepath",
}

// clock are the functions of package time that read a clock or wait.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

type source struct {
	dir  string
	file *ast.File
	path string
	test bool
}

func sources(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var out []source
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (strings.HasPrefix(name, ".") && path != root || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		out = append(out, source{dir: filepath.ToSlash(rel), file: f, path: path, test: strings.HasSuffix(name, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func imports(f *ast.File) []string {
	var out []string
	for _, i := range f.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

func TestImportTable(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		allowed, known := table[s.dir]
		if !known {
			t.Errorf("%s: the package %s is not in the import table", s.path, s.dir)
			continue
		}
		for _, imp := range imports(s.file) {
			ours, isOurs := strings.CutPrefix(imp, module+"/")
			if isOurs && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s; %s may import %v", s.path, ours, s.dir, allowed)
			}
		}
	}
}

func TestOnlyTestsImportTheHarness(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.dir == "internal/demo" || s.dir == "tests/agentrig" {
			continue
		}
		if slices.Contains(imports(s.file), module+"/tests/harness") {
			t.Errorf("%s imports the harness", s.path)
		}
	}
}

func TestTheCoreIsPure(t *testing.T) {
	checked := 0
	for _, s := range sources(t) {
		if s.test || s.dir != "core" && !strings.HasPrefix(s.dir, "core/") {
			continue
		}
		checked++
		for _, imp := range imports(s.file) {
			if slices.Contains(impure, imp) {
				t.Errorf("%s imports %s", s.path, imp)
			}
		}
		for _, why := range impurities(s.file) {
			t.Errorf("%s: %s", s.path, why)
		}
	}
	if checked < 5 {
		t.Fatalf("only %d files of the core were found", checked)
	}
}

// impurities lists uses of a clock and goroutines.
func impurities(f *ast.File) []string {
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, "starts a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				out = append(out, "reads a clock: time."+n.Sel.Name)
			}
		}
		return true
	})
	return out
}

// The rule itself must be able to fail.
func TestImpuritiesAreSeen(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nimport \"time\"\nfunc f() { go f(); _ = time.Now() }\n", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := impurities(f); len(got) != 2 {
		t.Fatalf("found %v, want a goroutine and a clock", got)
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said, seen := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		seen[s.dir] = true
		if s.file.Doc != nil && filepath.Base(s.path) == "doc.go" {
			said[s.dir] = true
		}
	}
	for dir := range seen {
		if !said[dir] {
			t.Errorf("package %s has no doc.go with a package comment", dir)
		}
	}
}

func TestArchitectureDocumentShowsTheTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for pkg, allowed := range table {
		may := strings.Join(allowed, ", ")
		switch may {
		case "":
			may = "nothing of ours"
		case "*":
			may = "everything"
		}
		line := fmt.Sprintf("| `%s` | %s |", pkg, may)
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/architecture.md lacks the line %q", line)
		}
	}
}
