package setup

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate/conf"
)

// ExistsError names the files that Write would have overwritten; nothing was written.
type ExistsError struct{ Files []string }

// Error is one sentence.
func (e *ExistsError) Error() string {
	verb := "exists"
	if len(e.Files) > 1 {
		verb = "exist"
	}
	return fmt.Sprintf("%s already %s, and init never overwrites: nothing was written; name another folder with --out, or move the old files away", strings.Join(e.Files, ", "), verb)
}

// Write writes all files, or none: after an error the folder is as it was before. It makes the folder and its parents.
func (p *Plan) Write() (err error) {
	if err := p.refuse(); err != nil {
		return err
	}
	var made []string // to be taken back, last first
	defer func() {
		if err == nil {
			return
		}
		for i := len(made) - 1; i >= 0; i-- {
			if rerr := os.Remove(made[i]); rerr != nil {
				err = errors.Join(err, fmt.Errorf("take back what was written: %w", rerr))
			}
		}
	}()
	for _, dir := range missing(p.Out) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make the folder: %w", err)
		}
		made = append(made, dir)
	}
	for _, f := range p.Files {
		path := filepath.Join(p.Out, f.Name)
		created, err := create(path, f)
		if created {
			made = append(made, path)
		}
		if err != nil {
			return err
		}
	}
	return p.check()
}

// refuse finds the files that are there already, links that lead nowhere among them.
func (p *Plan) refuse() error {
	var there []string
	for _, f := range p.Files {
		path := filepath.Join(p.Out, f.Name)
		_, err := os.Lstat(path)
		switch {
		case err == nil:
			there = append(there, path)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("look at the folder to write to: %w", err)
		}
	}
	if len(there) > 0 {
		return &ExistsError{there}
	}
	return nil
}

// missing lists the folders to make, outermost first.
func missing(dir string) []string {
	if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
		return nil
	}
	return append(missing(filepath.Dir(dir)), dir)
}

// create never opens a file that is there.
func create(path string, f File) (created bool, err error) {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode)
	if err != nil {
		return false, fmt.Errorf("create the file: %w", err)
	}
	_, err = w.WriteString(f.Text)
	if err := errors.Join(err, w.Close()); err != nil {
		return true, fmt.Errorf("write %s: %w", path, err)
	}
	return true, nil
}

// check loads tidegate's own files as `tidegate check` does.
func (p *Plan) check() error {
	for _, f := range p.Files {
		if !strings.HasSuffix(f.Name, ".yaml") {
			continue
		}
		if _, _, err := conf.Load(filepath.Join(p.Out, f.Name)); err != nil {
			// conf's own type would look like the user's mistake.
			return fmt.Errorf("what would be written is not a good configuration, so nothing was written; please report this: %s", err)
		}
	}
	return nil
}

// NewToken makes a secret of 256 bits.
func NewToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
