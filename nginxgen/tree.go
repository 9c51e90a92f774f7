package nginxgen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/internal/nginxtok"
)

// Bounds of a user's configuration. nginx itself allows more nesting; no real file needs it.
const (
	maxUserFile  = 8 << 20
	maxUserTotal = 64 << 20
	maxUserFiles = 2000
	maxNesting   = 64
	maxIncludes  = 16
)

// reader walks a user's configuration by nginx's own rules, includes in their place. It never writes. gonginx refuses some
// files that nginx takes, so it has no part in this: a reload must not hang on that.
type reader struct {
	confDir string // relative includes are relative to the main file's folder
	files   int
	bytes   int
	stack   []string
	// enter decides whether the directives of a block are walked; path are the names around them, outermost first.
	enter func(path []string) bool
	// visit sees every directive that is walked, pattern every include's absolute pattern.
	visit   func(path []string, d *nginxtok.Directive)
	pattern func(path []string, pattern string)
}

// readTree walks main. An error is about the main file; of what is wrong with an included file, nginx itself will speak.
func (r *reader) readTree(main string) error {
	r.confDir = filepath.Dir(main)
	return r.file(main, nil)
}

func (r *reader) file(path string, in []string) error {
	r.files++
	if r.files > maxUserFiles {
		return fmt.Errorf("more than %d files are included", maxUserFiles)
	}
	text, err := readUserFile(path, min(maxUserFile, maxUserTotal-r.bytes))
	if err != nil {
		return err
	}
	r.bytes += len(text)
	ds, err := nginxtok.Parse(string(text), maxNesting)
	r.stack = append(r.stack, path)
	r.block(in, ds)
	r.stack = r.stack[:len(r.stack)-1]
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// readUserFile refuses what is not a regular file: opening a named pipe would hang.
func readUserFile(path string, limit int) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at the nginx configuration: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is not a regular file", path)
	}
	if fi.Size() > int64(limit) {
		return nil, fmt.Errorf("read %s: it has %d bytes, at most %d are allowed here", path, fi.Size(), limit)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the nginx configuration: %w", err)
	}
	return text, nil
}

func (r *reader) block(path []string, ds []nginxtok.Directive) {
	for i := range ds {
		d := &ds[i]
		if d.Name() == "include" && d.Body == 0 {
			r.include(path, d.Arg(1))
			continue
		}
		r.visit(path, d)
		if d.Body > 0 {
			if inner := append(path[:len(path):len(path)], d.Name()); r.enter(inner) {
				r.block(inner, d.Block)
			}
		}
	}
}

func (r *reader) include(path []string, pattern string) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(r.confDir, pattern)
	}
	r.pattern(path, pattern)
	matches, _ := matchInclude(pattern)
	for _, m := range matches {
		if !slices.Contains(r.stack, m) && len(r.stack) < maxIncludes {
			_ = r.file(m, path)
		}
	}
}

// matchInclude does what nginx's glob does: a pattern may match nothing, a plain name may not be missing, and a hidden
// file is matched only by a pattern that begins with the dot.
func matchInclude(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		if _, err := os.Stat(pattern); err != nil {
			return nil, errors.New("there is no such file, nginx will not start without it")
		}
		return []string{pattern}, nil
	}
	all, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range all {
		if !strings.HasPrefix(filepath.Base(m), ".") || strings.HasPrefix(filepath.Base(pattern), ".") {
			out = append(out, m)
		}
	}
	return out, nil
}

// mainSettings returns the pid and the (last) error_log of the main context, "" where there is none. A mistake after the pid
// is for nginx to speak of: the nginx that runs has read an earlier text.
func mainSettings(main string) (pid, errorLog string, err error) {
	r := &reader{
		enter: func([]string) bool { return false },
		visit: func(_ []string, d *nginxtok.Directive) {
			switch {
			case d.Body > 0 || len(d.Words) < 2:
			case d.Name() == "pid":
				pid = d.Arg(1)
			case d.Name() == "error_log":
				errorLog = d.Arg(1)
			}
		},
		pattern: func([]string, string) {},
	}
	err = r.readTree(main)
	if bad := (*nginxtok.Error)(nil); pid != "" && errors.As(err, &bad) {
		err = nil
	}
	return pid, errorLog, err
}

// includes tells whether main includes the file live, which need not exist yet, directly inside the http or stream block.
func includes(main, live string) (bool, error) {
	found := false
	r := &reader{
		enter: func(path []string) bool { return len(path) == 1 && (path[0] == "http" || path[0] == "stream") },
		visit: func([]string, *nginxtok.Directive) {},
		pattern: func(path []string, pattern string) {
			ok, err := filepath.Match(pattern, live)
			found = found || (err == nil && ok && len(path) == 1)
		},
	}
	err := r.readTree(main)
	return found, err
}
