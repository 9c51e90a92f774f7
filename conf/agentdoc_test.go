package conf

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// docs/configuration.md has each key of an agent's file, once, and no other.
func TestEachKeyOfTheAgentIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(text), "## The node agent:")
	got := documented(part)
	if want := agentKeysOf(reflect.TypeFor[rawAgent](), "", nil); !slices.Equal(got, want) {
		for _, k := range want {
			if n := strings.Count("\n"+strings.Join(got, "\n")+"\n", "\n"+k+"\n"); n != 1 {
				t.Errorf("%s is in %d rows, want 1", k, n)
			}
		}
		for _, k := range got {
			if !slices.Contains(want, k) {
				t.Errorf("the key %s is documented and does not exist", k)
			}
		}
	}
}

// documented lists the keys in the first cells of the tables, those of a table of its own with its name before them.
func documented(text string) []string {
	var keys []string
	prefix := ""
	for line := range strings.Lines(text) {
		if _, name, ok := strings.Cut(line, "## `"); ok {
			name, _, _ = strings.Cut(name, "`")
			prefix = strings.TrimSuffix(name, "[]") + "."
			if prefix != "apps." {
				prefix = "apps." + prefix
			}
		}
		if strings.HasPrefix(line, "| key of a server") {
			prefix = "apps."
		}
		cell, ok := strings.CutPrefix(line, "| `")
		if !ok || prefix == "apps." && strings.HasPrefix(line, "| `gunicorn`, ") {
			continue // the row that names the sections
		}
		cell, _, _ = strings.Cut(cell, "` |")
		group := ""
		for _, key := range strings.Split(cell, "`, `") {
			if dot := strings.LastIndex(key, "."); dot == 0 {
				key = group + key
			} else if dot > 0 {
				group = key[:dot]
			}
			keys = append(keys, prefix+key)
		}
	}
	slices.Sort(keys)
	return keys
}

// agentKeysOf lists the keys that a type takes; the bounds of workers and the list of apps are one key.
func agentKeysOf(typ reflect.Type, prefix string, keys []string) []string {
	for _, field := range reflect.VisibleFields(typ) {
		key, inner := prefix+field.Tag.Get("yaml"), field.Type
		if key == "apps" {
			keys = append(keys, key)
		}
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[rawWorkers]() {
			keys = agentKeysOf(inner, key+".", keys)
		} else {
			keys = append(keys, key)
		}
	}
	if prefix == "" {
		slices.Sort(keys)
	}
	return keys
}

// Each example in docs/app-servers.md is an agent's file but for its first line.
func TestExamplesOfAppServersAreGood(t *testing.T) {
	text, err := os.ReadFile("../docs/app-servers.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	token, file := dir+"/token", dir+"/agent.yaml"
	if err := os.WriteFile(token, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(text), "```yaml\n")[1:]
	for _, example := range examples {
		example, _, _ = strings.Cut(example, "```")
		example = "node: n1\n" + strings.ReplaceAll(example, "/etc/tidegate/puma-token", token)
		if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadAgent(file); err != nil {
			t.Errorf("%s%v", example, err)
		}
	}
	if len(examples) < len(agentServers) {
		t.Errorf("%d examples of %d servers", len(examples), len(agentServers))
	}
}
