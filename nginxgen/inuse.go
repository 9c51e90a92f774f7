package nginxgen

import (
	"context"
	"slices"
	"time"
)

// An upstream that is not wanted any more may still be named by the user's own files; nginx then refuses a configuration
// without it. Such an upstream stays as it was, so that all others can go on changing, and its leaving is tried again.

// inUse are the upstreams that nginx did not let go of, and when that was tried last.
type inUse struct {
	upstreams []Upstream
	tried     time.Time
}

// leaveAgain is how often it is tried again to leave out an upstream that was still in use: two `nginx -t` each time.
const leaveAgain = 10 * time.Minute

// withInUse is a wish with the upstreams that are still in use.
func (m *Manager) withInUse(now time.Time, want Model) Model {
	if past, known := elapsed(now, m.inUse.tried); !known || past >= leaveAgain {
		m.inUse.upstreams = nil
	}
	for _, u := range m.inUse.upstreams {
		if !want.has(u) {
			want.Upstreams = append(slices.Clip(want.Upstreams), u)
		}
	}
	return want
}

// proveInUse is asked after nginx has refused a change in context. When the change leaves out upstreams that nginx runs
// with, it proves the change that keeps them; the refused one comes back when that does not help either.
func (m *Manager) proveInUse(ctx context.Context, now time.Time, set settings, c change, p proof) (change, proof, error) {
	var kept []Upstream
	for _, u := range m.model.Upstreams {
		if m.modelOK && !m.wish.model.has(u) {
			kept = append(kept, u)
		}
	}
	if len(kept) == 0 {
		return c, p, nil
	}
	full := Model{Upstreams: slices.Concat(m.wish.model.Upstreams, kept)}
	parts, err := m.o.split(full)
	if err != nil {
		return c, p, nil // such as two wishes for one name: the refusal stands
	}
	p.undo()
	p.undo = func() {}
	c.unstage()
	other, _, err := m.compare(parts)
	other.known = c.known
	if err != nil {
		return c, p, err
	}
	q, err := m.prove(ctx, set, other)
	if err != nil || !q.v.ok {
		q.undo()
		return c, p, err
	}
	m.wish = wish{full.normal(), parts, m.wish.changed}
	m.inUse = inUse{kept, now}
	for _, u := range kept {
		m.o.Log.Warn("nginx: an upstream that is not wanted any more stays, as nginx refuses its configuration without it", "upstream", u.Name, "nginx", p.v.text, "again_in", leaveAgain)
	}
	return other, q, nil
}

func (m Model) has(u Upstream) bool {
	return slices.ContainsFunc(m.Upstreams, func(w Upstream) bool { return w.Name == u.Name && w.Stream == u.Stream })
}
