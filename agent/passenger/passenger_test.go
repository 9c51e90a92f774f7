package passenger

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

// asStranger makes this program look at a registry and say what it sees; TestPasswords runs it as another user.
const asStranger = "TIDEGATE_TEST_PASSENGER_REGISTRY"

func TestMain(m *testing.M) {
	if registry := os.Getenv(asStranger); registry != "" {
		a := New(Options{Registry: registry})
		w, err := a.Observe(time.Now())
		if err == nil {
			_, err = a.Steer(time.Now(), a.pool.Max+1, nil)
		}
		fmt.Println(len(w.Children), err)
		os.Exit(0)
	}
	flag.Parse()
	// The tests mostly wait.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// site is one real Passenger, and an agent with its client.
type site struct {
	agentrig.Site
	addr      string
	extra     []string
	passenger *harness.Passenger
}

func newSite(t *testing.T, extra ...string) *site {
	t.Helper()
	t.Parallel()
	harness.Need(t, "passenger")
	s := &site{Site: agentrig.Site{T: t, Rig: harness.ForTest(t)}, extra: extra}
	var err error
	if s.addr, err = s.Rig.Addr(); err != nil {
		t.Fatal(err)
	}
	s.URL = "http://" + s.addr
	s.startPassenger()
	a := New(Options{Registry: s.passenger.Registry, App: s.passenger.Root})
	s.App = agent.App{Name: "shop", Source: a, Actuator: a, Min: 1, Max: 8}
	s.StartAgent()
	return s
}

func (s *site) startPassenger() {
	s.T.Helper()
	p, err := s.Rig.StartPassenger("shop", s.addr, s.extra...)
	if err != nil {
		s.T.Fatal(err)
	}
	s.passenger = p
	s.T.Cleanup(func() {
		if err := p.Stop(20 * time.Second); err != nil {
			s.T.Logf("passenger: %v", err)
		}
	})
	if code := s.Post("/"); code != 200 {
		s.T.Fatalf("the application answers %d", code)
	}
}

func TestCountsAndQueue(t *testing.T) {
	s := newSite(t, "--min-instances", "3", "--max-pool-size", "3")
	r := s.Settled(3)
	if r.BusyTrust != adapter.Exact || !r.QueueKnown || r.Problem != "" || r.Master == "" {
		t.Errorf("idle: %+v", r)
	}
	s.Counts(3, "/?ms=1500")
	end := s.Begin(5, "/?ms=1500")
	s.Wait("two requests to wait", func(r agent.AppReport) bool { return r.Busy == 3 && r.Queued == 2 })
	end()
	// Below its min_instances Passenger would start processes again.
	s.Target(2)
	s.Wait("a sentence", func(r agent.AppReport) bool { return strings.Contains(r.Problem, "min_instances 3") && r.Ready == 3 })
}

func TestCyclesUnderLoad(t *testing.T) {
	s := newSite(t, "--max-pool-size", "2", "--max-request-queue-size", "1000")
	// Passenger starts processes by demand: three cannot serve 36 requests a second of 0.1 s each. On the way down all are
	// busy, and a queue builds up.
	s.Cycles(s.Times(3), 2, 4, 36, "/?ms=100")
}

func TestTargetIsAppliedAgainAfterARestart(t *testing.T) {
	s := newSite(t, "--max-pool-size", "1")
	s.Target(4)
	// A target is a ceiling: without requests nothing is started.
	r := s.Settled(1)
	end := s.Begin(4, "/?ms=8000")
	s.Wait("four busy processes", func(r agent.AppReport) bool { return r.Busy == 4 && r.Total == 4 })
	// All four are busy: one is told to leave, and finishes what it has begun.
	s.Target(3)
	s.Wait("one draining", func(r agent.AppReport) bool { return r.Draining == 1 && r.Busy == 4 })
	end()
	s.Settled(3)

	if err := s.passenger.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	gone := s.Wait("Passenger to be missed", func(r agent.AppReport) bool { return strings.Contains(r.Problem, "no Passenger instance") })
	if gone.WorkersKnown || gone.BusyKnown {
		t.Errorf("without Passenger: %+v", gone)
	}
	s.startPassenger()
	end = s.Begin(4, "/?ms=1500")
	again := s.Wait("three busy processes", func(r agent.AppReport) bool { return r.Busy == 3 && r.Total == 3 })
	end()
	if again.Master == r.Master {
		t.Errorf("the master is %s as before", r.Master)
	}
}

func TestPasswords(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("there is no user nobody")
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "--max-pool-size", "1")
	s.Settled(1)
	// Where this program lies, other users may not look.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := s.Rig.Path("stranger")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	say := func() string {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), asStranger+"="+s.passenger.Registry)
		cmd.Dir = s.Rig.Dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := say(); !strings.HasPrefix(got, "0 ") || !strings.Contains(got, "is not allowed: run the agent as root") {
		t.Errorf("without a password: %s", got)
	}
	files, err := filepath.Glob(s.passenger.Registry + "/passenger.*/*_password.txt")
	if err != nil || len(files) != 2 {
		t.Fatalf("the passwords are in %v, %v", files, err)
	}
	for i, f := range files { // full_admin_password.txt, then read_only_admin_password.txt
		secret, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(f, 0o444); err != nil {
			t.Fatal(err)
		}
		got := say()
		if i == 0 && got != "1 <nil>\n" {
			t.Errorf("with the administrator's password: %s", got)
		}
		if i == 1 {
			if err := os.Chmod(files[0], 0o400); err != nil {
				t.Fatal(err)
			}
			// Reading is allowed, changing is not.
			if got = say(); !strings.HasPrefix(got, "1 ") || !strings.Contains(got, "PUT /config.json") {
				t.Errorf("with the reader's password: %s", got)
			}
		}
		if bytes.Contains([]byte(got), bytes.TrimSpace(secret)) {
			t.Errorf("the password is in %q", got)
		}
	}
}
