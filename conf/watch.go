package conf

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Watch calls changed when the content of file has changed, and returns when ctx ends. It watches the folder, because
// editors and configuration management replace files by renaming; events are only hints: what counts is the content, looked
// at once the folder has been quiet for a moment, and every thirty seconds anyway. The error is only about starting.
func Watch(ctx context.Context, file string, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the configuration's folder: %w", err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(file)); err != nil {
		return fmt.Errorf("watch the configuration's folder: %w", err)
	}
	const settle, look = 200 * time.Millisecond, 30 * time.Second
	last := fingerprint(file)
	timer := time.NewTimer(look)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			timer.Reset(settle)
		case <-w.Errors:
			// An overflow loses events, not content.
			timer.Reset(settle)
		case <-timer.C:
			timer.Reset(look)
			if now := fingerprint(file); now != last && now != "" {
				last = now
				changed()
			}
		}
	}
}

// fingerprint is "" while the file cannot be read, as in the middle of a replacement.
func fingerprint(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return string(sum[:])
}
