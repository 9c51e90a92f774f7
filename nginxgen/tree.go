package nginxgen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tufanbarisyildirim/gonginx/config"
)

// Bounds of a user's configuration. nginx itself allows more nesting; no real file needs it.
const (
	maxUserFile  = 8 << 20
	maxUserTotal = 64 << 20
	maxUserFiles = 2000
	maxNesting   = 64
	maxIncludes  = 16
)

// reader walks a user's configuration, includes in their place. It never writes. It follows includes itself: gonginx
// would read them unguarded, takes a missing one for nothing, and shares one tree between two places.
type reader struct {
	confDir  string // relative includes are relative to the main file's folder
	files    int
	bytes    int
	stack    []string
	warnings []string
	// enter decides whether the directives of a block (the path of names, outermost first) are walked.
	enter func(path []string) bool
	// visit sees every directive that is walked.
	visit func(at place, path []string, d config.IDirective)
	// pattern sees every include's absolute pattern.
	pattern func(path []string, pattern string)
}

// place is where a directive stands.
type place struct {
	file string
	scan scan
}

func (r *reader) warn(format string, args ...any) {
	if len(r.warnings) < 200 {
		r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
	}
}

// readTree walks main. An error is about the main file; what is wrong with an included file becomes a warning.
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
	c, s, err := parseText(string(text), parseOptions{maxDepth: maxNesting})
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if s.trouble != "" {
		r.warn("%s: %s; what follows may be missing here", path, s.trouble)
	}
	r.stack = append(r.stack, path)
	r.block(place{path, s}, in, c.GetDirectives())
	r.stack = r.stack[:len(r.stack)-1]
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

func (r *reader) block(at place, path []string, ds []config.IDirective) {
	for _, d := range ds {
		if inc, ok := d.(*config.Include); ok {
			r.include(at, path, unquote(inc.IncludePath))
			continue
		}
		r.visit(at, path, d)
		if b := d.GetBlock(); b != nil {
			inner := append(path[:len(path):len(path)], d.GetName())
			if r.enter(inner) {
				r.block(at, inner, b.GetDirectives())
			}
		}
	}
}

func (r *reader) include(at place, path []string, pattern string) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(r.confDir, pattern)
	}
	if r.pattern != nil {
		r.pattern(path, pattern)
	}
	matches, err := matchInclude(pattern)
	if err != nil {
		r.warn("%s: include %s: %v", at.file, pattern, err)
		return
	}
	for _, m := range matches {
		switch {
		case contains(r.stack, m):
			r.warn("%s: include %s: the file includes itself", at.file, m)
		case len(r.stack) >= maxIncludes:
			r.warn("%s: include %s: includes nest deeper than %d", at.file, m, maxIncludes)
		default:
			if err := r.file(m, path); err != nil {
				r.warn("%s: include: %v", at.file, err)
			}
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
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

// mainSettings returns the pid and the (last) error_log of the main context, "" where there is none. It reads by nginx's
// own rules and without gonginx, which refuses some files that nginx takes: a reload must not hang on that.
func mainSettings(main string) (pid, errorLog string, err error) {
	dir := filepath.Dir(main)
	seen := 0
	var read func(path string, depth int) error
	read = func(path string, depth int) error {
		if seen++; seen > maxUserFiles || depth > maxIncludes {
			return nil
		}
		text, err := readUserFile(path, maxUserFile)
		if err != nil {
			return err
		}
		s, err := scanText(string(text), maxNesting)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, words := range s.main {
			switch {
			case len(words) < 2:
			case words[0] == "pid":
				pid = words[1]
			case words[0] == "error_log":
				errorLog = words[1]
			case words[0] == "include":
				pattern := words[1]
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(dir, pattern)
				}
				// What cannot be read here, nginx itself will speak about.
				matches, _ := matchInclude(pattern)
				for _, m := range matches {
					_ = read(m, depth+1)
				}
			}
		}
		return nil
	}
	err = read(main, 0)
	return pid, errorLog, err
}

// includes tells whether main includes the file live, which need not exist yet, inside an http block.
func includes(main, live string) (bool, error) {
	found := false
	r := &reader{
		enter: func(path []string) bool { return len(path) == 1 && (path[0] == "http" || path[0] == "stream") },
		visit: func(place, []string, config.IDirective) {},
		pattern: func(path []string, pattern string) {
			ok, err := filepath.Match(pattern, live)
			found = found || (err == nil && ok && len(path) == 1)
		},
	}
	err := r.readTree(main)
	return found, err
}
