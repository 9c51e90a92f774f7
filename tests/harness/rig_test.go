package harness

import "testing"

func TestPortsAreNotThoseOfConnections(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first, seen := firstConnectionPort(), map[int]bool{}
	for range 200 {
		port, err := r.Port()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] || port < leastPort || first > 2*leastPort && port >= first {
			t.Fatalf("port %d; connections have those from %d on, and %d were given out before", port, first, len(seen))
		}
		seen[port] = true
	}
}
