package decision

import (
	"encoding/json"
	"fmt"

	"github.com/tidegate/tidegate/core"
)

// memoryVersion is the version of the memory file that `tidegate run` keeps in its state folder, which is the same.
const memoryVersion = 1

type memoryFile struct {
	Version int         `json:"version"`
	Memory  core.Memory `json:"memory"`
}

// ReadMemory reads a memory file.
func ReadMemory(text []byte) (core.Memory, error) {
	var f memoryFile
	if err := json.Unmarshal(text, &f); err != nil {
		return core.Memory{}, fmt.Errorf("understand the memory: %w", plainly(err))
	}
	if f.Version != memoryVersion {
		return core.Memory{}, fmt.Errorf("understand the memory: it is of version %d, and this is %d", f.Version, memoryVersion)
	}
	return f.Memory, nil
}

// WriteMemory writes a memory file.
func WriteMemory(m core.Memory) ([]byte, error) {
	text, err := json.Marshal(memoryFile{memoryVersion, m})
	if err != nil {
		return nil, fmt.Errorf("write the memory: %w", err)
	}
	return append(text, '\n'), nil
}
