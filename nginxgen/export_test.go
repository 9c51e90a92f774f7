package nginxgen

// WithoutNamespace makes a manager work as a process without CAP_SYS_ADMIN does.
func (m *Manager) WithoutNamespace() *Manager {
	m.noNamespace = true
	return m
}

// UsesNamespace tells whether no mount namespace has been refused so far.
func (m *Manager) UsesNamespace() bool { return !m.noNamespace }
