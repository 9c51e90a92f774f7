package systemd

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// site is an application whose workers are units of a fake systemd, and an agent for it.
type site struct {
	agentrig.Site
	fake *fakeManager
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel()
	harness.Need(t, "python3")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	middleware, err := filepath.Abs("../../conf/marks/wsgi")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"wsgi/app.py": harness.AppPy, "worker.py": harness.WorkerPy} {
		if _, err := rig.Write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	marks := rig.Path("marks", "shop")
	if err := os.MkdirAll(marks, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &site{Site: agentrig.Site{T: t, Rig: rig, URL: "http://" + addr}}
	s.fake = newFake(t, addr, []string{"python3", rig.Path("worker.py")}, []string{"PYTHONPATH=" + rig.Path("wsgi") + ":" + middleware,
		"MARKS=" + marks, "PYTHONDONTWRITEBYTECODE=1", "NOTIFY=1", "TIDEGATE_WORKER=0"}, rig.Path("notify"))
	s.App = agent.App{Name: "shop", Source: filemarks.New(marks), Min: 0, Max: 6,
		Actuator: New(Options{Unit: "shop@%d.service", Min: 0, Max: 6, Connect: s.fake.connect})}
	s.StartAgent()
	return s
}

// units waits until these and no others are not inactive.
func (s *site) units(want map[string]string) {
	s.T.Helper()
	s.WaitFor("units "+cmp.Diff(map[string]string{}, want), func() bool { return cmp.Equal(want, s.fake.states()) })
}

func TestCountsAndCyclesOfUnits(t *testing.T) {
	s := newSite(t)
	s.Settled(0)
	s.Target(3)
	s.Settled(3)
	s.units(map[string]string{"shop@1.service": "active", "shop@2.service": "active", "shop@3.service": "active"})
	s.Counts(3, "/?ms=1500")
	times := 5
	if os.Getenv("TIDEGATE_TEST_CYCLES") != "" {
		times = 12
	}
	s.Cycles(times, 1, 2, 100, "/?ms=5")
	if units := s.fake.states(); len(units) != 1 {
		t.Errorf("units after the cycles: %v", units)
	}
}

func TestDrainingUnits(t *testing.T) {
	s := newSite(t)
	s.Target(2)
	s.Settled(2)
	end := s.Begin(2, "/?ms=2500")
	s.Wait("both busy", func(r agent.AppReport) bool { return r.Busy == 2 })
	s.Target(1)
	r := s.Wait("one draining", func(r agent.AppReport) bool { return r.Draining == 1 })
	if r.Ready != 1 || r.Total != 2 {
		t.Errorf("while one drains: %+v", r)
	}
	end()
	s.Settled(1)
	// What a human starts counts; the target stands.
	if _, err := s.fake.startUnit("shop@5.service", "replace"); err != nil {
		t.Fatal(err)
	}
	s.WaitFor("one unit too many to leave", func() bool { return s.fake.states()["shop@5.service"] == "" })
	s.Settled(1)
	// What a human stops is not started again as long as there are others.
	s.Target(2)
	s.Settled(2)
	if _, err := s.fake.stopUnit("shop@1.service", "replace"); err != nil {
		t.Fatal(err)
	}
	s.units(map[string]string{"shop@2.service": "active", "shop@3.service": "active"})
	s.Settled(2)
	// Units that are none of the template's numbers are left alone.
	for _, name := range []string{"shop@0.service", "shop@01.service", "shop@x.service"} {
		if _, err := s.fake.startUnit(name, "replace"); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	if r := s.Report(); r.Total != 2 {
		t.Errorf("foreign instances count: %+v", r)
	}
}

func TestTheBusGoesAndComesBack(t *testing.T) {
	s := newSite(t)
	s.Target(2)
	s.Settled(2)
	before := s.fake.states()
	s.fake.hangUp(true)
	r := s.Wait("the connection to be missed", func(r agent.AppReport) bool { return !r.WorkersKnown })
	if !strings.Contains(r.Problem, "systemd") {
		t.Errorf("without a bus: %+v", r)
	}
	s.Target(3)
	s.fake.set(func() { s.fake.down = false })
	s.Settled(3)
	for name := range before {
		if s.fake.states()[name] != "active" {
			t.Errorf("%s did not stay", name)
		}
	}
	// A manager that answers nobody (as while it loads its units again) is no manager without units.
	s.fake.set(func() { s.fake.silent = true })
	s.Wait("the silence to be noticed", func(r agent.AppReport) bool { return !r.WorkersKnown && strings.Contains(r.Problem, "does not answer") })
	s.fake.set(func() { s.fake.silent = false })
	s.Settled(3)
}

func TestWhatSystemdRefuses(t *testing.T) {
	t.Parallel()
	f := newFake(t, "", nil, nil, "")
	for name, want := range map[string]string{
		"org.freedesktop.systemd1.NoSuchUnit":                         "start shop@1.service: systemd does not know it; is the template installed",
		"org.freedesktop.systemd1.UnitMasked":                         "start shop@1.service: it is masked",
		"org.freedesktop.DBus.Error.AccessDenied":                     "polkit must allow",
		"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": "polkit must allow",
		"org.freedesktop.systemd1.SomethingNew":                       "start shop@1.service: no",
	} {
		f.set(func() { f.deny = map[string]string{"*": name} })
		u := New(Options{Unit: "shop@%d.service", Max: 1, Connect: f.connect})
		now := time.Now()
		if _, err := u.Observe(now); err != nil {
			t.Fatal(err)
		}
		step, err := u.Steer(now, 1, nil)
		if step != 0 || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: step %d, %v, want %q", name, step, err, want)
		}
		// It stands in the report, and is not tried at each look.
		w, err := u.Observe(now.Add(300 * time.Millisecond))
		if err != nil || !strings.Contains(w.Problem, want) || !strings.Contains(w.Problem, "no start is tried before") {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
		if step, err := u.Steer(now.Add(300*time.Millisecond), 1, nil); step != 0 || err != nil {
			t.Errorf("%s: tried again at once: %d, %v", name, step, err)
		}
		if step, err := u.Steer(now.Add(300*time.Millisecond), adapter.NoTarget, nil); step != 0 || err != nil {
			t.Errorf("%s: without a target: %d, %v", name, step, err)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}

// One masked instance is passed over; failed ones are reset, told, and tried again after a while.
func TestFailedAndMaskedUnits(t *testing.T) {
	s := newSite(t)
	s.fake.set(func() { s.fake.deny["shop@1.service"] = "org.freedesktop.systemd1.UnitMasked" })
	s.Target(1)
	s.Settled(1)
	s.units(map[string]string{"shop@2.service": "active"})
	s.fake.set(func() { s.fake.broken = true })
	s.Target(2)
	r := s.Wait("the failure", func(r agent.AppReport) bool {
		return strings.Contains(r.Problem, "shop@3.service has failed (exit-code)")
	})
	if r.Ready != 1 {
		t.Errorf("with a failed unit: %+v", r)
	}
	s.fake.set(func() { s.fake.broken = false })
	s.Settled(2)
	s.fake.set(func() {
		if len(s.fake.resets) == 0 {
			t.Error("the failed unit was not reset")
		}
		s.fake.skip = true
	})
	s.Target(3)
	s.Wait("the job's result", func(r agent.AppReport) bool {
		return strings.Contains(r.Problem, "is not active after its start job, with the result dependency")
	})
}
