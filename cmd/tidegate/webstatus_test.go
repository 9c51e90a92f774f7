package main

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
)

func TestNginxLine(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	reload := &api.NginxReload{Time: now.Add(-12 * time.Second), Reason: "membership_loss", TookMS: 118.4}
	failed := *reload
	failed.Error = "the reload failed"
	for want, n := range map[string]*api.Nginx{
		"": nil,
		"nginx: last reload 12s ago (membership_loss, 118 ms)": {LastReload: reload, Held: "small", Why: "not worth it"},
		"nginx: last reload 12s ago (membership_loss, 118 ms) FAILED: the reload failed; 4 generations of old workers; weights held for 4s: only weights change": {
			LastReload: &failed, OldGenerations: 4, Held: "generations", HeldReason: "weights", HeldSince: now.Add(-4 * time.Second), Why: "only weights change"},
		"nginx: DRIFT: /a was edited": {Drift: "/a was edited"},
	} {
		if got := nginxLine(api.Status{Now: now, Nginx: n}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
