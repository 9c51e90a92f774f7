package proc

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// statLine is a real line with another name.
func statLine(comm string) string {
	return "4711 (" + comm + ") S 1 4711 4711 0 -1 4194560 100 0 0 0 1 2 30 40 20 0 1 0 987654 1000 200 18446744073709551615 0\n"
}

func TestParseStat(t *testing.T) {
	for _, comm := range []string{"gunicorn", "a b", "a) S 9 (", "(", ")", "", "x\ny", "tidegate: [x] (1)"} {
		s, err := ParseStat([]byte(statLine(comm)))
		if err != nil || s.PID != 4711 || s.PPID != 1 || s.Start != 987654 || s.State != 'S' || s.Comm != comm || s.Used != 3 || s.Reaped != 70 {
			t.Errorf("name %q: got %+v, %v", comm, s, err)
		}
	}
	for _, bad := range []string{"", "4711", "4711 (x", "4711 (x) S 1 2 3", ") S (", strings.Replace(statLine("x"), "987654", "-1", 1),
		strings.Replace(statLine("x"), "4711", "x", 1), strings.Replace(statLine("x"), " S ", " SS ", 1)} {
		if s, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		}
	}
	var r Reader
	self, err := r.Stat(os.Getpid())
	if err != nil || self.PID != os.Getpid() || self.PPID != os.Getppid() || self.Dead() {
		t.Fatalf("this process: %+v, %v", self, err)
	}
	me := ID{self.PID, self.Start}
	if age := me.Age(SinceBoot()); age < 0 || age > time.Hour {
		t.Errorf("this process is %v old", age)
	}
	if !r.Alive(me) || r.Alive(ID{me.PID, me.Start + 1}) {
		t.Error("alive does not tell this process from one with another start time")
	}
}

func FuzzParseStat(f *testing.F) {
	for _, comm := range []string{"gunicorn", "a) S 9 (", ""} {
		f.Add([]byte(statLine(comm)))
	}
	f.Add([]byte("1 () Z 0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStat(b); err == nil && (s.PID < 1 || s.PID > MaxPID || s.PPID < 0 || s.PPID > MaxPID) {
			t.Fatalf("%q was read as %+v", b, s)
		}
	})
}

func FuzzParseSignals(f *testing.F) {
	f.Add([]byte("Name:\tx\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000200000\nSigCgt:\t00000000003f0000\n"))
	f.Add([]byte("SigPnd:\nShdPnd:\nSigCgt:\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ParseSignals(b) })
}

func TestParseSignals(t *testing.T) {
	s, err := ParseSignals([]byte("Name:\tx\nSigQ:\t0/1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000100000\nSigIgn:\tff\nSigCgt:\t0000000000310000\n"))
	if err != nil || !s.Waits(21) || s.Waits(22) || !s.Catches(17) || !s.Catches(21) || !s.Catches(22) || s.Catches(15) {
		t.Fatalf("got %+v, %v", s, err)
	}
	for _, bad := range []string{"", "SigPnd:\t0\nShdPnd:\t0\n", "SigPnd:\tx\nShdPnd:\t0\nSigCgt:\t0\n"} {
		if _, err := ParseSignals([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// A child that has ended and that its parent does not reap is no child, and is told.
func TestZombiesAreToldApart(t *testing.T) {
	cmd := exec.Command("sh", "-c", "true & exec sleep 60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var r Reader
	st, err := r.Stat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	var c Children
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		alive, err := c.Look(ID{PID: st.PID, Start: st.Start})
		if err != nil {
			t.Fatal(err)
		}
		title, err := r.Title(st.PID)
		if err == nil && title == "sleep 60" && c.Zombies() == 1 && len(alive) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v are alive, %d are zombies, the parent is %q (%v); want none, 1, sleep 60", alive, c.Zombies(), title, err)
		}
	}
	if _, err := r.Title(MaxPID); !errors.Is(err, ErrGone) {
		t.Errorf("the title of nobody: %v", err)
	}
}
