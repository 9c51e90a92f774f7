package main

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/conf"
)

// `check --live` wants a maxconn on the lines of servers whose maxconn tidegate steers, and takes a missing server of a dynamic backend.
func TestCheckLooksAtWhatIsSteered(t *testing.T) {
	t.Parallel()
	s := startMoves(t, moveTick,
		moveApp{name: "bare", yaml: "  maxconn: {per_worker: 2}\n  dynamic: {}\n", missing: "n3"},
		moveApp{name: "good", yaml: "  maxconn: {per_worker: 2}\n", server: "maxconn 8"})
	// It is asked about a HAProxy as its configuration made it.
	if err := s.haproxy.Reload(); err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadController(s.file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	_ = checkLive(t.Context(), &out, c, liveOptions{Files: []string{s.rig.Path("haproxy.cfg")}})
	for _, want := range []string{": server n1 has no maxconn; give its line one (maxconn 8)", "backend good is there with 3 server(s)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), ": server n1 has no maxconn"); n != 1 {
		t.Errorf("%d complaints about n1 in\n%s", n, out.String())
	}
}
