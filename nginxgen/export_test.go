package nginxgen

import "errors"

// WithoutNamespace makes a manager work as a process without CAP_SYS_ADMIN does.
func (m *Manager) WithoutNamespace() *Manager {
	m.noNamespace = true
	return m
}

// At has f told each step of a change.
func (m *Manager) At(f func(step string)) *Manager {
	m.at = f
	return m
}

// UsesNamespace tells whether no mount namespace has been refused so far.
func (m *Manager) UsesNamespace() bool { return !m.noNamespace }

// NamespaceAllowed tells whether the kernel lets this process have a private mount namespace; a root without that right, as
// in many containers, proves by swapping instead.
func NamespaceAllowed(file string) bool {
	return !errors.Is(withFilesOver([]cover{{file, file}}, func() {}), errNoNamespace)
}

// Files are the include files of a model.
func Files(o Options, m Model) map[string][]byte {
	parts, err := o.split(m)
	if err != nil {
		panic(err)
	}
	out := map[string][]byte{}
	for _, p := range parts {
		out[p.live] = p.text
	}
	return out
}

// Resolves lets the tests judge versions.
var Resolves = resolves
