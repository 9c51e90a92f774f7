package filemarks

import (
	"bytes"

	"github.com/tidegate/tidegate/agent/proc"
)

// mark is what a mark's file name says (conf/marks has the protocol).
type mark struct {
	// kind is 'b' for a request in progress, 'w' for a process that can serve.
	kind byte
	proc proc.ID
	seq  uint64
}

// parseMark reads "b.PID.START.SEQ" or "w.PID.START". Numbers have one spelling only, so that no two names mean the same.
func parseMark(name []byte) (mark, bool) {
	if len(name) < 5 || len(name) > 64 || name[1] != '.' || (name[0] != 'b' && name[0] != 'w') {
		return mark{}, false
	}
	m := mark{kind: name[0]}
	pid, rest, _ := bytes.Cut(name[2:], []byte{'.'})
	start, seq, more := bytes.Cut(rest, []byte{'.'})
	if more != (m.kind == 'b') {
		return mark{}, false
	}
	n, ok := proc.Number(pid, proc.MaxPID)
	if !ok || n == 0 {
		return mark{}, false
	}
	m.proc.PID = int(n)
	if m.proc.Start, ok = proc.Number(start, 1<<62); !ok {
		return mark{}, false
	}
	if m.kind == 'b' {
		m.seq, ok = proc.Number(seq, 1<<62)
	}
	return m, ok
}
