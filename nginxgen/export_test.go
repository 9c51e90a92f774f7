package nginxgen

import "errors"

// WithoutNamespace makes a manager work as a process without CAP_SYS_ADMIN does.
func (m *Manager) WithoutNamespace() *Manager {
	m.noNamespace = true
	return m
}

// UsesNamespace tells whether no mount namespace has been refused so far.
func (m *Manager) UsesNamespace() bool { return !m.noNamespace }

// NamespaceAllowed tells whether the kernel lets this process have a private mount namespace; a root without that right, as
// in many containers, proves by swapping instead.
func NamespaceAllowed(file string) bool {
	return !errors.Is(withFileOver(file, file, func() {}), errNoNamespace)
}

// Resolves lets the tests judge versions.
var Resolves = resolves
