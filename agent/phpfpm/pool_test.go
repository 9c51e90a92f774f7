package phpfpm

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
)

func TestCountsOfAStaticPool(t *testing.T) {
	s := newSite(t, "unix", "", "pm = static\npm.max_children = 3")
	s.start()
	// The other pool's children and those of the status listener are not this pool's. php-fpm cannot see the queue of a unix
	// socket, so that none is reported.
	r := s.Settled(3)
	if r.Busy != 0 || r.BusyTrust != adapter.Exact || r.QueueKnown || r.Problem != "" {
		t.Errorf("idle: %+v", r)
	}
	s.Counts(3, "/?ms=1500")
}

func TestQueueIsReported(t *testing.T) {
	s := newSite(t, "tcp", "", "pm = static\npm.max_children = 1")
	s.start()
	s.Settled(1)
	end := s.Begin(4, "/?ms=1500")
	r := s.Wait("three requests to wait", func(r agent.AppReport) bool { return r.QueueKnown && r.Queued == 3 })
	if r.Busy != 1 || r.QueueLimit < 3 {
		t.Errorf("while three wait: %+v", r)
	}
	end()
	s.Wait("nothing to wait", func(r agent.AppReport) bool { return r.Queued == 0 && r.Busy == 0 })
}

func TestCeilingChangesLoseNoRequest(t *testing.T) {
	s := newSite(t, "unix", "process_control_timeout = 20", "pm = static\npm.max_children = 2")
	s.start()
	s.Settled(2)
	s.Cycles(s.Times(4), 2, 5, 60, "/?ms=60")
	before := s.Settled(2)

	// The ceiling outlives a reload and a restart of the master, and a restart of the agent changes nothing.
	s.Target(4)
	s.Settled(4)
	if err := s.fpm.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.Settled(4)
	if err := s.fpm.Stop(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	s.problem("pid file")
	s.startFPM()
	after := s.Settled(4)
	if after.Master == before.Master || after.Problem != "" {
		t.Errorf("after a restart of the master: %+v", after)
	}
	told := strings.Count(s.errorLog(), "Reloading in progress")
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.Target(4)
	s.Settled(4)
	time.Sleep(time.Second)
	if n := strings.Count(s.errorLog(), "Reloading in progress"); n != told {
		t.Errorf("the new agent reloaded php-fpm %d times for the ceiling that was there", n-told)
	}
}

func TestCeilingOfADynamicPool(t *testing.T) {
	s := newSite(t, "unix", "process_control_timeout = 20\nlog_level = debug", "pm = dynamic\npm.max_children = 3\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2")
	s.start()
	s.Settled(1)
	s.Target(5) // whatever the log's level is, which changes what -tt prints
	s.WaitFor("php-fpm to start anew", func() bool { return strings.Count(s.errorLog(), "ready to handle connections") == 2 })
	if !strings.Contains(s.ceiling(), "pm.max_children = 5\n") {
		t.Errorf("the ceiling file is %q", s.ceiling())
	}
	// The server itself decides how many there are below the ceiling.
	end := s.Begin(8, "/?ms=4000")
	s.Wait("five busy children", func(r agent.AppReport) bool { return r.Busy == 5 && r.Total == 5 })
	end()

	// php-fpm wants max_children to be no less than max_spare_servers: what does not pass its test is not written.
	text := s.ceiling()
	s.Target(1)
	r := s.problem("pm.max_spare_servers")
	if s.ceiling() != text || !strings.Contains(r.Problem, "stays") || strings.Contains(r.Problem, "\n") {
		t.Errorf("the file is %q, the sentence %q", s.ceiling(), r.Problem)
	}
}

func (s *site) errorLog() string {
	s.T.Helper()
	b, err := os.ReadFile(s.Rig.Path("fpm-error.log"))
	if err != nil {
		s.T.Fatal(err)
	}
	return string(b)
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	s := newSite(t, "unix", "", "pm = static\npm.max_children = 2")
	s.start()
	s.Settled(2)
	s.Target(3)
	s.problem("process_control_timeout is 0")
	if s.ceiling() != "" {
		t.Errorf("the ceiling file is %q", s.ceiling())
	}
	// It is set now, but the running master does not know it yet.
	time.Sleep(1100 * time.Millisecond) // the status page tells whole seconds
	s.rewrite("daemonize = no", "daemonize = no\nprocess_control_timeout = 20")
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.Settled(2)
	s.Target(3)
	s.problem("reload php-fpm first")
	// A file that is not ours is not overwritten.
	const foreign = "pm.max_children = 2 ; mine\n"
	if err := os.WriteFile(s.opt.CeilingFile, []byte(foreign), 0o644); err != nil {
		t.Fatal(err)
	}
	s.problem("has not written")
	if s.ceiling() != foreign {
		t.Errorf("the ceiling file is %q", s.ceiling())
	}
	if strings.Contains(s.errorLog(), "Reloading in progress") {
		t.Error("php-fpm was reloaded")
	}
}

// rewrite changes the configuration file.
func (s *site) rewrite(old, new string) {
	s.T.Helper()
	b, err := os.ReadFile(s.fpm.Conf)
	if err != nil {
		s.T.Fatal(err)
	}
	text := strings.Replace(string(b), old, new, 1)
	if text == string(b) {
		s.T.Fatalf("%q is not in %s", old, s.fpm.Conf)
	}
	if err := os.WriteFile(s.fpm.Conf, []byte(text), 0o644); err != nil {
		s.T.Fatal(err)
	}
}

func TestAFileThatIsNotIncludedIsTakenBack(t *testing.T) {
	s := newSite(t, "unix", "process_control_timeout = 20", "pm = static\npm.max_children = 2")
	s.opt.CeilingFile = s.Rig.Path("elsewhere.conf")
	s.start()
	s.Settled(2)
	s.Target(3)
	s.problem("its section must have")
	if _, err := os.Stat(s.opt.CeilingFile); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
	if strings.Contains(s.errorLog(), "Reloading in progress") {
		t.Error("php-fpm was reloaded")
	}
}

func TestChangesKeepTheirDistance(t *testing.T) {
	s := newSite(t, "tcp", "process_control_timeout = 20", "pm = static\npm.max_children = 2")
	s.opt.MinDistance = time.Hour
	s.start()
	s.Settled(2)
	s.Target(3)
	s.Settled(3)
	s.Target(4)
	// Neither the time that passes nor a new agent brings the next change about: the file tells when the last one was.
	for range 2 {
		time.Sleep(500 * time.Millisecond)
		if r := s.Settled(3); r.Problem != "" || !strings.Contains(s.ceiling(), "= 3\n") {
			t.Fatalf("within the distance: %+v, %q", r, s.ceiling())
		}
		if err := s.StopAgent(); err != nil {
			t.Fatal(err)
		}
		s.start()
		s.Target(4)
	}
}

func TestStatusAtTheApplicationsListenerIsRefused(t *testing.T) {
	s := newSite(t, "tcp", "", "pm = static\npm.max_children = 2")
	s.opt.Status = s.listen
	s.start()
	if r := s.problem("behind the busy workers"); r.BusyKnown {
		t.Errorf("%+v", r)
	}
}

func TestObserveRefusesWhatIsNoMaster(t *testing.T) {
	file := t.TempDir() + "/pid"
	for _, c := range []struct{ text, want string }{
		{"", "not a pid"}, {strconv.Itoa(os.Getpid()), "is no php-fpm master"}, {"4194304", "does not run"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{PIDFile: file, Pool: "shop"}).Observe(time.Now()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}
