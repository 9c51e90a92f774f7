package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// drains remembers which applications a person has taken out of service, over restarts when there is a folder.
type drains struct {
	file string

	mu   sync.Mutex
	apps []string
}

// drainsFile is the file's name; it holds a JSON list of names.
const drainsFile = "drained.json"

// loadDrains reads the file; a missing one is an empty list.
func loadDrains(dir string) (*drains, error) {
	if dir == "" {
		return &drains{}, nil
	}
	d := &drains{file: filepath.Join(dir, drainsFile)}
	text, err := os.ReadFile(d.file)
	if errors.Is(err, os.ErrNotExist) {
		return d, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &d.apps)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is drained from %s: %w", d.file, err)
	}
	return d, nil
}

func (d *drains) has(app string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.apps, app)
}

// set remembers one application's state. With an error nothing is changed.
func (d *drains) set(app string, drained bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(d.apps), func(a string) bool { return a == app })
	if drained {
		next = append(next, app)
	}
	slices.Sort(next)
	if d.file != "" {
		if err := d.write(next); err != nil {
			return fmt.Errorf("remember what is drained: %w", err)
		}
	}
	d.apps = next
	return nil
}

func (d *drains) write(apps []string) error {
	text, err := json.Marshal(apps)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(d.file), 0o750); err != nil {
		return err
	}
	// Whole or not at all: the file is made beside and moved over.
	f, err := os.CreateTemp(filepath.Dir(d.file), drainsFile+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), d.file)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error says it
	}
	return err
}
