package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api/decision"
	"github.com/tidegate/tidegate/core"
)

// constants lists the values of the constants of some types in the core's files.
func constants(t *testing.T, types ...string) []string {
	t.Helper()
	var files []string
	for _, dir := range []string{"../../core", "../../core/sizing"} {
		found, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var out []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			id, ok := spec.Type.(*ast.Ident)
			if !ok || !slices.Contains(types, id.Name) {
				return true
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					if s, err := strconv.Unquote(lit.Value); err == nil && s != "" {
						out = append(out, s)
					}
				}
			}
			return true
		})
	}
	return out
}

// Every word that may stand in an observation or a plan is explained, and nothing is explained that does not exist.
func TestEveryCodeIsDocumented(t *testing.T) {
	text := read(t, "../../docs/json.md")
	codes := constants(t, "Code")
	words := constants(t, "ActionKind", "Phase", "AdminState", "WarmState", "OrderKind")
	if len(codes) < 60 || len(words) < 25 {
		t.Fatalf("found %d codes and %d words", len(codes), len(words))
	}
	for _, w := range append(slices.Clone(codes), words...) {
		if !strings.Contains(text, "`"+w+"`") {
			t.Errorf("docs/json.md does not explain `%s`", w)
		}
	}
	_, section, _ := strings.Cut(text, "\n## Reason codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := 0
	for line := range strings.Lines(section) {
		cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !ok || !strings.HasPrefix(cell, "`") {
			continue
		}
		for _, g := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			rows++
			if !slices.Contains(codes, g[1]) {
				t.Errorf("docs/json.md explains `%s`, which is no code", g[1])
			}
		}
	}
	if rows < 60 {
		t.Errorf("found only %d explained codes", rows)
	}
}

// jsonNames lists the JSON names of a type and of all it is made of.
func jsonNames(t reflect.Type, seen map[reflect.Type]bool) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[decision.Time]() {
		return nil
	}
	seen[t] = true
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			out = append(out, name)
		}
		out = append(out, jsonNames(f.Type, seen)...)
	}
	return out
}

func TestEveryNameIsDocumented(t *testing.T) {
	text := read(t, "../../docs/json.md")
	names := append(jsonNames(reflect.TypeFor[decision.Input](), map[reflect.Type]bool{}), jsonNames(reflect.TypeFor[decision.Answer](), map[reflect.Type]bool{})...)
	if len(names) < 90 {
		t.Fatalf("found %d names", len(names))
	}
	for _, n := range names {
		if !regexp.MustCompile("`([a-z_.]+(\\[\\])?\\.)?" + n + "`").MatchString(text) {
			t.Errorf("docs/json.md does not explain `%s`", n)
		}
	}
}

// What a policy has is a key of the configuration, or is explained beside it.
func TestEveryNameOfAPolicyIsDocumented(t *testing.T) {
	text := read(t, "../../docs/json.md") + read(t, "../../docs/configuration.md")
	names := jsonNames(reflect.TypeFor[core.Policy](), map[reflect.Type]bool{})
	if len(names) < 60 {
		t.Fatalf("found %d names", len(names))
	}
	for _, n := range names {
		if !regexp.MustCompile(`\b` + n + `(_s)?\b`).MatchString(text) {
			t.Errorf("neither docs/json.md nor docs/configuration.md explains %s", n)
		}
	}
}

// The example of docs/json.md is what comes out.
func TestTheDocumentedExample(t *testing.T) {
	text := read(t, "../../docs/json.md")
	_, text, _ = strings.Cut(text, "## The shortest way")
	blocks := regexp.MustCompile(`(?m)(^    .*\n)+`).FindAllString(text, 3)
	if len(blocks) != 3 {
		t.Fatalf("found %d blocks", len(blocks))
	}
	oneLine := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	out := must(t, decideFlags{config: write(t, "tiny.yaml", regexp.MustCompile(`(?m)^    `).ReplaceAllString(blocks[0], "")), trace: true}, oneLine(blocks[1])+"\n")
	at := 0
	for _, part := range strings.Split(strings.ReplaceAll(strings.ReplaceAll(blocks[2], "\n", ""), "      ", ""), "...") {
		part = strings.TrimSpace(part)
		i := strings.Index(out[at:], part)
		if i < 0 {
			t.Fatalf("%q does not come, in\n%s", part, out[at:])
		}
		at += i + len(part)
	}
}
