package phpfpm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// ceilingHead begins the ceiling file and tells ours from others.
const ceilingHead = "; tidegate agent writes this file: it is included by the section of the pool "

// maxCeilingFile bounds what is read of a ceiling file, in bytes.
const maxCeilingFile = 4096

// ceiling is the content of a ceiling file.
type ceiling struct {
	// n is pm.max_children, 0 when the file is missing or empty.
	n int
	// changed is when the file was written; zero when it is missing or empty.
	changed time.Time
	// text is the whole content, missing tells that there is no file.
	text    []byte
	missing bool
}

func ceilingText(pool string, n int) []byte {
	return fmt.Appendf(nil, "%s%s\npm.max_children = %d\n", ceilingHead, pool, n)
}

// readCeiling reads a ceiling file. One that is not ours is an error: it may be a person's.
func readCeiling(path, pool string) (ceiling, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return ceiling{missing: true}, nil
	}
	if err != nil {
		return ceiling{}, fmt.Errorf("read the ceiling file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ceiling{}, fmt.Errorf("look at the ceiling file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return ceiling{}, fmt.Errorf("the ceiling file %s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCeilingFile))
	if err != nil {
		return ceiling{}, fmt.Errorf("read the ceiling file: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return ceiling{text: text}, nil
	}
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	value, ok := bytes.CutPrefix(bytes.TrimSpace(rest), []byte("pm.max_children = "))
	n, err := strconv.Atoi(string(value))
	if string(first) != ceilingHead+pool || !ok || err != nil || n < 1 {
		return ceiling{}, fmt.Errorf("the ceiling file %s holds something that tidegate has not written for the pool %s: empty it, or name another file",
			path, pool)
	}
	return ceiling{n: n, changed: info.ModTime(), text: text}, nil
}

// replace puts text into a file in one step: whoever reads it finds all of the old or all of the new content.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tidegate-*")
	if err != nil {
		return fmt.Errorf("write the ceiling file: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error is told already
		return fmt.Errorf("write the ceiling file %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("flush the folder of the ceiling file: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flush the folder of the ceiling file %s: %w", path, err)
	}
	return nil
}

// restore makes the ceiling file what it was.
func (c ceiling) restore(path string) error {
	if c.missing {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("take the new ceiling back: %w", err)
		}
		return nil
	}
	return replace(path, c.text)
}
