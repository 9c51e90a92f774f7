package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidegate/tidegate/core"
)

// Journal is an append-only file of JSON lines: each turn that decided or did something, with what was seen, what was decided
// and why, and each outcome. At MaxBytes the file is renamed to journal.1.jsonl and begun anew.
type Journal struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// JournalMaxBytes is the size at which the journal rotates.
const JournalMaxBytes = 16 << 20

// Entry is one line. Kind "decision" carries Observation and Plan; kind "outcome" carries Action and Error.
type Entry struct {
	Time        time.Time     `json:"time"`
	Kind        string        `json:"kind"`
	App         string        `json:"app,omitempty"`
	Observation *core.AppObs  `json:"observation,omitempty"`
	Plan        *core.AppPlan `json:"plan,omitempty"`
	Action      *core.Action  `json:"action,omitempty"`
	Detail      string        `json:"detail,omitempty"`
	Error       string        `json:"error,omitempty"`
}

// NewJournal appends to journal.jsonl in dir.
func NewJournal(dir string, maxBytes int64) *Journal {
	return &Journal{path: filepath.Join(dir, "journal.jsonl"), max: maxBytes}
}

// Append writes one line. An error leaves the journal usable: the next Append tries again.
func (j *Journal) Append(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode a journal entry: %w", err)
	}
	line = append(line, '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil && j.size+int64(len(line)) > j.max {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	if j.file == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	n, err := j.file.Write(line)
	j.size += int64(n)
	if err != nil {
		// A half-written line must not swallow the next one.
		if n > 0 {
			err = errors.Join(err, j.file.Truncate(j.size-int64(n)))
			j.size -= int64(n)
		}
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *Journal) open() error {
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("look at the journal: %w", err), f.Close())
	}
	j.file, j.size = f, info.Size()
	return nil
}

func (j *Journal) rotate() error {
	err := j.file.Close()
	j.file = nil
	old := filepath.Join(filepath.Dir(j.path), "journal.1.jsonl")
	if err := errors.Join(err, os.Rename(j.path, old)); err != nil {
		return fmt.Errorf("rotate the journal: %w", err)
	}
	return nil
}

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
