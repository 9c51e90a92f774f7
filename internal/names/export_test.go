package names

import "time"

// expire makes every name due.
func (r *Resolver) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.wanted {
		a.due = time.Time{}
	}
}
