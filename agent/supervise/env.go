package supervise

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// environment is a worker's. It has little of the agent's own, which may hold what is none of the application's business.
type environment map[string]string

// take copies variables of the agent's environment that are set.
func (e environment) take(names ...string) {
	for _, name := range names {
		if v, ok := os.LookupEnv(name); ok {
			e[name] = v
		}
	}
}

func (e environment) list() []string {
	out := make([]string, 0, len(e))
	for k, v := range e {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// maxEnv bounds an environment file, in bytes.
const maxEnv = 64 << 10

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// read takes the NAME=VALUE lines of a file. Empty lines and those that begin with # are skipped; a value in quotes, single
// or double, is what stands between them. Nothing is substituted.
func (e environment) read(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read the workers' environment: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxEnv {
		return fmt.Errorf("read the workers' environment: %s is not a file of at most %d bytes", path, maxEnv)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the workers' environment: %w", err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !envName.MatchString(name) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("read the workers' environment: line %d of %s is not NAME=VALUE", n, path)
		}
		if q := len(value); q >= 2 && (value[0] == '"' || value[0] == '\'') && value[q-1] == value[0] {
			value = value[1 : q-1]
		}
		e[name] = value
	}
	return nil
}
