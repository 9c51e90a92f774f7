package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree lists everything below a folder.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWritesAllOrNothing(t *testing.T) {
	two := []File{{Name: "a", Text: "a", Mode: 0o644}, {Name: "b", Text: "b", Mode: 0o600}}
	for name, c := range map[string]struct {
		before func(dir string) error
		files  []File
		want   string
	}{
		"a file is there": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "b"), nil, 0o600) }, two, "b already exists, and init never overwrites"},
		"a link is there": {func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "a")) }, two, "a already exists"},
		"both are there": {func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o700), os.Mkdir(filepath.Join(dir, "b"), 0o700))
		}, two, "b already exist,"},
		// A name in a folder that is not there fails like a disk that is full: after others have been written.
		"the last cannot be written": {nil, append(slices.Clone(two), File{Name: "no/c", Mode: 0o644}), "create the file"},
		"the result is no good":      {nil, append(slices.Clone(two), File{Name: "c.yaml", Text: "apps: []", Mode: 0o644}), "please report this"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := &Plan{Out: filepath.Join(dir, "x"), Files: c.files}
			if c.before != nil {
				p.Out = dir
				if err := c.before(dir); err != nil {
					t.Fatal(err)
				}
			} else {
				p.Out = filepath.Join(dir, "x", "y")
			}
			was := tree(t, dir)
			err := p.Write()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v; want %q", err, c.want)
			}
			var exists *ExistsError
			if errors.As(err, &exists) != (c.before != nil) {
				t.Errorf("the kind of error is %T", err)
			}
			if now := tree(t, dir); !slices.Equal(was, now) {
				t.Errorf("left behind: %v, before %v", now, was)
			}
		})
	}
	p := &Plan{Out: filepath.Join(t.TempDir(), "file", "x"), Files: two}
	if err := os.WriteFile(filepath.Dir(p.Out), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(); err == nil {
		t.Error("a folder below a file was made")
	}
}

func TestTokensAreLongAndDiffer(t *testing.T) {
	if a, b := NewToken(), NewToken(); a == b || len(a) != 64 {
		t.Errorf("%d characters, equal: %v", len(a), a == b)
	}
}
