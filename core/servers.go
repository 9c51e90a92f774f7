package core

import (
	"encoding/json"
	"slices"
	"strings"
)

// Servers is the memory of an app's servers by name, in the order of the policy of the turn that wrote it. It is a list, not a map,
// because each turn reads every server: one after the other costs a small part of a lookup each. In JSON it is an object.
type Servers []NamedServer

// NamedServer is the memory of one server.
type NamedServer struct {
	Name string
	ServerMemory
}

// Of is the memory of a server, the zero value when there is none.
func (s Servers) Of(name string) ServerMemory {
	if m, known := s.at(0, name); known {
		return *m
	}
	return ServerMemory{}
}

// at is Of for the server that probably stands at place i.
func (s Servers) at(i int, name string) (*ServerMemory, bool) {
	if i < len(s) && s[i].Name == name {
		return &s[i].ServerMemory, true
	}
	for k := range s {
		if s[k].Name == name {
			return &s[k].ServerMemory, true
		}
	}
	return nil, false
}

// MarshalJSON writes an object, a server's memory by its name.
func (s Servers) MarshalJSON() ([]byte, error) {
	if s == nil {
		return []byte("null"), nil
	}
	byName := make(map[string]ServerMemory, len(s))
	for i := range s {
		byName[s[i].Name] = s[i].ServerMemory
	}
	return json.Marshal(byName)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Servers) UnmarshalJSON(text []byte) error {
	var byName map[string]ServerMemory
	if err := json.Unmarshal(text, &byName); err != nil {
		return err
	}
	*s = nil
	if byName != nil {
		*s = make(Servers, 0, len(byName))
	}
	for name, m := range byName {
		*s = append(*s, NamedServer{name, m})
	}
	slices.SortFunc(*s, func(a, b NamedServer) int { return strings.Compare(a.Name, b.Name) })
	return nil
}
