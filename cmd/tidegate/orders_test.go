package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestTimesAsAPersonWritesThem(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 4, 15, 30, 20, 0, zone)
	for text, want := range map[string]time.Time{
		"now":                  {},
		"+15m":                 now.Add(15 * time.Minute),
		"+0s":                  now,
		"18:45":                time.Date(2026, 3, 4, 18, 45, 0, 0, zone),
		"15:30":                time.Date(2026, 3, 5, 15, 30, 0, 0, zone),
		"2026-11-27 18:30":     time.Date(2026, 11, 27, 18, 30, 0, 0, zone),
		"2026-11-27T18:30:00Z": time.Date(2026, 11, 27, 18, 30, 0, 0, time.UTC),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "25:00", "18:60", "+", "+-5m", "+5", "-5m", "2026-02-30 10:00", "18h"} {
		if got, err := parseTime(text, now); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}

// Each rule that may limit, each alarm and each state that holds an app has words for a person.
func TestEveryRuleHasItsMeaning(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../core/sizing/result.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		lit, ok := v.Values[0].(*ast.BasicLit)
		if !ok || !strings.HasPrefix(v.Names[0].Name, "Step") {
			return true
		}
		code, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		rules++
		if meanings[code] == "" {
			t.Errorf("%s (%s) has no meaning in explain.go", v.Names[0].Name, code)
		}
		return true
	})
	if rules < 20 {
		t.Errorf("only %d rules found: has the file moved?", rules)
	}
}
