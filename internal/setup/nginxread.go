package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/internal/nginxtok"
)

// Bounds of a user's nginx configuration; nginx itself has none, and no real one needs more.
const (
	maxNginxFile     = 8 << 20
	maxNginxTotal    = 64 << 20
	maxNginxFiles    = 2000
	maxNginxNesting  = 64
	maxNginxIncludes = 16
)

// nginxReader reads a configuration as nginx does, includes in their place.
type nginxReader struct {
	main string
	// texts are the files that were read, by the name nginx opens them under.
	texts map[string]string
	// blocks are the upstream blocks of each file, at whatever depth, as they stand there.
	blocks map[string][]nginxtok.Directive
	files  int
	bytes  int
	stack  []string

	upstreams []*upstream
	current   *upstream // whose block is being read
	includes  []includeLine
	braces    map[string]*bracePlace // of the first http, stream and mail block
	passes    []pass
	// named are the words that a variable may take; they count where a *_pass has a variable.
	named    map[string]bool
	variable bool
	problems []problem
}

// includeLine is an include with its absolute pattern.
type includeLine struct {
	path    []string // the blocks around it, outermost first
	pattern string
}

// bracePlace is where a block's opening brace stands: its line and the byte after it.
type bracePlace struct {
	file       string
	line, body int
}

// pass is a *_pass directive: what it is called, the name or address it passes to, and where it stands.
type pass struct {
	kind, target, place string
	stream              bool
}

func at(file string, line int) string { return file + ":" + strconv.Itoa(line) }

// readNginxTree reads main and all that it includes. The error is one sentence that names the file and, where there is one,
// the line. What does not keep it from reading on, such as a missing include, is among the problems.
func readNginxTree(main string) (*nginxReader, error) {
	fi, err := os.Stat(main)
	if err != nil {
		return nil, fmt.Errorf("read the nginx configuration: %w", err)
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("%s is a folder; name nginx's main file, such as %s", main, filepath.Join(main, "nginx.conf"))
	}
	r := &nginxReader{main: main, texts: map[string]string{}, blocks: map[string][]nginxtok.Directive{}, named: map[string]bool{}, braces: map[string]*bracePlace{}}
	if err := r.file(main, nil); err != nil {
		return nil, err
	}
	if len(r.braces) == 0 {
		return nil, fmt.Errorf("%s has no http block, so it is not nginx's main file; name the one that has it, such as /etc/nginx/nginx.conf", main)
	}
	return r, nil
}

// name is the main file with the number of those that it includes.
func (r *nginxReader) name() string {
	if n := len(r.texts) - 1; n > 0 {
		return fmt.Sprintf("%s with %s that it includes", r.main, count(n, "file"))
	}
	return r.main
}

// file reads one file whose directives stand inside the blocks of path.
func (r *nginxReader) file(name string, path []string) error {
	if r.files++; r.files > maxNginxFiles {
		return fmt.Errorf("%s includes more than %d files", r.main, maxNginxFiles)
	}
	text, err := r.text(name)
	if err != nil {
		return err
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("%s: there is a NUL byte, which no text has", at(name, 1+strings.Count(text[:i], "\n")))
	}
	ds, err := nginxtok.Parse(text, maxNginxNesting)
	var bad *nginxtok.Error
	if errors.As(err, &bad) {
		return fmt.Errorf("%s: this is not what nginx reads: %s", at(name, bad.Line), bad.Text)
	}
	if err != nil {
		return err
	}
	r.texts[name], r.blocks[name] = text, upstreamBlocks(nil, ds)
	r.stack = append(r.stack, name)
	defer func() { r.stack = r.stack[:len(r.stack)-1] }()
	return r.walk(name, path, ds)
}

// text refuses what is not a regular file: opening a named pipe would hang.
func (r *nginxReader) text(name string) (string, error) {
	fi, err := os.Stat(name)
	switch limit := int64(min(maxNginxFile, maxNginxTotal-r.bytes)); {
	case err != nil:
		return "", fmt.Errorf("read the nginx configuration: %w", err)
	case fi.IsDir():
		return "", fmt.Errorf("read the nginx configuration: %s is a folder, and nginx reads files", name)
	case !fi.Mode().IsRegular():
		return "", fmt.Errorf("read the nginx configuration: %s is not a regular file", name)
	case fi.Size() > limit:
		return "", fmt.Errorf("read the nginx configuration: %s has %d bytes, at most %d are allowed here", name, fi.Size(), limit)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read the nginx configuration: %w", err)
	}
	r.bytes += len(text)
	return string(text), nil
}

