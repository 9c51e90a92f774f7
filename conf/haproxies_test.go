package conf

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSeveralHAProxies(t *testing.T) {
	c, err := LoadController("testdata/good/load-balancers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []HAProxy{
		{Name: "lb1", Socket: "unix:/run/haproxy/admin.sock", Timeout: 2 * time.Second},
		{Name: "lb2", Socket: "10.0.0.2:9999", Remote: true, Timeout: 500 * time.Millisecond},
	}
	if diff := cmp.Diff(want, c.HAProxy); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for app, on := range map[int][2]bool{0: {true, true}, 1: {false, true}} {
		for i := range on {
			if c.Apps[app].On(c.HAProxy[i]) != on[i] {
				t.Errorf("app %d on %s: %v", app, c.HAProxy[i].Name, !on[i])
			}
		}
	}
}
