package nginxgen

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Which file holds which upstream. One file holds all http upstreams, or each has one of its own in a folder; the stream
// upstreams have one file, as they are included elsewhere. A file depends on no other: a mixture of old and new files, as
// a process that is killed may leave it, is as good for nginx as either, as long as what loses upstreams is swapped first.

// perAppPrefix begins the names of the files in a folder, so that none can be one of the user's own.
const perAppPrefix = "tidegate-"

// part is the content that one file shall have.
type part struct {
	files
	text   []byte
	stream bool
	// left: its upstream is not wanted any more. The file is emptied, and may be removed by hand.
	left bool
}

// split renders a model, one part for each file. Files in the folder whose upstream is not in the model become empty.
func (o Options) split(m Model) ([]part, error) {
	var http, stream []Upstream
	for _, u := range m.Upstreams {
		if u.Stream {
			stream = append(stream, u)
		} else {
			http = append(http, u)
		}
	}
	var out []part
	add := func(path string, stream bool, upstreams ...Upstream) error {
		text, err := Render(Model{Upstreams: upstreams})
		out = append(out, part{files: filesFor(path), text: text, stream: stream})
		return err
	}
	switch {
	case o.Folder != "":
		left, err := o.inFolder()
		if err != nil {
			return nil, err
		}
		for _, u := range http {
			path := o.pathOf(u.Name)
			left = slices.DeleteFunc(left, func(p string) bool { return p == path })
			if err := add(path, false, u); err != nil {
				return nil, err
			}
		}
		for _, path := range left {
			if err := add(path, false); err != nil {
				return nil, err
			}
			out[len(out)-1].left = true
		}
	case o.File != "":
		if err := add(o.File, false, http...); err != nil {
			return nil, err
		}
	case len(http) > 0:
		return nil, fmt.Errorf("the upstream %s is for nginx's http block, and no include file for that is named", http[0].Name)
	}
	switch {
	case o.StreamFile != "":
		if err := add(o.StreamFile, true, stream...); err != nil {
			return nil, err
		}
	case len(stream) > 0:
		return nil, fmt.Errorf("the upstream %s is for nginx's stream block, and no include file for that is named", stream[0].Name)
	}
	return out, nil
}

func (o Options) pathOf(upstream string) string {
	return filepath.Join(o.Folder, perAppPrefix+upstream+".conf")
}

// inFolder lists the folder's files that are ours, sorted: those that begin with our first line, or have a last good file.
func (o Options) inFolder() ([]string, error) {
	entries, err := os.ReadDir(o.Folder)
	if err != nil {
		return nil, fmt.Errorf("read the folder of the include files: %w", err)
	}
	var out []string
	for _, e := range entries {
		path := filepath.Join(o.Folder, e.Name())
		if !strings.HasPrefix(e.Name(), perAppPrefix) || !strings.HasSuffix(path, ".conf") {
			continue
		}
		text, err := readFile(path)
		if _, noGood := os.Lstat(filesFor(path).good); err == nil && ours(text) || noGood == nil {
			out = append(out, path)
		}
	}
	return out, nil
}

// sweep removes the staged files that a killed process may have left in the folder.
func (o Options) sweep() {
	if o.Folder == "" {
		return
	}
	stale, _ := filepath.Glob(filepath.Join(o.Folder, "."+perAppPrefix+"*.stage")) // the pattern is good
	for _, path := range stale {
		os.Remove(path)
	}
}

// watched are the folders in which somebody could change a file of ours.
func (o Options) watched() []string {
	var out []string
	for _, dir := range []string{filepath.Dir(o.File), o.Folder, filepath.Dir(o.StreamFile)} {
		if filepath.IsAbs(dir) && !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out
}

// anchors are the paths beside which the lock of each include file or folder lies.
func (o Options) anchors() []files {
	var out []files
	if o.Folder != "" {
		out = append(out, filesFor(filepath.Join(o.Folder, "tidegate")))
	}
	for _, path := range []string{o.File, o.StreamFile} {
		if path != "" {
			out = append(out, filesFor(path))
		}
	}
	return out
}

// modelOf reads back what parts say; false when one of them is not of this version.
func modelOf(parts []part) (Model, bool) {
	var m Model
	for _, p := range parts {
		one, err := Parse(p.text)
		if err != nil {
			return Model{}, false
		}
		for _, u := range one.Upstreams {
			u.Stream = p.stream
			m.Upstreams = append(m.Upstreams, u)
		}
	}
	return m, true
}

// gains tells whether a part has an upstream that its file has not.
func gains(p part, before []byte) bool {
	was, err := Parse(before)
	now, errNow := Parse(p.text)
	if err != nil || errNow != nil {
		return true
	}
	return slices.ContainsFunc(now.Upstreams, func(u Upstream) bool {
		return !slices.ContainsFunc(was.Upstreams, func(w Upstream) bool { return w.Name == u.Name })
	})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