func upstreamBlocks(out []nginxtok.Directive, ds []nginxtok.Directive) []nginxtok.Directive {
	for _, d := range ds {
		if d.Name() == "upstream" && d.Body > 0 {
			out = append(out, d)
		} else {
			out = upstreamBlocks(out, d.Block)
		}
	}
	return out
}

func (r *nginxReader) walk(file string, path []string, ds []nginxtok.Directive) error {
	for i := range ds {
		d := &ds[i]
		name, inHTTP := d.Name(), len(path) > 0 && path[0] == "http"
		switch {
		case name == "include" && d.Body == 0 && len(d.Words) == 2:
			if err := r.include(file, d, path); err != nil {
				return err
			}
			continue
		case r.current != nil:
			r.current.member(file, d)
			continue
		case name == "upstream" && d.Body > 0 && len(path) == 1 && len(d.Words) == 2:
			if err := r.upstream(file, path, d); err != nil {
				return err
			}
			continue
		case len(path) == 0 && (name == "http" || name == "stream" || name == "mail") && d.Body > 0:
			if r.braces[name] == nil {
				r.braces[name] = &bracePlace{file, d.BodyLine, d.Body}
			}
		case len(path) > 0 && strings.HasSuffix(name, "_pass") && d.Body == 0:
			r.pass(file, d, !inHTTP)
		}
		r.nameWords(path, d)
		if d.Block != nil {
			if err := r.walk(file, append(path[:len(path):len(path)], name), d.Block); err != nil {
				return err
			}
		}
	}
	return nil
}

// include reads the files of an include line. nginx takes its name from the main file's folder.
func (r *nginxReader) include(file string, d *nginxtok.Directive, path []string) error {
	pattern := d.Arg(1)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(r.main), pattern)
	}
	pattern = filepath.Clean(pattern)
	r.includes = append(r.includes, includeLine{path, pattern})
	place := at(file, d.Line)
	names, err := nginxGlob(pattern)
	if err != nil {
		return fmt.Errorf("%s: include %.200q: %w", place, pattern, err)
	}
	for _, name := range names {
		if slices.Contains(r.stack, name) {
			return fmt.Errorf("%s: the include leads back to %s, and nginx would never be done with it", place, name)
		}
		if len(r.stack) >= maxNginxIncludes {
			return fmt.Errorf("%s: includes nest deeper than %d", place, maxNginxIncludes)
		}
		if err := readable(name); err != nil {
			r.problem(haproxy.Error, place, "include %s: %v; nginx does not start like this, and what stands there is not known here", shown(d.Arg(1)), reason(err))
			continue
		}
		if err := r.file(name, path); err != nil {
			return err
		}
	}
	return nil
}

// readable tells why an included file cannot be read, nil when it can.
func readable(name string) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return f.Close()
}

// reason is the last part of an error about a file.
func reason(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (r *nginxReader) problem(sev haproxy.Severity, place, format string, args ...any) {
	if len(r.problems) < 200 {
		r.problems = append(r.problems, problem{sev, place, fmt.Sprintf(format, args...)})
	}
}

// nginxGlob lists the files of an include as nginx does with glob(3): a plain name must be there, a pattern may match
// nothing, and a hidden file or folder is matched only where the pattern itself has the dot.
func nginxGlob(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}, nil
	}
	all, err := filepath.Glob(strings.ReplaceAll(pattern, "[!", "[^"))
	if err != nil {
		return nil, errors.New("the pattern is not understood")
	}
	parts := strings.Split(pattern, "/")
	return slices.DeleteFunc(all, func(name string) bool {
		for i, part := range strings.Split(name, "/") {
			if strings.HasPrefix(part, ".") && i < len(parts) && !strings.HasPrefix(parts[i], ".") {
				return true
			}
		}
		return false
	}), nil
}

func (r *nginxReader) pass(file string, d *nginxtok.Directive, stream bool) {
	target := d.Arg(1)
	if _, rest, ok := strings.Cut(target, "://"); ok {
		target = rest
	}
	target, _, _ = strings.Cut(target, "/")
	if host, _, ok := strings.Cut(target, "$"); ok {
		r.variable = true
		target = host
	}
	r.passes = append(r.passes, pass{d.Name(), strings.ToLower(target), at(file, d.Line), stream})
}

// nameWords notes what variables may hold.
func (r *nginxReader) nameWords(path []string, d *nginxtok.Directive) {
	inside := ""
	if len(path) > 0 {
		inside = path[len(path)-1]
	}
	if d.Name() != "set" && inside != "map" && inside != "geo" && inside != "split_clients" {
		return
	}
	for _, w := range d.Words[1:] {
		word := w.Text
		if _, rest, ok := strings.Cut(word, "://"); ok {
			word = rest
		}
		word, _, _ = strings.Cut(word, "/")
		r.named[strings.ToLower(word)] = true
	}
}
