package spoa

import "time"

const (
	maxNameLen = 128
	maxNames   = 1024
	// namesResetEvery bounds how often a full table may be emptied, and so how much a flood of names can cost.
	namesResetEvery = time.Minute
)

// Other stands for every name that found no place in a bounded table. No proxy or server can be called so.
const Other = "(other)"

// names turns the bytes of a name into a string, without allocating when the name is known. Each connection has one of
// its own, so that it takes no lock. It is bounded: a full table is emptied, at most once a minute, so that names of
// servers long gone do not stay for ever.
type names struct {
	known map[string]string
	reset time.Time
}

func newNames() *names { return &names{known: map[string]string{}} }

// of returns the name b spells; ok is false when b is not a name at all.
func (n *names) of(now time.Time, b []byte) (name string, ok bool) {
	if s, ok := n.known[string(b)]; ok {
		return s, true
	}
	if !validName(b) {
		return "", false
	}
	if len(n.known) >= maxNames {
		if !n.reset.IsZero() && now.Sub(n.reset) < namesResetEvery {
			return Other, true
		}
		n.reset = now
		clear(n.known)
	}
	s := string(b)
	n.known[s] = s
	return s, true
}

// validName tells whether b could be a HAProxy proxy or server name: 1 to 128 of A-Z a-z 0-9 _ . : -
func validName(b []byte) bool {
	if len(b) == 0 || len(b) > maxNameLen {
		return false
	}
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}
