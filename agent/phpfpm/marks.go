package phpfpm

import (
	"io"

	"github.com/tidegate/tidegate/agent/adapter"
)

// WithMarks is a source of marks (conf/marks/php) for a pool. A child of php-fpm has no readiness mark before its first
// request, although it can serve.
func WithMarks(s adapter.Source) adapter.Source { return marked{s} }

type marked struct{ adapter.Source }

// Count leaves out who has said that it can serve.
func (m marked) Count(f *adapter.Family) (adapter.Count, error) {
	c, err := m.Source.Count(f)
	c.Booted, c.TellsBoot = nil, false
	return c, err
}

// Owns is what the source owns.
func (m marked) Owns() []string {
	if o, ok := m.Source.(adapter.Owner); ok {
		return o.Owns()
	}
	return nil
}

// Close closes the source.
func (m marked) Close() error {
	if c, ok := m.Source.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
