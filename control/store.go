package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate/core"
)

// Store keeps the decision core's memory in one JSON file, replaced whole.
type Store struct{ path string }

// stored is the file's format.
type stored struct {
	Version int         `json:"version"`
	Memory  core.Memory `json:"memory"`
}

const storeVersion = 1

// NewStore keeps memory.json in dir, which is made when missing.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	return &Store{path: filepath.Join(dir, "memory.json")}, nil
}

func (s *Store) dir() string { return filepath.Dir(s.path) }

// Load reads the memory; there is none before the first Save. A file that cannot be understood is put aside (.bad), because
// the next Save would overwrite it, and reported: then tidegate starts from what it sees.
func (s *Store) Load() (core.Memory, error) {
	text, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return core.Memory{}, nil
	}
	if err != nil {
		return core.Memory{}, fmt.Errorf("read the memory: %w", err)
	}
	var st stored
	if err := json.Unmarshal(text, &st); err != nil || st.Version != storeVersion {
		if err == nil {
			err = fmt.Errorf("version %d, not %d", st.Version, storeVersion)
		}
		bad := s.path + ".bad"
		return core.Memory{}, errors.Join(fmt.Errorf("understand the memory %s (kept as %s): %w", s.path, bad, err), os.Rename(s.path, bad))
	}
	return st.Memory, nil
}

// Save replaces the file: a temporary file in the same folder, rename, and with sync both the file and the folder are
// flushed, so that the change survives a power cut.
func (s *Store) Save(m core.Memory, sync bool) error {
	text, err := json.Marshal(stored{Version: storeVersion, Memory: m})
	if err != nil {
		return fmt.Errorf("encode the memory: %w", err)
	}
	if err := replaceFile(s.path, text, sync); err != nil {
		return fmt.Errorf("save the memory: %w", err)
	}
	return nil
}

// replaceFile replaces a file whole; with sync it is flushed, and the folder too.
func replaceFile(path string, text []byte, sync bool) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("write a new file: %w", err)
	}
	_, err = f.Write(text)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write a new file: %w", err), os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("put the new file in place: %w", err)
	}
	if !sync {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("flush the folder: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("flush the folder: %w", err)
	}
	return nil
}
