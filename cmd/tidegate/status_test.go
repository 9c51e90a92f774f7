package main

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/api"
)

// An age that comes from the counters is said to be one at least, and less than a second of it is not told.
func TestTheStatusTellsHowLongTheOldestIsOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		app  api.App
		want string
	}{
		"arrivals are told":    {api.App{InFlight: 3, OpenKnown: 3, OldestOpenMS: 2345}, "3 in flight, 0 queued, the oldest for 2.3 s"},
		"from the counters":    {api.App{InFlight: 3, OpenKnown: -1, OldestOpenMS: 12_345}, "3 in flight, 0 queued, the oldest for at least 12 s"},
		"it may be young":      {api.App{InFlight: 3, OpenKnown: -1, OldestOpenMS: 900}, "3 in flight, 0 queued"},
		"nothing is open":      {api.App{OpenKnown: 0}, "0 in flight, 0 queued"},
		"HAProxy told nothing": {api.App{OpenKnown: -1, OldestOpenMS: -1}, "0 in flight, 0 queued"},
	} {
		tt.app.TrafficAgeMS = -1
		if got := appLine(tt.app); !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s: %q does not end in %q", name, got, tt.want)
		}
	}
}
