package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidegate/tidegate/core"
)

// Journal is an append-only file of JSON lines: what each turn saw, what was decided and why, and each outcome. At MaxBytes the file is
// renamed to journal.1.jsonl and begun anew.
type Journal struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
	// begun counts the files that were begun.
	begun int
}

// JournalMaxBytes is the size at which the journal rotates: with the file before it takes twice that of the disk.
const JournalMaxBytes = 64 << 20

// Entry is one line. Kind "decision" carries Observation and Plan; kind "outcome" carries Action and Error; kind "start" carries Start, and
// kind "turn" carries Seen, for a replay.
type Entry struct {
	Time        time.Time     `json:"time"`
	Kind        string        `json:"kind"`
	App         string        `json:"app,omitempty"`
	Observation *core.AppObs  `json:"observation,omitempty"`
	Plan        *core.AppPlan `json:"plan,omitempty"`
	Action      *core.Action  `json:"action,omitempty"`
	Detail      string        `json:"detail,omitempty"`
	Error       string        `json:"error,omitempty"`
	Start       *Start        `json:"start,omitempty"`
	Seen        *Seen         `json:"seen,omitempty"`
}

// Start is what the turns that follow begin with: the first in a file, after a start of tidegate, after a reload, and after lines that
// could not be written.
type Start struct {
	// Version is the program's.
	Version string      `json:"version"`
	Policy  core.Policy `json:"policy"`
	Memory  core.Memory `json:"memory"`
}

// NewJournal appends to journal.jsonl in dir.
func NewJournal(dir string, maxBytes int64) *Journal {
	return &Journal{path: filepath.Join(dir, "journal.jsonl"), max: maxBytes}
}

// Append writes one line. An error leaves the journal usable: the next Append tries again.
func (j *Journal) Append(e Entry) error { return j.appendAtMost(e, math.MaxInt64) }

// appendAtMost is Append for a line that may be too long to be written.
func (j *Journal) appendAtMost(e Entry, most int64) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode a journal entry: %w", err)
	}
	if int64(len(line)) > most {
		return errLargeState
	}
	line = append(line, '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil && j.size > 0 && j.size+int64(len(line)) > j.max {
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
	j.begun++
	return nil
}

// roomForTurn rotates a file that is nearly full, so that a turn's lines mostly stand in one file, and returns the number of the file that
// the next line goes to.
func (j *Journal) roomForTurn() (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		if err := j.open(); err != nil {
			return 0, err
		}
	}
	if j.size < j.max-j.max/16 {
		return j.begun, nil
	}
	return j.begun + 1, j.rotate()
}

// inFile is the number of the file that the last line went to.
func (j *Journal) inFile() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.begun
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
