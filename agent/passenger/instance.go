package passenger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate/agent/proc"
)

// instance is a running Passenger.
type instance struct {
	*api
	name string
	core proc.ID
}

// runs tells whether the core still lives.
func (i *instance) runs(r *proc.Reader) bool { return i != nil && r.Alive(i.core) }

// instances lists the live instances in a registry. Folders of dead ones stay behind after a kill -9.
func instances(r *proc.Reader, registry string) ([]*instance, error) {
	entries, err := os.ReadDir(registry)
	if err != nil {
		return nil, fmt.Errorf("look for Passenger instances: %w", err)
	}
	var all []*instance
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "passenger.") {
			continue
		}
		i, err := open(r, filepath.Join(registry, e.Name()))
		if err != nil {
			return nil, err
		}
		if i != nil {
			all = append(all, i)
		}
	}
	return all, nil
}

// open reads one instance's folder; nil when it is not complete or its core does not run.
func open(r *proc.Reader, dir string) (*instance, error) {
	if _, err := os.Stat(filepath.Join(dir, "creation_finalized")); err != nil {
		return nil, nil
	}
	pid, _, err := proc.ReadPIDFile(filepath.Join(dir, "core.pid"))
	if err != nil {
		return nil, nil // it is being made or removed
	}
	st, err := r.Stat(pid)
	if errors.Is(err, proc.ErrGone) || (err == nil && st.Dead()) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the Passenger core %d of %s: %w", pid, dir, err)
	}
	if title, err := r.Title(pid); err != nil || !strings.HasPrefix(title, "Passenger core") {
		return nil, nil // another process has the pid now
	}
	var properties struct {
		Name string `json:"name"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "properties.json"))
	if err == nil {
		err = json.Unmarshal(b, &properties)
	}
	if err != nil {
		return nil, fmt.Errorf("read the properties of the Passenger instance %s: %w", dir, err)
	}
	return &instance{api: newAPI(dir), name: properties.Name, core: proc.ID{PID: pid, Start: st.Start}}, nil
}
