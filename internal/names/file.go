package names

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
)

// load reads the last good answers. A file that cannot be read costs them alone.
func (r *Resolver) load() {
	if r.file == "" {
		return
	}
	text, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(text, &r.stored)
	}
	if err != nil {
		r.log.Warn("the addresses that names stood for in the last run cannot be read", "error", err)
		return
	}
	maps.Copy(r.known, r.stored)
}

// save writes the answers of the wanted names when they have changed, to a new file that takes the old one's place.
func (r *Resolver) save() {
	if r.file == "" {
		return
	}
	// One writer at a time, and nobody who asks for an address waits for the disk.
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	now := map[string]netip.Addr{}
	for host := range r.wanted {
		if ip, ok := r.known[host]; ok {
			now[host] = ip
		}
	}
	same := maps.Equal(now, r.stored)
	r.mu.Unlock()
	if same {
		return
	}
	err := write(r.file, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken = err; err == nil {
		r.stored = now
	}
}

func write(file string, known map[string]netip.Addr) error {
	text, err := json.Marshal(known)
	if err == nil {
		err = flushed(file+".tmp", append(text, '\n'))
	}
	if err == nil {
		err = os.Rename(file+".tmp", file)
	}
	if err != nil {
		return fmt.Errorf("keep the addresses of names over a restart: %w", err)
	}
	return nil
}

// flushed writes a file whose bytes are on disk when it returns.
func flushed(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
