package passenger

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent/proc"
)

// page is a real pool.xml, shortened.
const page = `<info version="3"><passenger_version>6.0.17</passenger_version><group_count>1</group_count><process_count>1</process_count>` +
	`<max>3</max><capacity_used>1</capacity_used><get_wait_list_size>1</get_wait_list_size><supergroups><supergroup><name>/srv/shop</name>` +
	`<state>READY</state><get_wait_list_size>0</get_wait_list_size><group default="true"><name>/srv/shop (production)</name>` +
	`<app_root>/srv/shop</app_root><get_wait_list_size>2</get_wait_list_size><processes_being_spawned>1</processes_being_spawned>` +
	`<options><app_root>/srv/shop</app_root><min_processes>1</min_processes></options><processes><process><pid>21490</pid>` +
	`<concurrency>1</concurrency><sessions>1</sessions><life_status>ALIVE</life_status><enabled>ENABLED</enabled><cpu>0</cpu>` +
	`</process></processes></group></supergroup></supergroups></info>`

// two is an instance with a second application.
var two = strings.Replace(page, "<supergroups>", `<supergroups><supergroup><group><name>/srv/blog (production)</name><app_root>/srv/blog</app_root></group></supergroup>`, 1)

func TestParsePool(t *testing.T) {
	p, err := parsePool([]byte(page))
	if err != nil || p.Max != 3 || p.Wait != 1 || len(p.Groups) != 1 {
		t.Fatalf("got %+v, %v", p, err)
	}
	g := p.Groups[0]
	if g.Root != "/srv/shop" || g.Wait != 2 || g.Spawning != 1 || g.Least != 1 || len(g.Processes) != 1 {
		t.Fatalf("got %+v", g)
	}
	if w := (process{PID: 21490, Concurrency: 1, Sessions: 1, Life: "ALIVE", Enabled: "ENABLED"}); g.Processes[0] != w || w.leaves() {
		t.Errorf("got %+v", g.Processes[0])
	}
	for _, bad := range []string{"", "Authorization required", "<html></html>", "<info></info>", page[:len(page)-20],
		strings.Replace(page, "<pid>21490", "<pid>1", 1), strings.Replace(page, "<sessions>1", "<sessions>-1", 1), strings.Replace(page, "<max>3", "<max>x", 1)} {
		if p, err := parsePool([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, p)
		}
	}
}

func FuzzPool(f *testing.F) {
	f.Add([]byte(page))
	f.Add([]byte(two))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePool(b); err == nil && (p.Max < 1 || p.Max > maxCount || p.Wait < 0) {
			t.Fatalf("%q was read as %+v", b, p)
		}
	})
}

func TestApplicationsOfOneInstance(t *testing.T) {
	one, err := parsePool([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	both, err := parsePool([]byte(two))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, app, root, err string
		pool                 pool
	}{
		{name: "the only one", pool: one, root: "/srv/shop"},
		{name: "by its root", app: "/srv/shop", pool: both, root: "/srv/shop"},
		{name: "by its group", app: "/srv/blog (production)", pool: both, root: "/srv/blog"},
		{name: "not named", pool: both, err: "there are 2 applications, name one of them"},
		{name: "not there", app: "/srv/wiki", pool: both, err: "the application /srv/wiki is not in Passenger; it has /srv/blog"},
		{name: "before the first request", app: "/srv/shop", pool: pool{Max: 3}},
	} {
		a := New(Options{Registry: "/r", App: c.app})
		g, err := a.find(c.pool)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		case c.err == "" && (err != nil || (g == nil) != (c.root == "") || (g != nil && g.Root != c.root)):
			t.Errorf("%s: %+v, %v", c.name, g, err)
		}
	}
	// They share max_pool_size, so that neither is steered.
	a := New(Options{Registry: "/r", App: "/srv/shop"})
	a.inst, a.pool, a.group, a.known = &instance{api: newAPI("/r/passenger.x")}, both, &both.Groups[1], map[int]proc.ID{}
	if step, err := a.Steer(time.Now(), 5, nil); step != 0 || err == nil || !strings.Contains(err.Error(), "an instance of its own") {
		t.Errorf("with two applications: %d, %v", step, err)
	}
}
